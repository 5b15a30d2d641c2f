"""The laws of every callback."""

import functools
import gc
import pathlib
import re
import shutil
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import CALLBACKS

import kopt
from kopt import callbacks
from kopt.keras_internals.tuning import forgetting_gradients
from kopt.state import training_variables
from kopt.training import Loop, TrainStep
from kopt.training.callback_needs import watches_batches

TIMES = ("seconds", "examples_per_second", "step_seconds", "data_seconds", "compute_seconds")
every_callback = pytest.mark.parametrize("name", CALLBACKS)
by_fit_and_by_loop = pytest.mark.parametrize("loop", [False, True])


def momentum() -> keras.optimizers.Optimizer:
    """An optimizer with state, whose steps do not depend on their number: with the state at zero it is a fresh one."""
    return keras.optimizers.SGD(0.01, momentum=0.9)


def train(model, points, listed, *, loop: bool, epochs: int = 6, **how):
    fit = Loop(model, jit=False).fit if loop else model.fit
    history = fit(*points, batch_size=10, epochs=epochs, shuffle=False, verbose=0, callbacks=listed, **how).history
    return {name: values for name, values in history.items() if name not in TIMES}


class Die(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("died")


class KeepBackup(keras.callbacks.Callback):
    """Copies the folder of BackupAndRestore when the fourth epoch begins: what a process that dies there leaves."""

    def __init__(self, folder: pathlib.Path):
        super().__init__()
        self.folder = folder

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            shutil.copytree(self.folder / "backup", self.folder / "kept")


class Run(NamedTuple):
    """What a training has left; `alone` and `beside` keep those of one callback at a time."""

    model: keras.Model
    start: list[np.ndarray]
    history: dict[str, list[float]]
    weights: list[np.ndarray]
    folder: pathlib.Path
    seen: dict[str, list[dict]]  # logs at the ends of epochs, before the callback and after it

    @staticmethod
    def of(model, points, listed, *, loop: bool, folder=pathlib.Path(), seen=(), **how) -> "Run":
        start = model.get_weights()
        with forgetting_gradients():
            history = train(model, points, listed, loop=loop, **how)
        return Run(model, start, history, model.get_weights(), folder, dict(seen))

    def equals(self, other: "Run", first: int = 0, atol: float = 0.0) -> None:
        """Require the epochs that another has from `first` on, and its weights."""
        for metric, values in other.history.items():
            np.testing.assert_allclose(values, self.history[metric][first:], rtol=1e-6, err_msg=metric)
        for one, another in zip(self.weights, other.weights):
            np.testing.assert_allclose(one, another, rtol=0, atol=atol)


@pytest.fixture(scope="module")
def alone(name: str, network, points, tmp_path_factory) -> dict[bool, Run]:
    """Each callback in fit and in Loop, beside a CSVLogger alone, with which Loop may run epochs together."""

    def run(loop: bool) -> Run:
        folder = tmp_path_factory.mktemp("alone")
        listed = [keras.callbacks.CSVLogger(folder / "spanning.csv"), *CALLBACKS[name]()]
        return Run.of(network(momentum()), points, listed, loop=loop, folder=folder)

    return {loop: run(loop) for loop in (False, True)}


@pytest.fixture(scope="module")
def beside(name: str, network, points, tmp_path_factory) -> dict[bool, Run]:
    """Each callback in fit and in Loop, amid Keras' own and with ten steps a call: neither changes anything."""

    def run(loop: bool) -> Run:
        folder = tmp_path_factory.mktemp("beside")
        seen: dict[str, list[dict]] = {"before": [], "after": []}

        def watchers(where: str):
            return [
                keras.callbacks.CSVLogger(folder / f"{where}.csv"),
                keras.callbacks.TensorBoard(folder / where),
                keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen[where].append(dict(logs))),
            ]

        others = [
            keras.callbacks.EarlyStopping("loss", patience=3),
            keras.callbacks.ModelCheckpoint(folder / "last.keras"),
            keras.callbacks.BackupAndRestore(folder / "backup"),
            KeepBackup(folder),
        ]
        listed = [*watchers("before"), *CALLBACKS[name](), *watchers("after"), *others]
        model = network(momentum(), steps_per_execution=10)
        return Run.of(model, points, listed, loop=loop, folder=folder, seen=seen)

    return {loop: run(loop) for loop in (False, True)}


