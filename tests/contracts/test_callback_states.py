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
Make = Callable[[pathlib.Path], Listed]


def ours(*names: str) -> Make:
    return lambda folder: [one for name in names for one in CALLBACKS[name]()]


def writers(folder: pathlib.Path) -> Listed:
    best = {"monitor": "loss", "save_best_only": True, "mode": "max"}
    return [
        keras.callbacks.CSVLogger(folder / "log.csv"),
        keras.callbacks.CSVLogger(folder / "more.csv", separator=";", append=True),
        keras.callbacks.ModelCheckpoint(folder / "{epoch} best.keras", **best),
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.weights.h5", save_weights_only=True, save_freq=15),
        keras.callbacks.TensorBoard(folder / "logs", update_freq="batch"),
    ]


# A run costs half a second, so callbacks share runs. Those of the registry that are named nowhere are in the first.
APART = {"at the ends of epochs": ("average, lawa", "layer_rates"), "at its last epochs": ("average, swa",)}
TOGETHER = [name for name in CALLBACKS if name not in {one for names in APART.values() for one in names}]
RUNS: Mapping[str, Make] = {
    "in every step": ours(*TOGETHER),
    **{name: ours(*names) for name, names in APART.items()},
    "spikes": lambda folder: [callbacks.SpikeGuard(1000, patience=2), Poison()],
    "writers": writers,
    "stops": lambda folder: [
        keras.callbacks.EarlyStopping(**STOP),
        keras.callbacks.EarlyStopping(**STOP, restore_best_weights=True),
        Counting(**STOP),
    ],
    "plateau": lambda folder: [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.9 * rate),
        keras.callbacks.ReduceLROnPlateau("loss", min_delta=1e9, patience=2, cooldown=1),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.ProgbarLogger(),
    ],
    "swaps": lambda folder: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
}
# What differs, at least, in a run that goes on without states.
WITHOUT: Mapping[str, set[str]] = {
    "in every step": {"Diagnosis 1"},
    "at the ends of epochs": {"weights", "val_loss", "Average 0"},
    "spikes": {"weights", "loss", "SpikeGuard 0"},
    "writers": {"log.csv", "more.csv", "3 best.keras", "3.weights.h5", "ModelCheckpoint 2", "TensorBoard 4"},
    "stops": {"weights", "loss", "epochs_so_far", "EarlyStopping 0", "EarlyStopping 1", "Counting 2"},
    "plateau": {"weights", "loss", "learning_rate", "ReduceLROnPlateau 1"},
    "swaps": {"weights", "val_loss"},
}


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

    def differences(self, other: "Run") -> set[str]:
        """Name what differs, but for times: metrics, weights, files, states by the callbacks' classes and places."""
        parts = [(run.history, run.files, run.by_place()) for run in (self, other)]
        found = {
            name for one, another in zip(*parts) for name in one.keys() | another.keys() if differ(name, one, another)
        }
        same = all(map(np.array_equal, self.weights, other.weights))
        return found if same else {*found, "weights"}

    def by_place(self) -> dict[str, Any]:
        return {f"{name} {place}": timeless(state) for place, (name, state) in enumerate(self.states)}


def differ(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return name not in TIMES and (name not in one or name not in other or repr(one[name]) != repr(other[name]))


def timeless(value: Any) -> Any:
    """A state without times, to be compared."""
    if isinstance(value, dict):
        return {name: timeless(one) for name, one in value.items() if name not in TIMES}
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    return [timeless(one) for one in value] if isinstance(value, list) else repr(value)


def run(name: str, network, points, folder: pathlib.Path, begin: Kept | None = None, states: bool = True) -> Run:
    averages = {"use_ema": True, "ema_momentum": 0.9} if name == "swaps" else {}
    model = network(keras.optimizers.SGD(0.01, momentum=0.9, **averages), steps_per_execution=5)
    model.optimizer.build(model.trainable_variables)
    loop, history = Loop(model, jit=False, seed=3), keras.callbacks.History()
    loop.evaluate(*points, batch_size=10, verbose=0)  # makes the metrics' variables
    listed = [*RUNS[name](folder), history]
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


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_to_the_bit(name: str, network, points, tmp_path, whole) -> None:
    expected = whole(name)
    found = run(name, network, points, tmp_path, expected.kept[BREAK - 1])
    found.files = of_epochs_before(expected) | found.files
    assert found.differences(expected) == set()


@pytest.mark.parametrize("name", WITHOUT)
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
    assert found.differences(expected) >= WITHOUT[name]


@pytest.mark.parametrize("name", RUNS)
def test_all_declare_their_state(name: str, tmp_path) -> None:
    assert without_state(RUNS[name](tmp_path)) == []
