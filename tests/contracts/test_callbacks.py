"""The laws of every callback."""

import gc
import pathlib
import re

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

import kopt
from kopt import callbacks, schedules, select
from kopt.state import Knob, training_variables
from kopt.training import Loop, ProgressBar, TrainStep
from kopt.training.callback_needs import watches_batches
from kopt.tuning.trial.checkpoints import Checkpoint, Progress

EXAMPLES = {
    "average": lambda: [callbacks.Average(callbacks.EMA(0.9))],
    "average, swa": lambda: [callbacks.Average(callbacks.SWA(0.4))],
    "average, lawa": lambda: [callbacks.Average(callbacks.LAWA(3))],
    "diagnosis": lambda: [callbacks.Diagnosis(verbose=0)],
    "epoch_time": lambda: [callbacks.EpochTime()],
    "gradient_monitor": lambda: [callbacks.GradientMonitor(5, noise=True)],
    "layer_rates": lambda: [callbacks.LayerRates({select.biases: 0.5}, depth_decay=0.9, unfreeze=2)],
    "learning_rate": lambda: [callbacks.LearningRate(schedules.Cosine(0.02).warmup(1), unit="epoch")],
    "scheduled": lambda: [callbacks.Scheduled(Knob(1.0, name="dial"), schedules.Linear(1.0), unit="epoch")],
    "reduce_on_plateau": lambda: [callbacks.ReduceOnPlateau("loss", factor=0.5, patience=1, min_delta=10)],
    "spike_guard": lambda: [callbacks.SpikeGuard(10)],
    "throughput": lambda: [callbacks.Throughput()],
    "time_budget": lambda: [callbacks.TimeBudget("1h")],
}
TIMES = ("seconds", "examples_per_second", "step_seconds", "data_seconds", "compute_seconds")
every_callback = pytest.mark.parametrize("name", EXAMPLES)


def train(model, points, listed, *, loop: bool, epochs: int = 6, **how):
    fit = Loop(model, jit=False).fit if loop else model.fit
    history = fit(*points, batch_size=10, epochs=epochs, shuffle=False, verbose=0, callbacks=listed, **how).history
    return {name: values for name, values in history.items() if name not in TIMES}


def test_every_registered_callback_has_an_example() -> None:
    assert {name.partition(",")[0] for name in EXAMPLES} == set(callbacks.registry)


@every_callback
def test_none_needs_every_batch(name: str) -> None:
    assert not any(watches_batches(one, "train") for one in EXAMPLES[name]())


@every_callback
@pytest.mark.parametrize("steps", [1, 10])
def test_fit_and_loop_agree(name: str, steps: int, network, points) -> None:
    models = [network("adam", steps_per_execution=steps) for _ in range(2)]
    histories = [train(model, points, EXAMPLES[name](), loop=loop) for model, loop in zip(models, (False, True))]
    assert sorted(histories[0]) == sorted(histories[1])
    for metric, values in histories[0].items():
        np.testing.assert_allclose(histories[1][metric], values, rtol=1e-6, err_msg=metric)
    for one, other in zip(models[0].get_weights(), models[1].get_weights()):
        np.testing.assert_array_equal(one, other)


@every_callback
@pytest.mark.parametrize("loop", [False, True])
def test_resumed_equals_uninterrupted(name: str, loop: bool, network, points, tmp_path) -> None:
    class Die(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise RuntimeError("died")

    def run(*more):
        model = network("adam")
        return model, train(model, points, [*EXAMPLES[name](), *more], loop=loop)

    whole, expected = run()
    with pytest.raises(RuntimeError, match="died"):
        run(keras.callbacks.BackupAndRestore(tmp_path / "backup"), Die())
    resumed, found = run(keras.callbacks.BackupAndRestore(tmp_path / "backup"))
    for metric, values in found.items():
        np.testing.assert_allclose(values, expected[metric][3:], rtol=1e-6, err_msg=metric)
    for one, other in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-7)


