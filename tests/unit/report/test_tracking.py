"""A run that MLflow and Weights & Biases keep too, read back from what they wrote offline."""

import json
import pathlib
import struct
import sys
from collections.abc import Iterator

import keras
import pytest
from examples import RECIPE

import kopt
from kopt.experiment.recipe import Command
from kopt.experiment.recipe_cli import resume_run, run_command
from kopt.report import write_start
from kopt.report.event_summaries import hyperparameters
from kopt.report.tracker import Tracking
from kopt.training.callback_needs import steps_a_call
from kopt.values.field_paths import replace

mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed: it is in the extra mlflow")
wandb = pytest.importorskip("wandb", reason="wandb is not installed: it is in the extra wandb")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the tools' own code
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SHORT = replace(RECIPE, {"training.epochs": 2})


class EndAfter(keras.callbacks.Callback):
    """Ends a run by Ctrl-C in its second epoch, when the checkpoint of the first is there."""

    ends = True

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and EndAfter.ends:
            raise KeyboardInterrupt


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    """Neither a server nor a user's settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "WANDB_PROJECT", "WANDB_DIR", "WANDB_API_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_MODE", "offline")
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def done(root) -> kopt.report.Run:
    """A run that was ended after an epoch, and went on to its end: as one run of MLflow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kopt.experiment.resuming.EVERY", "1 epoch")
        with pytest.raises(KeyboardInterrupt):
            kopt.run(SHORT, folder=root, verbose=False, track="mlflow", callbacks=[EndAfter()])
        (begun,) = client(root).search_runs([client(root).get_experiment_by_name("example").experiment_id])
        assert begun.info.status == "KILLED"
        patch.setattr(EndAfter, "ends", False)
        how = {"track": "mlflow, wandb", "resume": "latest", "callbacks": [EndAfter()]}
        return kopt.run(SHORT, folder=root, verbose=False, **how)


def client(root: pathlib.Path) -> "mlflow.MlflowClient":
    return mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def identity(done: kopt.report.Run, tool: str) -> str:
    return json.loads((done.folder / "tracking.json").read_text())[tool]


def test_mlflow_has_the_recipe_the_curves_and_the_report(done, root) -> None:
    tracked = client(root)
    (run,) = tracked.search_runs([tracked.get_experiment_by_name("example").experiment_id])
    assert run.info.run_id == identity(done, "mlflow") and run.info.status == "FINISHED"
    assert run.info.run_name == done.folder.name
    fields = {name: str(value) for name, value in hyperparameters(done.recipe).items()}
    assert fields.items() <= run.data.params.items() and run.data.params["schedule.rate"] == "0.01"
    assert run.data.metrics["test_accuracy"] == pytest.approx(done.metrics["value"])
    for name in ("val_loss", "learning_rate"):
        curve = {one.step: one.value for one in tracked.get_metric_history(run.info.run_id, name)}
        assert curve == pytest.approx(dict(enumerate(done.history[name])))
    plots = {pathlib.PurePath(one.path).name for one in tracked.list_artifacts(run.info.run_id, "plots")}
    assert plots == {"curves.png", "confusion.png", "worst.png"}
    assert "README.md" in {one.path for one in tracked.list_artifacts(run.info.run_id)}


def test_settings_of_mlflow_stay_and_nothing_is_written_elsewhere(done, root) -> None:
    assert not mlflow.is_tracking_uri_set() and mlflow.active_run() is None and wandb.run is None
    assert list(pathlib.Path.cwd().iterdir()) == []
    assert {path.name for path in root.iterdir()} == {"example", "mlflow.db", "mlflow_artifacts", "wandb"}
    assert [run.folder for run in kopt.report.found_runs(root)[0]] == [done.folder]


def test_wandb_has_the_same_offline(done, root) -> None:
    (place,) = (root / "wandb").glob(f"offline-run-*-{identity(done, 'wandb')}")
    found = offline_records(next(place.glob("*.wandb")))
    history = [one for one in found["history"] if "epoch/epoch" in one]
    assert [one["epoch/epoch"] for one in history] == [1]  # it began to keep the run when it went on
    for name in ("val_loss", "learning_rate"):
        assert history[0][f"epoch/{name}"] == pytest.approx(done.history[name][1])
    assert found["summary"]["test_accuracy"] == pytest.approx(done.metrics["value"])
    assert found["config"]["schedule.rate"] == 0.01
    files = {path.name for path in (place / "files").rglob("*") if path.is_file()}
    assert {"README.md", "recipe.json"} <= files and sum(name.endswith(".png") for name in files) == 3
    assert not any(path.is_symlink() for path in (place / "files").rglob("*"))


