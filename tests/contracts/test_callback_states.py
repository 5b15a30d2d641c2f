"""The laws of callbacks' states: a run that goes on from them equals one without a break, to the bit."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pytest
from examples import CALLBACKS

from kopt import callbacks
from kopt.keras_internals import global_seeds
from kopt.keras_internals.resuming import random_states, set_random_states
from kopt.keras_internals.tuning import forgetting_gradients
from kopt.state import Snapshot, training_variables
from kopt.training import Loop
from kopt.training.checkpoint.callback_states import restore_states, states_of, without_state

TIMES = ("seconds", "used", "examples_per_second", "step_seconds", "data_seconds", "compute_seconds")
BREAK, EPOCHS = 2, 4  # a run of four epochs breaks when two are over
Listed = list[keras.callbacks.Callback]


class Poison(keras.callbacks.Callback):
    """Makes the losses of the last epoch infinite."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == EPOCHS - 1:
            self.model.layers[-1].bias.assign([1e30])

    def get_state(self):
        return {}

    def set_state(self, state):
        pass


class Counting(keras.callbacks.EarlyStopping):
    """A user's subclass of a Keras callback, with a memory of its own."""

    epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        logs["epochs_so_far"] = float(self.epochs)
        super().on_epoch_end(epoch, logs)

    def get_state(self):
        return {"epochs": self.epochs}

    def set_state(self, state):
        self.epochs = state["epochs"]


STOP = {"monitor": "loss", "min_delta": 1e9, "patience": 2}
KERAS: Mapping[str, Callable[[pathlib.Path], Listed]] = {
    "csv": lambda folder: [keras.callbacks.CSVLogger(folder / "log.csv")],
    "csv, append": lambda folder: [keras.callbacks.CSVLogger(folder / "log.csv", separator=";", append=True)],
    "early stopping": lambda folder: [keras.callbacks.EarlyStopping(**STOP)],
    "early stopping, best": lambda folder: [keras.callbacks.EarlyStopping(**STOP, restore_best_weights=True)],
    "early stopping, subclass": lambda folder: [Counting(**STOP)],
    "model checkpoint": lambda folder: [
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras", "loss", save_best_only=True, mode="max")
    ],
    "model checkpoint, batches": lambda folder: [
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.weights.h5", save_weights_only=True, save_freq=15)
    ],
    "plateau": lambda folder: [keras.callbacks.ReduceLROnPlateau("loss", min_delta=1e9, patience=2, cooldown=1)],
    "schedule": lambda folder: [keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate)],
    "swap averages": lambda folder: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
    "tensorboard": lambda folder: [keras.callbacks.TensorBoard(folder / "logs", update_freq="batch")],
    "spike guard, spike": lambda folder: [callbacks.SpikeGuard(1000, patience=2), Poison()],
}
OURS = {name: (lambda folder, make=make: make()) for name, make in CALLBACKS.items()}
EXAMPLES: Mapping[str, Callable[[pathlib.Path], Listed]] = {**OURS, **KERAS}
# Those whose state makes a difference to weights, History, files, or what they know at the end.
STATEFUL = ("average, lawa", "diagnosis", *(name for name in KERAS if name != "schedule"))


@dataclasses.dataclass
class Kept:
    """What a checkpoint has."""

    values: list[np.ndarray]
    random: Mapping[str, Any]
    states: list[list[Any]]


class Keep(keras.callbacks.Callback):
    """Takes, at the end of each epoch, what a checkpoint has; begins with what one had."""

    def __init__(self, loop: Loop, listed: Listed, begin: Kept | None = None, states: bool = True):
        super().__init__()
        self.loop, self.listed, self.begin, self.states = loop, listed, begin, states
        self.kept: dict[int, Kept] = {}

    def changing(self) -> list[Any]:
        extra = self.loop.epochs.steps["train"].variables
        return training_variables(self.loop.model, extra, without=global_seeds())  # `random_states` has those

    def on_train_begin(self, logs=None):
        if self.begin is not None:
            Snapshot(self.changing(), self.begin.values).restore()
            set_random_states(self.begin.random)
            if self.states:
                restore_states(self.listed, self.begin.states)

    def on_epoch_end(self, epoch, logs=None):
        self.kept[epoch] = Kept(Snapshot(self.changing()).values, random_states(), written(states_of(self.listed)))


