"""run(recipe, callbacks=, devices=, resume=), and the events for TensorBoard while a run is at work."""

import json
import pathlib
import re

import keras
import pytest
import tensorflow as tf

import kopt
from kopt import data, models, schedules
from kopt.callbacks import EMA, SWA, LearningRate
from kopt.training import clips, sharpness
from kopt.values import replace

RECIPE = kopt.Recipe(
    "mine", data.Digits(examples=100), model=models.MLP(units=(8,), scale=1 / 16), training=kopt.Training(epochs=4)
)


def events(folder: pathlib.Path) -> dict[str, list[int]]:
    """Tag -> the epochs that have an event, in the order of the files; what is of the whole run is left out."""
    found: dict[str, list[int]] = {}
    for path in sorted(path for path in folder.rglob("events*") if path.parent.name in ("train", "validation")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(f"{path.parent.name} {value.tag}", []).append(event.step)
    return found


class Watch(keras.callbacks.Callback):
    """Reads what is on the disk, while the run is at work; interrupts it if asked."""

    def __init__(self, root: pathlib.Path, stop: int | None = None):
        super().__init__()
        self.root, self.stop, self.seen, self.rates = root, stop, [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(events(self.root).get("train epoch_loss", []))

    def on_epoch_end(self, epoch, logs=None):
        self.rates.append(logs["learning_rate"])
        if epoch == self.stop:
            raise KeyboardInterrupt


def test_an_average_of_a_rule_that_averages_itself_is_refused_when_it_is_made() -> None:
    said = r"average must be None for ScheduleFreeSGD\(\), which averages itself, got EMA\(0.9\)"
    with pytest.raises(ValueError, match=said):
        replace(RECIPE, {"rule": kopt.rules.ScheduleFreeSGD(), "average": EMA(0.9)})


def test_events_are_there_while_it_trains_one_an_epoch(tmp_path) -> None:
    watch = Watch(tmp_path)
    done = kopt.run(RECIPE, callbacks=[watch], devices="cpu", folder=tmp_path, verbose=False)
    assert watch.seen == [list(range(epoch)) for epoch in range(4)]
    assert watch.rates == done.history["learning_rate"] and done.recipe.devices == "cpu"
    found = events(done.folder)
    assert {f"train epoch_{name}" for name in ("loss", "accuracy", "learning_rate", "seconds")} <= set(found)
    assert {"validation epoch_loss", "validation epoch_accuracy"} <= set(found)
    assert all(epochs == [0, 1, 2, 3] for epochs in found.values())
    assert json.loads((done.folder / "recipe.json").read_text())["recipe"]["config"]["devices"] == "cpu"


def test_a_run_that_goes_on_has_each_epoch_once_and_its_model_from_before(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("kopt.experiment.resuming.EVERY", "1 epoch")
    open_recipe = kopt.Recipe("mine", RECIPE.data, training=RECIPE.training)  # its model is chosen, its sizes found
    whole = kopt.run(open_recipe, folder=tmp_path / "whole", verbose=False)
    with pytest.raises(KeyboardInterrupt):
        kopt.run(open_recipe, callbacks=[Watch(tmp_path, stop=2)], folder=tmp_path, verbose=False)
    watch = Watch(tmp_path / "mine")
    done = kopt.run(open_recipe, callbacks=[watch], resume="latest", folder=tmp_path, verbose=False)
    assert done.history["loss"] == whole.history["loss"] and done.recipe == whole.recipe
    assert all(epochs == [0, 1, 2, 3] for epochs in events(done.folder).values())
    assert 0 < len(watch.rates) < 4


def test_a_folder_of_events_that_cannot_be_written_is_said_and_training_goes_on(tmp_path, monkeypatch, caplog) -> None:
    def fails(*arguments, **named):
        raise OSError("No space left on device")

    monkeypatch.setattr("kopt.report.event_logs.Events.flush", fails)
    done = kopt.run(RECIPE, folder=tmp_path, verbose=False)
    assert "logs could not be written: No space left on device" in caplog.text
    assert all(epochs == [0, 1, 2, 3] for epochs in events(done.folder).values()), "written at the end"
    assert len(done.history["loss"]) == 4


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([keras.callbacks.ReduceLROnPlateau()], "callbacks must hold no ReduceLROnPlateau beside LearningRate, "),
        ([EMA(0.9)], "callbacks must be Keras callbacks: use kopt.callbacks.Average(EMA(0.9)), got EMA(0.9)."),
        ([LearningRate(schedules.Constant(0.1))], "callbacks must leave the rate to recipe.schedule, got"),
        (["early"], "callbacks must be a Keras callback or a list of them, got 'early'."),
    ],
)
def test_what_is_no_callback_of_a_run_is_refused_before_any_work(
    callbacks, message: str, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(data.Digits, "load", lambda self: pytest.fail("work was done"))
    with pytest.raises(ValueError) as caught:
        kopt.run(RECIPE, callbacks=callbacks, folder=tmp_path, verbose=False)
    assert str(caught.value).startswith(message) and list(tmp_path.iterdir()) == []


def test_devices_that_are_not_there_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="^devices must be one of"):
        kopt.run(RECIPE, devices="gpu:7", folder=tmp_path, verbose=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adm", "rule must be one of .*, got 'adm' .did you mean 'adam'"),
        ("lookahead(adm())", "rule must be one of .*, got 'adm' .did you mean 'adam'"),
        ("adam(x=1)", r"rule must be called as adam\(beta_1=0.9, .*, got 'adam\(x=1\)'"),
        ("adam(beta_1=2)", r"beta_1 must be in \[0, 1\), got 2.0"),
        ("lookahead(3)", "of must be a Rule, got 3"),
        ("open('x').read()", "rule must be a name or a call with plain numbers and texts"),
    ],
)
def test_a_rule_of_the_command_line_that_cannot_be_is_refused(text: str, message: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        kopt.command_line(kopt.Command(kopt.Recipe("mine", kopt.data.Digits())), quick={}, args=["--rule", text])
    assert caught.value.code == 2
    assert re.search(rf"^error: {message}", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["--sharpness", "sam(0.1)"], sharpness.SAM(0.1)),
        (["--sharpness", "asam", "--sharpness.rho", "0.7"], sharpness.ASAM(0.7)),
        (["--sharpness=None"], None),
        (["--sharpness.rho", "0.2"], sharpness.SAM(0.2)),
        ([], sharpness.SAM(0.05)),
    ],
)
def test_the_command_line_takes_a_sharpness_and_its_fields(args: list[str], found) -> None:
    recipe = replace(RECIPE, {"sharpness": sharpness.SAM(0.05), "clip": clips.ClipValue(1.0)})
    read = kopt.command_line(kopt.Command(recipe), quick={}, args=[*args, "--clip", "global_norm(2.0)"]).of
    assert read.sharpness == found and read.clip == clips.GlobalNorm(2.0)


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["--rule", "schedule_free_sgd", "--average", "none"], None),
        (["--average", "none", "--rule", "schedule_free_sgd"], None),
        (["--average", "swa", "--average.start", "0.5"], SWA(0.5)),
        (["--average.decay", "0.8"], EMA(0.8)),
        ([], EMA(0.9)),
    ],
)
def test_the_command_line_takes_an_average_and_its_fields(args: list[str], found) -> None:
    recipe = replace(RECIPE, {"average": EMA(0.9)})
    assert kopt.command_line(kopt.Command(recipe), quick={}, args=args).of.average == found


def test_a_sharpness_that_cannot_be_is_refused(capsys) -> None:
    for text, said in (
        ("sm", "sharpness must be one of .*, got 'sm' .did you mean 'sam'"),
        ("sam(-1)", "rho must be > 0"),
    ):
        with pytest.raises(SystemExit) as caught:
            kopt.command_line(kopt.Command(RECIPE), quick={}, args=["--sharpness", text])
        assert caught.value.code == 2 and re.search(f"^error: {said}", capsys.readouterr().err)
