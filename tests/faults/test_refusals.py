"""A checkpoint of another run is refused in one sentence that names the difference, before anything is changed."""

import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from killed_trainings import BATCH, FEATURES, Watching, points
from killing import Stopped, counted, stop

import kopt
from kopt.training import Loop, TrainStep
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.training.checkpoint.saver import versions_of

ADAM, SGD = keras.optimizers.Adam, keras.optimizers.SGD


def compiled(width: int = 8, rate: float = 0.3, optimizer: Any = None, loss: Any = None, more: int = 0) -> keras.Model:
    """Return a model; each argument is a thing that may differ."""
    inner = [keras.layers.Dense(width, activation="relu"), keras.layers.Dropout(rate)]
    inner += [keras.layers.Dense(width) for _ in range(more)]
    model = keras.Sequential([keras.Input((FEATURES,)), *inner, keras.layers.Dense(2)])
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or ADAM(0.02), loss, metrics=["accuracy"])
    return model


def fit(folder: pathlib.Path, model: keras.Model, data: Any = None, callbacks: Any = (), **arguments: Any) -> None:
    step = arguments.pop("step", {})
    loop = Loop(model, seed=1, step=TrainStep(model, **step))
    how = {"epochs": 3, "batch_size": BATCH, "validation_data": points(40, 1), "verbose": 0} | arguments
    x, y = data or points()
    loop.fit(x, y, callbacks=[Watching(), *callbacks], checkpoint=folder, every="1 steps", **how)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a run that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Stopped), counted(keras.callbacks.CallbackList, "on_train_batch_end", 9, stop):
        fit(folder, compiled())
    return folder


def other_value() -> tuple[np.ndarray, np.ndarray]:
    x, y = points()
    x[0, 0] += 1e-6
    return x, y


def other_label() -> tuple[np.ndarray, np.ndarray]:
    x, y = points()
    y[-1] = 1 - y[-1]
    return x, y


def half() -> tuple[np.ndarray, np.ndarray]:
    x, y = points()
    return x[:-1], y[:-1]


# What differs, the run, and what the error says of it.
OTHERS: dict[str, tuple[Callable[[], keras.Model], dict[str, Any], str]] = {
    "a layer more": (
        lambda: compiled(more=1),
        {},
        r"layer 4\.units was 2 and is 8; layer 5\.class was not",
    ),
    "units": (lambda: compiled(9), {}, r"layer 2\.units was 8 and is 9"),
    "a rate of dropout": (lambda: compiled(rate=0.4), {}, r"layer 3\.rate was 0\.3 and is 0\.4"),
    "the loss": (
        lambda: compiled(loss="sparse_categorical_crossentropy"),
        {},
        r"loss\.class was SparseCategoricalCrossentropy and is not there",
    ),
    "the optimizer": (
        lambda: compiled(optimizer=keras.optimizers.SGD(0.02)),
        {},
        r"optimizer\.class was Adam and is SGD",
    ),
    "a beta": (lambda: compiled(optimizer=ADAM(0.02, beta_1=0.8)), {}, r"optimizer\.beta_1 was 0\.9 and is 0\.8"),
    "a value": (compiled, {"data": other_value()}, r"train\.checksum was \w+ and is \w+"),
    "a label": (compiled, {"data": other_label()}, r"train\.checksum was \w+ and is \w+"),
    "the number of examples": (compiled, {"data": half()}, r"train\.examples was 88 and is 87"),
    "the batch size": (compiled, {"batch_size": 8}, r"train\.batch_size was 16 and is 8"),
    "the validation": (compiled, {"validation_data": points(41, 1)}, r"validation\.examples was 40 and is 41"),
    "no validation": (compiled, {"validation_data": None}, r"validation\.examples was 40 and is not there"),
    "class weights": (
        compiled,
        {"class_weight": {0: 1.0, 1: 2.0}},
        r"train\.rows was \['\(6,\) float32', '\(\) int32'\] and is ",
    ),
    "steps an epoch": (compiled, {"steps_per_epoch": 4}, r"train\.steps_per_epoch was None and is 4"),
    "micro-batches": (compiled, {"step": {"micro_batches": 2}}, r"step\.micro_batches was 1 and is 2"),
    "a callback": (
        compiled,
        {"callbacks": [keras.callbacks.EarlyStopping("loss")]},
        r"callbacks must be those of the checkpoint: \[1\] was History, is EarlyStopping; \[2\] was mis",
    ),
}