def test_every_registered_callback_has_an_example() -> None:
    assert {one.partition(",")[0] for name in CALLBACKS for one in name.split(" + ")} == set(callbacks.registry)


@every_callback
def test_none_needs_every_batch(name: str) -> None:
    assert not any(watches_batches(one, "train") for one in CALLBACKS[name]())


# A trained model costs half a second, nearly all of it for tracing its program. So the laws share their runs: what
# `alone` has left is the reference of four of them, and what `beside` has left is read by three.

in_module = pytest.mark.parametrize("name", CALLBACKS, scope="module")


@in_module
def test_fit_and_loop_agree(alone) -> None:
    assert sorted(alone[False].history) == sorted(alone[True].history)
    alone[True].equals(alone[False])


@in_module
def test_fit_and_loop_agree_at_several_steps_a_call(beside) -> None:
    assert sorted(beside[False].history) == sorted(beside[True].history)
    beside[True].equals(beside[False])


@in_module
@by_fit_and_by_loop
def test_no_interference_with_keras_callbacks(loop: bool, alone, beside) -> None:
    """And nothing but numbers of kopt's documented names is ever in the logs, wherever a callback stands."""
    expected, found = alone[loop], beside[loop]
    found.equals(expected)
    loaded = keras.saving.load_model(found.folder / "last.keras")
    for one, other in zip(loaded.get_weights(), found.weights):
        np.testing.assert_array_equal(one, other)
    assert all(logs.keys() == {"loss", "mae"} for logs in found.seen["before"])
    assert all(logs.keys() - set(TIMES) == expected.history.keys() for logs in found.seen["after"])
    assert all(isinstance(value, float) for logs in found.seen["after"] for value in logs.values())
    for file in (expected.folder / "spanning.csv", found.folder / "before.csv"):
        header = file.read_text().splitlines()[0]
        assert header == "epoch,loss,mae,val_loss,val_mae"  # Keras writes places for validation


@in_module
@by_fit_and_by_loop
def test_resumed_equals_uninterrupted(name: str, loop: bool, network, points, alone, beside) -> None:
    """From the backup that a process leaves which dies when the fourth epoch begins."""
    backup = keras.callbacks.BackupAndRestore(beside[loop].folder / "kept")
    model = network(momentum())
    resumed = Run.of(model, points, [*CALLBACKS[name](), backup], loop=loop)
    assert len(resumed.history["loss"]) == 3 and int(model.optimizer.iterations) == 60
    alone[loop].equals(resumed, first=3, atol=1e-7)


@in_module
@by_fit_and_by_loop
def test_when_training_raises_the_model_trains_on_as_a_fresh_one(name: str, loop: bool, points, alone) -> None:
    """The model of `alone`, which has trained before: a lowered rate stays in it, as in Keras."""
    model = alone[loop].model
    model.optimizer.learning_rate = 0.01
    with pytest.raises(RuntimeError, match="died"):
        train(model, points, [*CALLBACKS[name](), Die()], loop=loop)
    model.set_weights(alone[loop].start)
    for one in model.optimizer.momentums:
        one.assign(np.zeros(one.shape))
    again = Run.of(model, points, CALLBACKS[name](), loop=loop)
    assert again.history == alone[loop].history
    alone[loop].equals(again, atol=1e-7)


STEERING = "learning_rate", "reduce_on_plateau"  # they change training; the others only watch it


def averaging(network):
    return network(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9))


@pytest.fixture(scope="module")
def stock(network, points):
    """Return what Keras' own average has left without callbacks that only watch: one run for all of those."""

    @functools.cache
    def run(steering: str, loop: bool) -> Run:
        listed = [keras.callbacks.SwapEMAWeights(swap_on_epoch=False), *(CALLBACKS[steering]() if steering else [])]
        return Run.of(averaging(network), points, listed, loop=loop, epochs=3, validation_data=points)

    return run


