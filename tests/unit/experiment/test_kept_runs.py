"""What ends a run after training has begun: the result is kept, and what is not there is said."""

import errno
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile

import keras
import numpy as np
import pytest

import kopt
from kopt import data, models, report, schedules
from kopt.__main__ import main
from kopt.experiment import run as runs
from kopt.experiment import scoring
from kopt.report import run_writer

RECIPE = kopt.Recipe(
    "kept",
    data.Digits(examples=60),
    model=models.MLP((8, 8, 1), 10, units=(4,), scale=1 / 16),
    schedule=schedules.Cosine(0.01).warmup(3),
    average=kopt.callbacks.EMA(0.5),
    training=kopt.Training(epochs=6, batch_size=16),
)


def at_epoch(monkeypatch, act) -> list:
    """Do something at the beginning of the third epoch; the weights as they were then are put into the list."""
    seen: list = []

    class Acting(runs.EpochTime):
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            super().on_epoch_begin(epoch, logs)
            if epoch == 2:
                seen.append([np.array(weight) for weight in self.model.get_weights()])
                act()

    monkeypatch.setattr(runs, "EpochTime", Acting)
    return seen


def before(monkeypatch, owner, name: str, act) -> None:
    """Do something before a function is called."""
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **named: (act(), real(*args, **named))[1])


MOMENTS = {
    "data": lambda monkeypatch, act: before(monkeypatch, data.Digits, "load", act),
    "training": at_epoch,
    "writing": lambda monkeypatch, act: before(monkeypatch, keras.Model, "save", act),
    "scoring": lambda monkeypatch, act: before(monkeypatch, runs, "score_and_report", act),
    "report": lambda monkeypatch, act: before(monkeypatch, run_writer, "plot", act),
}
WHY = {
    "training": "training was ended after 3 of 6 epochs, by {}",
    "writing": "it was not scored",
    "scoring": "it was not scored",
    "report": "its report was not written",
}
CASES = [*((moment, signal.SIGTERM) for moment in MOMENTS), ("training", signal.SIGINT), ("training", signal.SIGHUP)]