@every_callback
@pytest.mark.parametrize("loop", [False, True])
def test_when_training_raises_the_model_trains_on_as_a_fresh_one(name: str, loop: bool, network, points) -> None:
    class Die(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("died")

    model, fresh = network("sgd"), network("sgd")
    start = model.get_weights()
    with pytest.raises(RuntimeError, match="died"):
        train(model, points, [*EXAMPLES[name](), Die()], loop=loop)
    model.set_weights(start)
    assert train(model, points, EXAMPLES[name](), loop=loop) == train(fresh, points, EXAMPLES[name](), loop=loop)


@every_callback
@pytest.mark.parametrize("loop", [False, True])
def test_no_interference_with_keras_callbacks(name: str, loop: bool, network, points, tmp_path) -> None:
    """And nothing but numbers of kopt's documented names is ever in the logs, wherever a callback stands."""
    seen: dict[str, list[dict]] = {"before": [], "after": []}

    def watchers(where: str):
        return [
            keras.callbacks.CSVLogger(tmp_path / f"{where}.csv"),
            keras.callbacks.TensorBoard(tmp_path / where),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen[where].append(dict(logs))),
        ]

    others = [
        keras.callbacks.EarlyStopping("loss", patience=3),
        keras.callbacks.ModelCheckpoint(tmp_path / "last.keras"),
    ]
    alone, beside = network("adam"), network("adam")
    spanning = keras.callbacks.CSVLogger(tmp_path / "spanning.csv")  # beside which Loop may run epochs together
    expected = train(alone, points, [spanning, *EXAMPLES[name]()], loop=loop)
    listed = [*watchers("before"), *EXAMPLES[name](), *watchers("after"), *others]
    found = train(beside, points, listed, loop=loop)
    for metric, values in expected.items():
        np.testing.assert_allclose(found[metric], values, rtol=1e-6, err_msg=metric)
    loaded = keras.saving.load_model(tmp_path / "last.keras")
    for one, other in zip(loaded.get_weights(), beside.get_weights()):
        np.testing.assert_array_equal(one, other)
    assert all(logs.keys() == {"loss", "mae"} for logs in seen["before"])
    assert all(logs.keys() - set(TIMES) == expected.keys() for logs in seen["after"])
    assert all(isinstance(value, float) for logs in seen["after"] for value in logs.values())
    for file in ("spanning.csv", "before.csv"):
        header = (tmp_path / file).read_text().splitlines()[0]
        assert header == "epoch,loss,mae,val_loss,val_mae"  # Keras writes places for validation


@every_callback
@pytest.mark.parametrize("loop", [False, True])
def test_beside_keras_average_of_the_optimizer(name: str, loop: bool, network, points) -> None:
    averaging = lambda: network(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9))
    alone, beside = averaging(), averaging()
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=False)
    if name.startswith(("average", "layer_rates")):  # both would change what it averages
        with pytest.raises(ValueError, match="use_ema must be False"):
            train(beside, points, [*EXAMPLES[name](), swap], loop=loop, epochs=1)
        return
    how = {"validation_data": points, "epochs": 3}
    stock = train(
        alone, points, [keras.callbacks.SwapEMAWeights(swap_on_epoch=False), *steering(name)], loop=loop, **how
    )
    found = train(beside, points, [swap, *EXAMPLES[name]()], loop=loop, **how)
    np.testing.assert_allclose(found["val_loss"], stock["val_loss"], rtol=1e-6)
    for one, other in zip(alone.get_weights(), beside.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-7)


def steering(name: str):
    """Return a callback that changes training; nothing for those that only watch."""
    return EXAMPLES[name]() if name in ("learning_rate", "reduce_on_plateau") else []


# Loops that a user writes: which callback methods they call, how they train, and which callbacks cannot act there.