@every_callback
def test_beside_keras_average_of_the_optimizer(name: str, network, points, stock) -> None:
    """Under Adam, and fit and Loop agree there too."""
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=False)
    if name.startswith(("average", "layer_rates")):  # both would change what it averages
        for loop in (False, True):
            with pytest.raises(ValueError, match="use_ema must be False"):
                train(averaging(network), points, [*CALLBACKS[name](), swap], loop=loop, epochs=1)
        return
    found = {}
    for loop in (False, True):
        expected = stock(name if name in STEERING else "", loop)
        listed, how = [swap, *CALLBACKS[name]()], {"epochs": 3, "validation_data": points}
        found[loop] = Run.of(averaging(network), points, listed, loop=loop, **how)
        np.testing.assert_allclose(found[loop].history["val_loss"], expected.history["val_loss"], rtol=1e-6)
        for one, other in zip(expected.weights, found[loop].weights):
            np.testing.assert_allclose(one, other, atol=1e-7)
    assert sorted(found[True].history) == sorted(found[False].history)
    found[True].equals(found[False])


@every_callback
def test_steps_change_only_what_is_listed_for_snapshots(name: str, network, points) -> None:
    """Of all variables that are alive, whoever holds them: so that a snapshot forgets nothing."""

    class Listed(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            gc.collect()
            alive = (one for one in gc.get_objects() if issubclass(type(one), tf.Variable))
            self.before = [(one, one.numpy()) for one in alive if one.is_initialized()]

        def on_train_batch_end(self, batch, logs=None):
            step = self.model.train_step
            extra = step.variables if isinstance(step, TrainStep) else ()
            listed = {id(one) for one in training_variables(self.model, extra)}
            moved = [one for one, value in self.before if not np.array_equal(one.numpy(), value)]
            forgotten.extend(one.name for one in moved if id(one) not in listed)
            seen.append(len(moved))

    seen: list[int] = []
    forgotten: list[str] = []
    model = network("adam")
    train(model, [part[:20] for part in points], [Listed(), *CALLBACKS[name]()], loop=False, epochs=3)
    assert len(seen) == 6 and max(seen) > 4 and not forgotten


# The callback that docs/use.md shows.

TOUR = pathlib.Path(kopt.__file__).parent.parent / "docs" / "use.md"


@keras.saving.register_keras_serializable(package="tests")
def output(y, y_pred):
    """A loss whose gradient by the weights of a linear model is the mean input, whatever the weights are."""
    return y_pred


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_tours_callback_measures_the_path(loop: bool, steps: int, tmp_path) -> None:
    (block,) = re.findall(r"```python\n([^`]*class PathLength.*?)\nkopt.fit", TOUR.read_text(), re.S)
    names: dict = {"kopt": kopt}
    exec(compile(block, TOUR.name, "exec"), names)
    assert len(block.split("class PathLength")[1].strip().splitlines()) <= 15
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1), output, steps_per_execution=steps)
    x, how = np.random.default_rng(0).normal(size=(95, 3)).astype("float32"), {"batch_size": 10, "shuffle": False}

    def path(trained, epochs: int):
        fit = (lambda *data, **more: kopt.fit(trained, *data, **more)) if loop else trained.fit
        listed = [names["PathLength"]()]
        return fit(x, np.zeros(95), epochs=epochs, verbose=0, callbacks=listed, **how).history["path_length"]

    means = [x[first : first + 10].mean(axis=0) for first in range(0, 95, 10)]
    an_epoch = 0.1 * np.linalg.norm(means, axis=1).sum()
    np.testing.assert_allclose(path(model, 2), an_epoch * np.array([1, 2]), rtol=1e-5)
    model.save(tmp_path / "model.keras")
    for load in (keras.saving.load_model, kopt.load_model):
        loaded = load(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    np.testing.assert_allclose(path(loaded, 1), 3 * an_epoch, rtol=1e-5)  # the length was saved too