@pytest.mark.parametrize(("moment", "number"), CASES)
def test_a_signal_ends_the_run_and_keeps_what_there_is(moment: str, number: int, tmp_path, monkeypatch) -> None:
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    MOMENTS[moment](monkeypatch, lambda: os.kill(os.getpid(), number))
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as caught:
        kopt.run(RECIPE, folder=tmp_path, verbose=False)
    assert number == signal.SIGINT or caught.value.code == 128 + number
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    if moment == "data":
        assert list(tmp_path.iterdir()) == []
        return
    (folder,) = (tmp_path / "kept").iterdir()
    assert not folder.name.startswith(".") and not list(folder.glob(".*"))
    kept = report.read_run(folder)
    assert kept.metrics["unfinished"] == WHY[moment].format(signal.Signals(number).name)
    assert (kept.metrics["value"] is None) == (moment != "report")
    assert len(kept.history["loss"]) == (3 if moment == "training" else 6)
    epochs = len(kept.history["loss"])
    model = keras.saving.load_model(folder / "model.keras")
    assert int(model.optimizer.iterations) == epochs * 3
    # The average is in the model: what it is validated by.
    found = model.evaluate(*RECIPE.data.load().validation, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(kept.history["val_loss"][-1], rel=1e-4)


def test_a_second_signal_is_obeyed_at_once(tmp_path, monkeypatch) -> None:
    seen = at_epoch(monkeypatch, lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        kopt.run(RECIPE, folder=tmp_path, verbose=False)
    (folder,) = (tmp_path / "kept").iterdir()
    kept = report.read_run(folder)
    assert len(seen) == 1 and len(kept.history["loss"]) == 2
    assert kept.metrics["unfinished"] == "training was ended after 2 of 6 epochs, by KeyboardInterrupt"


def test_an_error_in_training_keeps_the_model_and_is_raised(tmp_path, monkeypatch, capsys) -> None:
    def fail() -> None:
        raise ZeroDivisionError("in a callback \x1b[31m")

    at_epoch(monkeypatch, fail)
    with pytest.raises(ZeroDivisionError, match="in a callback"):
        kopt.run(RECIPE, folder=tmp_path, verbose=False)
    (folder,) = (tmp_path / "kept").iterdir()
    kept = report.read_run(folder)
    assert kept.metrics["unfinished"].endswith(r"2 of 6 epochs, by ZeroDivisionError: in a callback \x1b[31m")
    assert int(keras.saving.load_model(folder / "model.keras").optimizer.iterations) == 6
    # What is planned is drawn, not what was done: the warm-up of 3 epochs is longer than this run of 2.
    assert len(kopt.plot(kept).axes) == 3
    main(["runs", "--folder", str(tmp_path), "--sort", "parameters"])
    printed = capsys.readouterr()
    assert " - " in printed.out and "unfinished: kept/" in printed.err and "by ZeroDivisionError" in printed.err
    main(["show", str(folder)])
    assert "ZeroDivisionError" in capsys.readouterr().out


def limited(monkeypatch, name: str, size: int) -> None:
    """Let no file be larger than so many bytes while one of the writers works: as a full disk."""
    place = scoring if name == "write_report" else runs
    real, before = getattr(place, name), resource.getrlimit(resource.RLIMIT_FSIZE)

    def write(*arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            return real(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(place, name, write)


def test_a_report_that_cannot_be_written_is_told_and_costs_nothing_else(tmp_path, monkeypatch, caplog) -> None:
    limited(monkeypatch, "write_report", 6000)
    done = kopt.run(RECIPE, folder=tmp_path, verbose=False)
    expected = {f"plots/{name}.png": "File too large" for name in ("curves", "confusion", "worst")}
    assert done.metrics["not_written"] == expected and not list((done.folder / "plots").iterdir())
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1 and told[0].startswith("could not be written: plots/curves.png (File too large), ")
    assert report.read_run(done.folder).metrics == done.metrics and done.metrics["value"] is not None
    assert "![" not in (done.folder / "README.md").read_text()
    assert (done.folder / "model.keras").is_file() and "unfinished" not in done.metrics


def test_a_plot_that_fails_is_told(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(run_writer, "plot", lambda run: 1 / 0)
    done = kopt.run(RECIPE, folder=tmp_path, verbose=False)
    assert done.metrics["not_written"] == {"plots/curves.png": "ZeroDivisionError: division by zero"}
    assert "could not be written: plots/curves.png (ZeroDivisionError" in caplog.text
    assert {path.stem for path in (done.folder / "plots").iterdir()} == {"confusion", "worst"}


def test_a_model_that_cannot_be_written_is_in_the_error(tmp_path, monkeypatch, capsys) -> None:
    limited(monkeypatch, "write_result", 2000)
    with pytest.raises(SystemExit) as ended:
        kopt.run_command(kopt.Command(RECIPE, folder=str(tmp_path)))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: model.keras could not be written (File too large).\n"
    (folder,) = (tmp_path / "kept").iterdir()
    assert {"environment.json", "history.csv"} <= {path.name for path in folder.iterdir()}
    with pytest.raises(report.NotWritten) as lost:
        kopt.run(RECIPE, folder=tmp_path, verbose=False)
    assert lost.value.model.count_params() == 310


def test_a_model_that_the_folder_does_not_take_is_saved_elsewhere(tmp_path, monkeypatch) -> None:
    real = keras.Model.save

    def save(model, path, *arguments, **named):
        if tmp_path in pathlib.Path(path).parents and "runs" in pathlib.Path(path).parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(model, path, *arguments, **named)

    monkeypatch.setattr(keras.Model, "save", save)
    (tmp_path / "spare").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spare"))
    done = kopt.run(RECIPE, folder=tmp_path / "runs", verbose=False)
    (place,) = (tmp_path / "spare").glob("kopt-*/model.keras")
    why = os.strerror(errno.ENOSPC)
    assert done.metrics["not_written"] == {"model.keras": f"{why}; it is {place}", "inference.keras": why}
    assert keras.saving.load_model(place).count_params() == 310


def test_a_folder_that_a_killed_run_has_left_is_told(tmp_path, caplog, capsys) -> None:
    (tmp_path / "kept" / ".unfinished-1").mkdir(parents=True)
    (tmp_path / "kept" / ".unfinished-1" / "model.keras").touch()
    with report.run_folder(tmp_path, "kept"):
        expected = f"a killed run has left {tmp_path}/kept/.unfinished-1, which has a whole model and may be removed."
        assert caplog.messages == [expected]
        main(["runs", "--folder", str(tmp_path)])
        assert capsys.readouterr().err == f"left out: {expected}\n"  # and not the one that is at work


SCRIPT = """
import sys, kopt
from kopt import data, models, schedules
recipe = kopt.Recipe(
    "kept", data.Digits(examples=60), model=models.MLP((8, 8, 1), 10, scale=1 / 16),
    schedule=schedules.Cosine(0.01), training=kopt.Training(epochs=10**6),
)
kopt.run_command(kopt.Command(recipe, folder=sys.argv[1]))
"""


def test_a_script_ends_with_the_signals_code(tmp_path) -> None:
    started = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started[number] = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / str(int(number)))], **how)
    for number, process in started.items():
        assert any(line.startswith("epoch 2/") for line in process.stdout)
        process.send_signal(number)
        said = process.communicate(timeout=120)
        assert process.returncode == 128 + number and "Traceback" not in said[1]
        (folder,) = (tmp_path / str(int(number)) / "kept").iterdir()
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["unfinished"].endswith(f"by {signal.Signals(number).name}")
        assert len(report.read_run(folder).history["loss"]) >= 2