def written(states: Sequence[Any]) -> list[Any]:
    """States as they come from a file of JSON."""

    def pack(value: Any) -> Any:
        return {"array": value.tolist(), "dtype": str(value.dtype), "shape": value.shape}

    def unpack(found: dict[str, Any]) -> Any:
        return np.array(found["array"], found["dtype"]).reshape(found["shape"]) if "array" in found else found

    return json.loads(json.dumps(states, default=pack), object_hook=unpack)


@dataclasses.dataclass
class Run:
    """What a training has left."""

    history: Mapping[str, list[float]]
    weights: list[np.ndarray]
    files: Mapping[str, Any]
    states: list[Any]
    kept: Mapping[int, Kept]

    def differences(self, other: "Run") -> list[str]:
        """Name what differs; times do."""
        found = [name for name in self.history.keys() | other.history.keys() if name not in TIMES]
        found = [name for name in found if self.history.get(name) != other.history.get(name)]
        if not all(map(np.array_equal, self.weights, other.weights)):
            found.append("weights")
        if self.files != other.files:
            found.append("files")
        return found + ["states"] * (timeless(self.states) != timeless(other.states))


def timeless(value: Any) -> Any:
    """A state without times, to be compared."""
    if isinstance(value, dict):
        return {name: timeless(one) for name, one in value.items() if name not in TIMES}
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    return [timeless(one) for one in value] if isinstance(value, list) else repr(value)


def run(name: str, network, points, folder: pathlib.Path, begin: Kept | None = None, states: bool = True) -> Run:
    averages = {"use_ema": True, "ema_momentum": 0.9} if name == "swap averages" else {}
    model = network(keras.optimizers.SGD(0.01, momentum=0.9, **averages), steps_per_execution=5)
    model.optimizer.build(model.trainable_variables)
    loop, history = Loop(model, jit=False, seed=3), keras.callbacks.History()
    loop.evaluate(*points, batch_size=10, verbose=0)  # makes the metrics' variables
    listed = [*EXAMPLES[name](folder), history]
    keep = Keep(loop, listed, begin, states)
    first = 0 if begin is None else BREAK
    how = {"batch_size": 10, "epochs": EPOCHS, "verbose": 0, "validation_data": points, "initial_epoch": first}
    with forgetting_gradients():
        loop.fit(*points, **how, callbacks=[*listed, keep])
    names = {path.name: path.read_bytes() if path.suffix == ".csv" else None for path in folder.iterdir()}
    return Run(history.history, model.get_weights(), names, keep.kept[max(keep.kept)].states, keep.kept)


def of_epochs_before(whole: Run) -> dict[str, Any]:
    """The files that ModelCheckpoint has written before the break."""
    return {file: content for file, content in whole.files.items() if file[0] in "12"}


@pytest.fixture(scope="module")
def whole(network, points, tmp_path_factory) -> Callable[[str], Run]:
    """Return the run without a break, once for each example."""
    return functools.cache(lambda name: run(name, network, points, tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_run_goes_on_to_the_bit(name: str, network, points, tmp_path, whole) -> None:
    expected = whole(name)
    found = run(name, network, points, tmp_path, expected.kept[BREAK - 1])
    found.files = of_epochs_before(expected) | found.files
    assert found.differences(expected) == []


@pytest.mark.parametrize("name", STATEFUL)
def test_a_run_without_the_state_is_another(name: str, network, points, tmp_path, whole) -> None:
    """So that the law above can fail."""
    expected = whole(name)
    begin = expected.kept[BREAK - 1]
    found = run(name, network, points, tmp_path, begin, states=False)
    # History, which is left out too, is not what is to differ.
    _, before = begin.states[-1]
    found.history = {name: [*before["keras"]["history"][name], *found.history[name]] for name in found.history}
    found.states = [*found.states[:-1], expected.states[-1]]
    found.files = of_epochs_before(expected) | found.files
    assert found.differences(expected) != []


@pytest.mark.parametrize("name", EXAMPLES)
def test_all_declare_their_state(name: str, tmp_path) -> None:
    assert without_state(EXAMPLES[name](tmp_path)) == []
