"""A run that was ended goes on by --resume and `kopt resume`: the same result, and what cannot go on is refused."""

import csv
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import kopt
from kopt.__main__ import main
from kopt.experiment import resuming
from kopt.experiment import run as runs
from kopt.report import read_run
from kopt.report.run_folder import CHECKPOINT, UNFINISHED, left_behind, run_folder
from kopt.report.unfinished import find_unfinished
from kopt.values.field_paths import replace

SCRIPT = pathlib.Path(__file__).with_name("resumed.py")
RECIPE = kopt.Recipe(
    "stopped",
    kopt.data.Digits(examples=60),
    model=kopt.models.MLP((8, 8, 1), 10, units=(4,), scale=1 / 16),
    schedule=kopt.schedules.Constant(0.01),
    training=kopt.Training(epochs=4, batch_size=16),
)


def started(*jobs: list) -> tuple[list[int], str]:
    """Run jobs of the script one after another; return their exit codes and what they printed."""
    command = [sys.executable, str(SCRIPT), json.dumps(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def rows_of(folder: pathlib.Path) -> list[dict[str, str]]:
    """Return the rows of history.csv as they are written, without seconds."""
    with open(folder / "history.csv", newline="") as file:
        return [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def state_of(folder: pathlib.Path) -> list[np.ndarray]:
    """Return all weights of a run's model, and its optimizer's."""
    model = keras.saving.load_model(folder / "model.keras")
    return [*model.get_weights(), *(np.array(one.numpy()) for one in model.optimizer.variables)]


def test_a_run_that_was_killed_and_stopped_ends_as_one_that_was_not(tmp_path) -> None:
    whole, ended = ["--folder", str(tmp_path / "whole")], ["--folder", str(tmp_path / "ended")]
    resumed = [*ended, "--resume", "latest"]
    jobs = [[0, 0, whole], [signal.SIGKILL, 7, ended], [signal.SIGKILL, 13, resumed], [signal.SIGTERM, 18, resumed]]
    codes, said = started(*jobs)
    assert codes == [0, -signal.SIGKILL, -signal.SIGKILL, 128 + signal.SIGTERM], said
    (stopped,) = (tmp_path / "ended" / "stopped").iterdir()  # its result is kept as of any run that is stopped
    kept = read_run(stopped)
    assert kept.metrics["unfinished"] == "training was ended after 4 of 6 epochs, by SIGTERM"
    assert not stopped.name.startswith(".") and resuming.has_checkpoint(stopped)
    codes, said = started([0, 0, resumed])
    assert codes == [0] and re.search(r"checkpoint: training goes on in epoch 4, after 18 updates", said), said
    (one,), (other,) = (tuple((tmp_path / name / "stopped").iterdir()) for name in ("whole", "ended"))
    assert other == stopped and {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    assert rows_of(one) == rows_of(other) and len(rows_of(one)) == 6
    for left, right in zip(state_of(one), state_of(other), strict=True):
        np.testing.assert_array_equal(left, right)
    expected, found = read_run(one).metrics, read_run(other).metrics
    assert len(found.pop("resumed")) == 3 and found.keys() == expected.keys()
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    assert "resumed 3 times: 20" in (other / "README.md").read_text()
    assert len(json.loads((other / "environment.json").read_text())["resumed"]) == 3
    assert "resumed" not in (one / "environment.json").read_text() + (one / "README.md").read_text()


def ended_by(monkeypatch, error: BaseException, folder: pathlib.Path, recipe: kopt.Recipe = RECIPE) -> pathlib.Path:
    """Return the folder of a run that an error ended in its third epoch."""

    class EpochTime(runs.EpochTime):
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            super().on_epoch_begin(epoch, logs)
            if epoch == 2:
                raise error

    with monkeypatch.context() as patched:
        patched.setattr(runs, "EpochTime", EpochTime)
        patched.setattr(resuming, "EVERY", "1 epoch")
        with pytest.raises(type(error)):
            kopt.run(recipe, folder=folder, verbose=False)
    return max((folder / "stopped").iterdir())


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> pathlib.Path:
    """A folder with one run that an error has ended after 2 of 4 epochs."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as monkeypatch:
        ended_by(monkeypatch, ZeroDivisionError(), root)
    return root


@pytest.fixture
def ended(stopped, tmp_path) -> pathlib.Path:
    """Return a copy of the folder of that run."""
    shutil.copytree(stopped, tmp_path / "runs")
    (folder,) = (tmp_path / "runs" / "stopped").iterdir()
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> kopt.report.Run:
    """A run that nothing has ended."""
    return kopt.run(RECIPE, folder=tmp_path_factory.mktemp("whole"), verbose=False)


MOMENTS = {"epoch begin": ("on_epoch_begin", 2, 3), "validation": ("on_test_begin", 2, 2)}
MOMENTS |= {"epoch end": ("on_epoch_end", 2, 2), "last epoch end": ("on_epoch_end", 4, 4)}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_at_any_moment_leaves_a_checkpoint_of_it(moment: str, whole, tmp_path, monkeypatch, caplog) -> None:
    name, count, epochs = MOMENTS[moment]
    calls, base = [], runs.EpochTime

    def act(self, *arguments: object, **named: object) -> None:
        getattr(base, name)(self, *arguments, **named)
        calls.append(name)
        if len(calls) == count + (name == "on_epoch_begin"):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(runs, "EpochTime", type("EpochTime", (base,), {name: act}))
        with pytest.raises(SystemExit) as caught:
            kopt.run(RECIPE, folder=tmp_path, verbose=False)
    assert caught.value.code == 128 + signal.SIGTERM
    (folder,) = (tmp_path / "stopped").iterdir()
    assert read_run(folder).metrics["unfinished"] == f"training was ended after {epochs} of 4 epochs, by SIGTERM"
    assert len(list((folder / CHECKPOINT).glob("step-*"))) == 1
    with caplog.at_level("INFO", "kopt"):
        done = kopt.run(RECIPE, folder=tmp_path, resume="latest", verbose=False)
    assert f"after {epochs * 3} updates" in caplog.text  # nothing is trained twice
    for left, right in zip(state_of(whole.folder), state_of(done.folder), strict=True):
        np.testing.assert_array_equal(left, right)
    assert rows_of(whole.folder) == rows_of(done.folder) and done.metrics["value"] == whole.metrics["value"]


def test_a_run_that_an_error_has_ended_goes_on_by_the_command_with_more_epochs(ended, capsys) -> None:
    assert len(read_run(ended).history["loss"]) == 2
    main(["resume", str(ended), "--epochs", "5"])
    printed = capsys.readouterr().out
    assert "checkpoint: training goes on after epoch 2, after 6 updates" in printed and "epoch 5/5" in printed
    done = read_run(ended)
    assert done.recipe == replace(RECIPE, {"training.epochs": 5}) and len(done.history["loss"]) == 5
    assert "unfinished" not in done.metrics and not (ended / CHECKPOINT).exists()
    with pytest.raises(SystemExit) as caught:
        main(["resume", str(ended)])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: resume must be of an unfinished run, not of a finished one, got ")


def test_auto_goes_on_with_the_latest_run_and_else_begins_one(ended, capsys) -> None:
    root = ended.parent.parent
    args, command = ["--folder", str(root), "--resume", "auto"], kopt.Command(replace(RECIPE, {"training.epochs": 2}))
    done = kopt.run_command(kopt.command_line(command, quick={}, args=args))
    assert done.folder == ended and len(done.history["loss"]) == 4  # the fields are those of the run
    printed = capsys.readouterr().out
    assert f"resumed: {ended}" in printed and "a new one begins" not in printed
    new = kopt.run_command(kopt.command_line(command, quick={}, args=args))  # the other one is finished
    assert new.folder != ended and len(new.history["loss"]) == 2 and "resumed" not in new.metrics
    assert f"resume: no unfinished run is in {ended.parent}, a new one begins" in capsys.readouterr().out
    assert (
        kopt.run(command.of, folder=root / "other", verbose=False, resume="auto").folder.parent.parent.name == "other"
    )


def test_auto_refuses_a_run_that_is_there_and_cannot_go_on(ended) -> None:
    damage("recipe.json", "[]", ended)
    with pytest.raises(ValueError, match="^resume must be of a run with a whole recipe.json"):
        kopt.run(RECIPE, folder=ended.parent.parent, verbose=False, resume="auto")


REFUSED = {
    "no such run": (["nowhere"], "resume must be 'latest', 'auto' or the folder of a run in {root}/stopped, got "),
    "elsewhere": (["/tmp"], "resume must be 'latest', 'auto' or the folder of a run in {root}/stopped, got '/tmp'."),
    "by a detour": (
        ["{ended}/../.."],
        "resume must be 'latest', 'auto' or the folder of a run in {root}/stopped, got ",
    ),
    "empty": ([""], "resume must be a text or a path, not empty and without NUL, got ''."),
    "another rate": (
        ["latest", "--schedule.rate", "0.5", "--seed", "7"],
        "recipe must be that of the run that is resumed: schedule.rate was 0.01 and is 0.5; seed was 0 and is 7, got ",
    ),
    "another rate, auto": (
        ["auto", "--seed", "7"],
        "recipe must be that of the run that is resumed: seed was 0 and is",
    ),
    "fewer epochs": (["latest", "--training.epochs", "3"], "recipe must be that of the run that is resumed: training."),
    "quick": (["latest", "--quick"], "recipe must be that of the run that is resumed: training.epochs was 4 and is 1"),
    "three seeds": (["latest", "--check-target"], "resume must be given without --check-target, got 'latest'."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_go_on_is_refused_in_one_sentence_with_code_2(case: str, ended, capsys) -> None:
    (asked, *more), message = REFUSED[case]
    root, before = ended.parent.parent, sorted(ended.rglob("*"))
    args = ["--folder", str(root), "--resume", asked.format(ended=ended), *more]
    # The script's recipe has other fields than the run's, which do not count: they are not on the command line.
    command = kopt.Command(replace(RECIPE, {"training.epochs": 9}))
    with pytest.raises(SystemExit) as caught:
        kopt.run_command(kopt.command_line(command, quick={"training.epochs": 1}, args=args))
    said = capsys.readouterr().err
    assert caught.value.code == 2 and said.count("\n") == 1
    assert said.startswith("error: " + message.format(root=root))
    assert sorted(ended.rglob("*")) == before


def damage(name: str, text: str, ended: pathlib.Path) -> None:
    (ended / name).write_text(text)


def link(name: str, ended: pathlib.Path) -> None:
    (ended / name).rename(ended.parent / "there")
    (ended / name).symlink_to(ended.parent / "there")


DAMAGES = {
    "no recipe": (lambda ended: (ended / "recipe.json").unlink(), "of a run"),
    "half a recipe": (lambda ended: damage("recipe.json", '{"recipe": ', ended), "of a run with a whole recipe.json"),
    "no recipe in it": (lambda ended: damage("recipe.json", "[]", ended), "of a run with a whole recipe.json"),
    "a link": (lambda ended: link("recipe.json", ended), "the folder of a run, with a recipe.json and no links"),
    "a linked folder": (lambda ended: link(CHECKPOINT, ended), "the folder of a run, with a recipe.json and no links"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_folder_is_refused(case: str, ended) -> None:
    act, message = DAMAGES[case]
    act(ended)
    with pytest.raises(ValueError, match="^resume must be .*" + message):
        kopt.run(RECIPE, folder=ended.parent.parent, verbose=False, resume=ended)


def test_other_data_are_refused_and_nothing_is_lost(ended) -> None:
    recipe = json.loads((ended / "recipe.json").read_text())
    (ended / "recipe.json").write_text(json.dumps(recipe | {"data_sha256": "0" * 64}))
    with pytest.raises(ValueError, match="^data must be those that the run began with, of sha256 0000"):
        kopt.run(RECIPE, folder=ended.parent.parent, verbose=False, resume="latest")
    assert resuming.has_checkpoint(ended) and read_run(ended).metrics["unfinished"].endswith("ZeroDivisionError")


def test_a_run_at_work_is_refused(tmp_path) -> None:
    with run_folder(tmp_path, "stopped") as (unfinished, _):
        (unfinished / "recipe.json").write_text(json.dumps({"recipe": json.loads(kopt.values.fields.to_json(RECIPE))}))
        with pytest.raises(ValueError, match="^resume must be of a run that no process is at work in, got "):
            kopt.run(RECIPE, folder=tmp_path, verbose=False, resume="latest")


def test_the_latest_is_the_unfinished_one_with_the_newest_name(ended) -> None:
    parent, root = ended.parent, ended.parent.parent
    text = (ended / "recipe.json").read_text()
    times = "2026-01-02_00-00-00", "2026-01-02_00-00-00-2", "2026-01-02_00-00-00-10", "2026-01-01_00-00-00"
    for name in times:
        (parent / f"{UNFINISHED}{name}").mkdir()
        (parent / f"{UNFINISHED}{name}" / "recipe.json").write_text(text)
    shutil.rmtree(ended)
    for name in ("notes", f"{UNFINISHED}other", "2027-01-01_00-00-00", f"{UNFINISHED}2027-01-02_00-00-00"):
        (parent / name).mkdir()  # without a recipe
    for name in ("2027-02-01_00-00-00", f"{UNFINISHED}2027-02-02_00-00-00"):  # finished ones
        (parent / name).mkdir()
        (parent / name / "recipe.json").write_text(text)
        (parent / name / "metrics.json").write_text("{}")
    assert find_unfinished("latest", root, "stopped").folder.name == f"{UNFINISHED}{times[2]}"
    # By the name that it would have had, and by its own.
    for name in (times[0], f"{UNFINISHED}{times[0]}"):
        assert find_unfinished(parent / name, root, "stopped").folder.name == f"{UNFINISHED}{times[0]}"
    assert "which has no model, can be gone on with by `kopt resume` and may be removed." in left_behind(root)[0]


def test_a_run_without_a_checkpoint_begins_anew_in_its_folder(ended, caplog) -> None:
    shutil.rmtree(ended / CHECKPOINT)
    killed = ended.rename(ended.with_name(UNFINISHED + ended.name))
    for name in ("metrics.json", "history.csv", "model.keras"):
        (killed / name).unlink()
    done = kopt.run(RECIPE, folder=ended.parent.parent, resume=ended, verbose=False)
    assert done.folder == ended and [path.name for path in ended.parent.iterdir()] == [ended.name]
    assert len(done.history["loss"]) == 4 and len(done.metrics["resumed"]) == 1


def test_a_short_run_writes_no_checkpoint(tmp_path, monkeypatch) -> None:
    written = []
    monkeypatch.setattr("kopt.training.checkpoint.saver.Saver.content", lambda *_: written.append(1))
    kopt.run(replace(RECIPE, {"training.epochs": 1}), folder=tmp_path, verbose=False)
    assert len(written) <= 1  # what is held for a signal in the validation