def files(folder: pathlib.Path) -> dict[str, str]:
    """Return the digests of the checkpoints in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}


class Begun(keras.callbacks.Callback):
    """Tells whether training has begun."""

    begun = False

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.begun = True


@pytest.mark.parametrize("what", OTHERS)
def test_another_run_is_refused(stopped: pathlib.Path, what: str) -> None:
    make, arguments, said = OTHERS[what]
    model = make()
    before = [weight.numpy() for weight in model.variables]
    there = files(stopped)
    with pytest.raises(ValueError, match=said) as refusal:
        fit(stopped, model, **arguments)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400
    assert all(np.array_equal(one, weight) for one, weight in zip(before, model.variables, strict=True))
    assert files(stopped) == there and len(there) == 2
    with CheckpointFolder(stopped).locked():  # is free again
        pass


def test_nothing_begins_before_the_refusal_of_callbacks(stopped: pathlib.Path) -> None:
    begun = Begun()
    with pytest.raises(ValueError, match="Begun"):
        fit(stopped, compiled(), callbacks=[begun])
    assert not begun.begun


def of_other(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    """Have checkpoints hold other values."""
    read = CheckpointFolder.read

    def other(self: CheckpointFolder) -> Content:
        content = read(self)
        assert content is not None
        return Content(content.arrays, {**content.values, **values})

    monkeypatch.setattr(CheckpointFolder, "read", other)


@pytest.mark.parametrize(
    "values, says",
    [
        ({"format": 2}, r"^checkpoint must be of format 1, not of 2, got "),
        (
            {"versions": {**versions_of(), "kopt": "9.0"}},
            rf"must be of kopt {kopt.__version__}, not of 9.0",
        ),
    ],
)
def test_another_version_is_refused(values, says, stopped: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_other(monkeypatch, **values)
    with pytest.raises(ValueError, match=says):
        fit(stopped, compiled())


def test_another_tensorflow_is_said(stopped: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tmp_path, caplog) -> None:
    of_other(monkeypatch, versions={**versions_of(), "tensorflow": "2.1"})
    fit(pathlib.Path(shutil.copytree(stopped, tmp_path / "copy")), compiled())
    assert "written with tensorflow 2.1, goes on with" in caplog.text


def test_a_refusal_leaves_random_numbers_as_they_are(stopped: pathlib.Path) -> None:
    keras.utils.set_random_seed(5)
    model = compiled(9)
    state = np.random.get_state()[1].copy()
    with pytest.raises(ValueError, match="units"):
        fit(stopped, model)
    assert np.array_equal(np.random.get_state()[1], state)


def test_the_same_run_goes_on(stopped: pathlib.Path, tmp_path: pathlib.Path) -> None:
    model = compiled()
    fit(pathlib.Path(shutil.copytree(stopped, tmp_path / "copy")), model)
    assert len(model.history.epoch) == 3


def test_a_second_training_in_the_folder_is_refused(tmp_path: pathlib.Path) -> None:
    said: list[str] = []

    class Second(Watching):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            with pytest.raises(ValueError, match="must be a folder that no other process trains in") as refusal:
                fit(tmp_path, compiled(), epochs=1)
            said.append(str(refusal.value))

    fit(tmp_path, compiled(), callbacks=[Second()], epochs=1)
    assert len(said) == 1 and "process" in said[0] and json.dumps(said)


def unlabelled(folder: pathlib.Path) -> None:
    x, y = points()
    fit(folder, compiled(), (x, y + 9))


def of_nothing(folder: pathlib.Path) -> None:
    fit(folder, compiled(), validation_data=(np.zeros((0, FEATURES)), np.zeros(0)))


def without_state(folder: pathlib.Path) -> None:
    callback = type("Mine", (keras.callbacks.Callback,), {"on_epoch_end": lambda *_: None})()
    kopt.fit(compiled(), *points(), callbacks=[callback, kopt.callbacks.Checkpoint(folder, strict=True)], verbose=0)


def nothing(root: pathlib.Path) -> pathlib.Path:
    return root / "runs" / "of" / "mine"


def empty(root: pathlib.Path) -> pathlib.Path:
    (root / "mine").mkdir()
    return root / "mine"


def of_the_user(root: pathlib.Path) -> pathlib.Path:
    (empty(root) / "notes.txt").write_text("mine")
    return root / "mine"


def with_a_lock(root: pathlib.Path) -> pathlib.Path:
    with CheckpointFolder(root / "mine").locked():
        return root / "mine"


@pytest.mark.parametrize("before", [nothing, empty, of_the_user, with_a_lock])
@pytest.mark.parametrize("refused", [unlabelled, of_nothing, without_state])
def test_a_refused_fit_leaves_the_folder_as_it_was(refused: Any, before: Any, tmp_path: pathlib.Path) -> None:
    folder = before(tmp_path)
    was = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError):
        refused(folder)
    assert sorted(tmp_path.rglob("*")) == was
    with CheckpointFolder(folder).locked():  # it is free
        pass


def test_what_was_written_stays_when_training_raises(tmp_path: pathlib.Path) -> None:
    with pytest.raises(Stopped), counted(keras.callbacks.CallbackList, "on_train_batch_end", 9, stop):
        fit(tmp_path / "mine", compiled())
    assert CheckpointFolder(tmp_path / "mine").steps() and (tmp_path / "mine" / "lock").exists()
