"""Watching runs: what is shown of those at work, killed, unfinished and finished."""

import io
import json
import pathlib
import shutil
import sys
import types

import keras
import pytest
from examples import RECIPE

import kopt
from kopt.__main__ import main
from kopt.report.progress_file import FILE, ProgressFile, read_progress
from kopt.report.run_folder import UNFINISHED
from kopt.report.run_watch import Row, duration, rows_of, watch_runs
from kopt.values.field_paths import replace

SHORT = replace(RECIPE, {"training.epochs": 3})


class Look(keras.callbacks.Callback):
    """Looks at the runs in a folder from within one of them, as another process does."""

    def __init__(self, root: pathlib.Path):
        super().__init__()
        self.root = root
        self.rows: list[list[Row]] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.rows.append(rows_of(self.root))


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> tuple[kopt.report.Run, list[list[Row]]]:
    root = tmp_path_factory.mktemp("runs")
    look = Look(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kopt.report.progress_file.time.monotonic", iter(range(0, 10**6, 10)).__next__)
        done = kopt.run(SHORT, folder=root, verbose=False, callbacks=[look])
    return done, look.rows


def test_a_run_at_work_is_shown_with_epoch_score_and_time_left(watched) -> None:
    done, looks = watched
    assert [[row.state for row in rows] for rows in looks] == [["running"]] * 3
    first, second, third = (rows[0] for rows in looks)
    assert first == Row(f"example/{done.folder.name}", "running", *"-----")
    scores = done.history["val_accuracy"]
    assert (second.epoch, third.epoch) == ("1 of 3", "2 of 3")
    assert third.score == f"val_accuracy {scores[1]:.4f}" and third.best == f"{max(scores[:2]):.4f}"
    seconds = done.history["seconds"]
    assert third.time == duration(sum(seconds[:2])) and third.left == duration(sum(seconds[:2]) / 2)
    assert not (done.folder / FILE).exists()  # training is at its end


def test_a_finished_run_is_shown_with_its_score_on_the_test_split(watched) -> None:
    (row,) = rows_of(watched[0].folder.parents[1])
    assert (row.state, row.epoch, row.left) == ("finished", "3", "-")
    assert row.score == f"test accuracy {watched[0].metrics['value']:.4f}"
    assert row.sentence().startswith(f"example/{watched[0].folder.name}: finished, epoch 3, test accuracy")


@pytest.fixture
def killed(watched, tmp_path) -> pathlib.Path:
    """The folder of a run whose process was killed after its second epoch."""
    place = tmp_path / "example" / f"{UNFINISHED}2026-01-31_12-00-00"
    place.mkdir(parents=True)
    shutil.copy(watched[0].folder / "recipe.json", place)
    progress = ProgressFile(place, "accuracy", "max", 20)
    for epoch in range(2):
        progress.note(epoch, {"val_accuracy": 0.5, "seconds": 1.0})
    progress.write()
    return place


def test_a_killed_run_is_told_from_one_at_work(killed: pathlib.Path, tmp_path) -> None:
    (row,) = rows_of(tmp_path)
    assert row == Row("example/2026-01-31_12-00-00", "killed", "2 of 20", "val_accuracy 0.5000", "0.5000", "0:02", "-")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"epoch": 1}', "null"])
def test_a_damaged_file_of_progress_is_left_out(damage: str, killed: pathlib.Path, tmp_path) -> None:
    (killed / FILE).write_text(damage)
    assert read_progress(killed) is None and rows_of(tmp_path)[0].epoch == "-"
    wrong = {**dict.fromkeys(("epoch", "epochs", "seconds", "left"), 1), "metric": "a", "score": "x", "best": None}
    (killed / FILE).write_text(json.dumps(wrong))
    assert read_progress(killed) is None


def test_without_a_terminal_a_line_is_printed_for_what_is_new(killed: pathlib.Path, tmp_path, capsys) -> None:
    watch_runs(tmp_path, every=0.01, times=3)
    line = "example/2026-01-31_12-00-00: killed, epoch 2 of 20, val_accuracy 0.5000, best 0.5000, 0:02"
    assert capsys.readouterr().out.splitlines() == [line]


def test_the_command_ends_at_ctrl_c_without_an_error(killed: pathlib.Path, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("kopt.report.run_watch.time.sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    main(["runs", "--watch", "--folder", str(tmp_path)])
    assert "killed, epoch 2 of 20" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["runs", "--watch", "--folder", str(tmp_path / "nowhere")])
    assert caught.value.code == 2


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def test_in_a_terminal_a_table_is_shown_again_in_its_place(killed: pathlib.Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    watch_runs(tmp_path, every=0.01, times=3)
    shown = terminal.getvalue()
    assert shown.count("2 of 20") >= 3 and "\x1b[1A" in shown  # it was drawn again, over itself


def test_a_run_that_goes_on_counts_the_epochs_before(tmp_path) -> None:
    progress = ProgressFile(tmp_path, "accuracy", "max", 20)
    before = {"val_accuracy": [0.5, 0.75], "seconds": [2.0, 4.0]}
    progress.set_model(types.SimpleNamespace(history=types.SimpleNamespace(history=before)))
    progress.on_epoch_end(2, {"val_accuracy": 0.25, "seconds": 6.0})
    assert read_progress(tmp_path) == (3, 20, "accuracy", 0.25, 0.75, 12.0, 17 * 4.0)


def test_a_folder_that_cannot_be_written_to_is_named_once(tmp_path, caplog) -> None:
    progress = ProgressFile(tmp_path / "nowhere", "accuracy", "max", 20)
    for epoch in range(3):
        progress.next = 0.0
        progress.on_epoch_end(epoch, {"val_accuracy": 0.5})
    assert caplog.text.count("progress.json could not be written: No such file or directory") == 1