IN_HAND = {
    **EXAMPLES,
    "learning_rate, closed": lambda: [callbacks.LearningRate(schedules.Step(0.1, 0.5, every=1), unit="epoch")],
    "scheduled, closed": lambda: [callbacks.Scheduled(Knob(name="dial"), schedules.Step(0.1, 0.5, every=1))],
    "progress_bar": lambda: [ProgressBar(live=False)],
    "progress_bar, live": lambda: [ProgressBar(live=True)],
    "checkpoint": lambda: [Checkpoint(Progress(pathlib.Path("trial")), keras_tuner.Objective("loss", "min"))],
}
NEEDS = {
    "average": {"begin", "step", "compiled"},
    "average, swa": {"begin", "run", "compiled"},
    "average, lawa": {"begin", "compiled"},
    "gradient_monitor": {"step", "compiled"},
    "layer_rates": {"step", "compiled"},
    "learning_rate": {"begin", "run", "compiled"},
    "learning_rate, closed": {"begin", "compiled"},
    "scheduled": {"begin", "run", "compiled"},
    "scheduled, closed": {"begin", "compiled"},
    "reduce_on_plateau": {"compiled"},
    "spike_guard": {"begin", "batch", "step", "compiled"},
    "throughput": {"compiled"},
}
LOOPS: dict[str, tuple] = {
    # first epoch, type of the logs, how a batch is trained, and what is missing: on_epoch_begin, batch methods, the
    # length of the run, the model's train_step, a compiled model
    "ends of epochs, from 0": (0, np.float32, "train_on_batch", {"begin", "batch", "run"}),
    "ends of epochs, from 1": (1, None, "tape", {"begin", "batch", "run", "step"}),
    "epochs, from 1": (1, tf.constant, "train_on_batch", {"batch", "run"}),
    "epochs, from 0": (0, float, "tape", {"batch", "run", "step"}),
    "batches": (0, np.float32, "train_on_batch", {"run"}),
    "uncompiled": (0, float, "none", {"begin", "batch", "run", "step", "compiled"}),
}


def by_hand(model, points, listed, loop: str) -> None:
    """Train as a user's loop does, without set_params, on_train_begin and on_train_end."""
    first, number, how, lacks = LOOPS[loop]
    for one in listed:
        one.set_model(model)
    x, y = (tf.constant(part[:40]) for part in points)
    for epoch in range(first, first + 3):
        for one in [] if "begin" in lacks else listed:
            one.on_epoch_begin(epoch)
        for batch in range(2):
            for one in [] if "batch" in lacks else listed:
                one.on_train_batch_begin(batch)
            train_batch(model, x[batch * 20 :][:20], y[batch * 20 :][:20], how)
            for one in [] if "batch" in lacks else listed:
                one.on_train_batch_end(batch, {"loss": number(1.0)})
        logs = None if number is None else {"loss": number(1.0 / (epoch + 1)), "mae": number(1.0)}
        for one in listed:
            one.on_epoch_end(epoch, logs)


def train_batch(model, x, y, how: str) -> None:
    if how == "train_on_batch":
        model.train_on_batch(x, y)
    elif how == "tape":
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        weights = model.trainable_weights
        model.optimizer.apply(tape.gradient(loss, weights), weights)


@pytest.mark.parametrize("name", IN_HAND)
@pytest.mark.parametrize("loop", LOOPS)
def test_in_a_loop_of_the_users_it_acts_or_says_so(name, loop, network, points, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = network("sgd", run_eagerly=True)
    if loop == "uncompiled":
        model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
    if NEEDS.get(name, set()) & LOOPS[loop][-1]:
        with pytest.raises(ValueError, match=r"^[^\n]* must [^\n]*, got [^\n]*\.$"):
            by_hand(model, points, IN_HAND[name](), loop)
        return
    by_hand(model, points, listed := IN_HAND[name](), loop)
    if name == "learning_rate, closed":
        assert float(model.optimizer.learning_rate) == pytest.approx(0.1 * 0.5**2)
    if name == "reduce_on_plateau" and LOOPS[loop][1] is not None and loop != "uncompiled":
        assert float(model.optimizer.learning_rate) == pytest.approx(0.01 * 0.25)
    for one in listed:
        if isinstance(one, callbacks.Average):
            one.close()
            assert float(one.averaged.count) > 0


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
    train(model, [part[:20] for part in points], [Listed(), *EXAMPLES[name]()], loop=False, epochs=3)
    assert len(seen) == 6 and max(seen) > 4 and not forgotten


# The callback that README.md shows.

README = pathlib.Path(kopt.__file__).parent.parent / "README.md"


@keras.saving.register_keras_serializable(package="tests")
def output(y, y_pred):
    """A loss whose gradient by the weights of a linear model is the mean input, whatever the weights are."""
    return y_pred


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_readmes_callback_measures_the_path(loop: bool, steps: int, tmp_path) -> None:
    (block,) = re.findall(r"```python\n([^`]*class PathLength.*?)\nkopt.fit", README.read_text(), re.S)
    names: dict = {"kopt": kopt}
    exec(compile(block, README.name, "exec"), names)
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
