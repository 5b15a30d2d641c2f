"""The counter-test of the kills: whatever a checkpoint holds, a training that goes on without it ends otherwise."""

import copy
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import pytest
from killed_trainings import BATCH, EXAMPLES, SEED, Fits, train
from killing import Stopped, counted, stop

from kopt.training.checkpoint import saver
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.training.checkpoint.state import key

STEPS = -(-EXAMPLES // BATCH)  # an epoch
Leave = Callable[[dict[str, Any]], None]


def without(*names: str) -> Leave:
    """Leave out the variables whose names hold one of some texts: they stay as the new process has them."""

    def leave(values: dict[str, Any]) -> None:
        values["left"] = [one for one, (name, _, _) in enumerate(values["variables"]) if any(map(name.count, names))]
        assert values["left"]

    return leave


def without_weights(values: dict[str, Any]) -> None:
    names = [name for name, _, _ in values["variables"]]
    values["left"] = [one for one, name in enumerate(names) if name.endswith(("/kernel", "/bias"))]
    assert len(values["left"]) == 4


def without_state_of(name: str) -> Leave:
    """Leave out the state of a callback."""

    def leave(values: dict[str, Any]) -> None:
        assert name in dict(values["callbacks"])
        values["callbacks"] = [(one, None if one == name else state) for one, state in values["callbacks"]]

    return leave


def without_position(values: dict[str, Any]) -> None:
    values["positions"]["train"] |= {"seen": 0, "done": 0}


def without_logs(values: dict[str, Any]) -> None:
    epoch, amid, stopped, (_, watched, times) = values["moment"]
    values["moment"] = epoch, amid, stopped, [{}, watched, times]


def without_epoch(values: dict[str, Any]) -> None:
    epoch, *rest = values["moment"]
    values["moment"] = (epoch - 1, *rest)


def without_order(values: dict[str, Any]) -> None:
    values["seed"] = int(np.random.randint(2**31))


def without_random(*names: str) -> Leave:
    """Leave out states of global random generators: they stay as the new process has them."""

    def leave(values: dict[str, Any]) -> None:
        values["random_left"] = names

    return leave


def without_start(values: dict[str, Any]) -> None:
    values["start"] = saver.randomness.random_states()


AMID = "on_train_batch_end", 2 * STEPS + 3  # in the middle of the third epoch
BEFORE_VALIDATION = "on_test_begin", 3
ENDED = "on_epoch_end", 2

# Training, where it stops, the seed of the process that goes on, what is left out.
CASES: dict[str, tuple[str, tuple[str, int], int, Leave]] = {
    "weights": ("everything", AMID, 99, without_weights),
    "the statistics of BatchNormalization": ("everything", AMID, 99, without("moving_mean")),
    "moments of the optimizer": ("everything", AMID, 99, without("_momentum", "_velocity")),
    "averages of the optimizer": ("everything", AMID, 99, without("_average")),
    "iterations": ("everything", AMID, 99, without("adam_w/iteration")),
    "metrics of the epoch so far": ("everything", AMID, 99, without("total", "count")),
    "seeds of dropout and augmentation": ("everything", AMID, 99, without("seed_generator")),
    "the counters of ReduceOnPlateau": ("everything", AMID, 99, without("knob")),
    "EarlyStopping": ("slices with a seeded shuffle", AMID, SEED, without_state_of("EarlyStopping")),
    "ReduceLROnPlateau": ("everything", AMID, 99, without_state_of("ReduceLROnPlateau")),
    "a callback of the user": ("everything", AMID, 99, without_state_of("Watching")),
    "History": ("everything", AMID, 99, without_state_of("History")),
    "the position": ("everything", AMID, 99, without_position),
    "the epoch": ("everything", AMID, 99, without_epoch),
    "the seed of the order": ("everything", AMID, 99, without_order),
    "logs of the epoch so far": ("everything", BEFORE_VALIDATION, 99, without_logs),
    "Python's random state": ("a callback that draws", AMID, SEED, without_random("python")),
    "NumPy's random state": ("a callback that draws", AMID, SEED, without_random("numpy")),
    "TensorFlow's random state": ("a callback that draws", AMID, SEED, without_random("tensorflow")),
    "Keras' random state": ("a callback that draws", AMID, SEED, without("seed_generator_state")),
    "the random states by which data are drawn": ("a generator", AMID, 99, without_start),
    "the loss scale": ("a loss scale", AMID, 99, without("scale", "step_counter")),
    "an average of the weights": ("averages", AMID, 99, without("slots")),
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[dict[str, str], Content]]:
    """Return what a training ends with, and its last checkpoint when it is stopped; each is made once."""
    known: dict[Any, Any] = {}

    def find(name: str, place: tuple[str, int]) -> tuple[dict[str, str], Content]:
        if name not in known:
            known[name] = train(name, Fits())
        if (name, place) not in known:
            folder = tmp_path_factory.mktemp("stopped")
            with pytest.MonkeyPatch.context() as patch:  # steps are faster than a disk: the last is to be written
                patch.setattr(saver.Writer, "submit", lambda *what: saver.Writer.write(*what) is None)
                with pytest.raises(Stopped), counted(keras.callbacks.CallbackList, *place, stop):
                    train(name, Fits(folder, every="1 steps"))
            content = CheckpointFolder(folder / "1").read()
            assert content is not None
            known[name, place] = content
        return known[name], known[name, place]

    return find


@pytest.fixture(autouse=True)
def policy() -> Iterator[None]:
    """Leave the policy of numbers as it is."""
    kept = keras.mixed_precision.dtype_policy()
    yield
    keras.mixed_precision.set_dtype_policy(kept)


def go_on(
    monkeypatch: pytest.MonkeyPatch, name: str, folder: pathlib.Path, content: Content, seed: int, leave: Leave | None
) -> dict[str, str]:
    """Go on from a checkpoint, of which something may be left out; return the digests of the end."""
    values = copy.deepcopy(dict(content.values))
    put_back, set_states = saver.put_back, saver.randomness.set_random_states

    def read(self: CheckpointFolder) -> Content | None:
        if leave is not None:
            leave(values)
        return Content(content.arrays, values)

    def partly(variables: list[Any], arrays: Mapping[str, np.ndarray]) -> None:
        kept = {key(place): variables[place].numpy() for place in values.get("left", ())}
        put_back(variables, {**arrays, **kept})

    def some(states: Mapping[str, Any], but: list[str] = []) -> None:  # noqa: B006
        set_states(states, but=[*but, *values.get("random_left", ())])

    monkeypatch.setattr(CheckpointFolder, "read", read)
    monkeypatch.setattr(saver, "put_back", partly)
    monkeypatch.setattr(saver.randomness, "set_random_states", some)
    return train(name, Fits(folder), seed)


@pytest.mark.parametrize("what", CASES)
def test_what_is_left_out_is_missed(stopped, monkeypatch, tmp_path, what: str) -> None:
    name, place, seed, leave = CASES[what]
    wanted, content = stopped(name, place)
    assert go_on(monkeypatch, name, tmp_path, content, seed, leave) != wanted


@pytest.mark.parametrize(("name", "place", "seed"), sorted({case[:3] for case in CASES.values()}))
def test_a_whole_checkpoint_has_all_of_it(stopped, monkeypatch, tmp_path, name: str, place, seed: int) -> None:
    wanted, content = stopped(name, place)
    assert go_on(monkeypatch, name, tmp_path, content, seed, None) == wanted