def offline_records(file: pathlib.Path) -> dict:
    """Read what wandb would send."""
    from wandb.proto import wandb_internal_pb2

    found = {"history": [], "summary": {}, "config": {}}
    for data in logged(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            found["history"].append(values(record.history.item))
        elif kind == "summary":
            found["summary"] |= values(record.summary.update)
        elif kind == "run":
            found["config"] |= values(record.run.config.update)
    return found


def logged(data: bytes) -> Iterator[bytes]:
    """Yield the records of LevelDB's log format: blocks of 32 KB, and parts with checksum, length and kind."""
    place, record = 7, b""  # after wandb's own head
    while place + 7 <= len(data):
        if (room := 32768 - place % 32768) < 7:
            place += room
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def values(items) -> dict:
    return {(one.key or ".".join(one.nested_key)): json.loads(one.value_json) for one in items}


def test_a_tracker_does_not_make_training_go_step_by_step() -> None:
    trackers = Tracking("mlflow,wandb").trackers
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert len(trackers) == 2 and steps_a_call(model, trackers, "train") is None
    theirs = mlflow.tensorflow.MlflowCallback()  # the counter-test: with it a call would be one step
    assert steps_a_call(model, [theirs], "train") == 1


def test_a_tool_that_cannot_begin_ends_the_run_before_training(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/not/there.db")
    monkeypatch.setattr("kopt.experiment.run.train", lambda *_, **__: pytest.fail("it was trained"))

    def fails(name):
        raise mlflow.exceptions.MlflowException("no such server")

    monkeypatch.setattr(mlflow, "get_experiment_by_name", fails)
    with pytest.raises(ValueError, match="^track must be of an MLflow that can begin a run, it says: no such server"):
        kopt.run(SHORT, folder=tmp_path, verbose=False, track="mlflow")


def test_a_tool_that_cannot_take_the_results_costs_nothing_else(done, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{done.folder.parents[1] / 'mlflow.db'}")
    tracking = Tracking("mlflow")
    with tracking:
        tracking.begin(tmp_path, done.folder, replace(RECIPE, {"name": "other"}))

        def fails(*arguments, **named):
            raise mlflow.exceptions.MlflowException("the server is gone")

        monkeypatch.setattr(mlflow, "log_metrics", fails)
        tracking.end(tmp_path, done)
    assert "mlflow could not take the results of the run: the server is gone" in caplog.text
    assert mlflow.active_run() is None


def test_an_unknown_tool_is_refused_before_any_work(tmp_path, capsys) -> None:
    with pytest.raises(ValueError, match="^track must be one of mlflow, wandb, got 'mlfow'"):
        kopt.run(SHORT, folder=tmp_path / "runs", track="mlfow")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(SystemExit) as caught:
        run_command(Command(SHORT, check_target=True, track="mlflow"))
    assert caught.value.code == 2 and "track must be given without --check-target" in capsys.readouterr().err


def test_a_tool_that_is_not_installed_is_named_with_its_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match='mlflow must be installed for this, by: .*-e "\\.\\[mlflow\\]"'):
        Tracking("mlflow")


def test_kopt_resume_goes_on_with_the_tools(tmp_path, monkeypatch) -> None:
    place = tmp_path / "example" / ".unfinished-2026-01-31_12-00-00"
    place.mkdir(parents=True)
    write_start(place, SHORT, None, [])
    given = {}
    monkeypatch.setattr("kopt.experiment.recipe_cli.run", lambda recipe, **how: given.update(how))
    for content, tools in (('{"wandb": "a", "mlflow": "b", "other": "c"}', "mlflow,wandb"), ("[", None), ("[]", None)):
        (place / "tracking.json").write_text(content)
        resume_run(tmp_path / "example" / "2026-01-31_12-00-00")
        assert given["track"] == tools


def test_the_command_line_names_the_tools(monkeypatch) -> None:
    given = {}
    monkeypatch.setattr("kopt.experiment.recipe_cli.run", lambda recipe, **how: given.update(how))
    run_command(kopt.command_line(Command(SHORT), quick={}, args=["--track", "mlflow"]))
    assert given["track"] == "mlflow"
