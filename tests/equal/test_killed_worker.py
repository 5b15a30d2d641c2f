"""One of two workers that train together is killed: the other one ends soon, and a second start trains to the end."""

import importlib.util
import io
import json
import pathlib
import re
import types

import keras
import numpy as np

import kopt
from kopt.distribute.launch import launch
from kopt.report import read_run
from kopt.training.checkpoint.folder import CheckpointFolder

HERE = pathlib.Path(__file__).parent
SAID = [
    "[launch] worker 1 was killed by SIGKILL, the others are ended",
    "[launch] all workers are started again, 1 of 1 times",
]


def module_of(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said_by_launcher(out: io.StringIO) -> list[str]:
    return [line for line in out.getvalue().splitlines() if line.startswith("[launch]")]


def test_a_killed_worker_ends_the_other_and_both_are_started_again(tmp_path) -> None:
    out, killed = io.StringIO(), module_of("killed")
    assert launch([str(HERE / "killed.py"), str(tmp_path), "4"], workers=2, restarts=1, out=out) == 0, out.getvalue()
    assert said_by_launcher(out) == SAID
    starts = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("*[01]") if "trained" not in path.name}
    for number in "01":
        pid, begun = starts[f"again{number}"]
        assert begun - float((tmp_path / "killed").read_text()) < 30  # the others had ended by then
        assert pid != starts[f"first{number}"][0]
        assert (tmp_path / f"trained{number}").read_text() == "12"
    assert "checkpoint: training goes on" in out.getvalue()
    alone = killed.model_of()
    killed.train(alone, 4)
    for number in "01":
        np.testing.assert_allclose(np.load(tmp_path / f"weights{number}.npy"), alone.get_weights()[0], atol=1e-6)
    assert not any(pathlib.Path(f"/proc/{pid}").exists() for pid, _ in starts.values())


def test_a_worker_that_is_to_stop_stops_all_with_a_checkpoint(tmp_path) -> None:
    out = io.StringIO()
    assert launch([str(HERE / "killed.py"), str(tmp_path), "0", "SIGTERM"], workers=2, out=out) == 143, out.getvalue()
    sent = float((tmp_path / "killed").read_text())
    for number in "01":
        code, ended = json.loads((tmp_path / f"ended{number}").read_text())
        assert code == 143 and ended - sent < 5  # seconds
    (step,) = CheckpointFolder(tmp_path / "checkpoints").steps()
    assert step > 3  # of 3 in the first epoch: after the signal


def test_a_recipe_whose_worker_is_killed_goes_on_by_resume_auto(tmp_path) -> None:
    """The first start finds no run; a recipe that runs an operation before the workers have met dies at once."""
    out = io.StringIO()
    command = [str(HERE / "killed_recipe.py"), str(tmp_path), "--resume", "auto"]
    assert launch(command, workers=2, restarts=1, grace=2, out=out) == 0, out.getvalue()
    said = out.getvalue()
    assert said_by_launcher(out) == SAID
    assert f"resume: no unfinished run is in {tmp_path}/runs/killed, a new one begins" in said
    assert said.index("a new one begins") < said.index(SAID[0]) < said.index("resumed: ")
    assert re.search(r"checkpoint: training goes on (in|after) epoch [12], after \d updates", said), said
    (folder,) = (tmp_path / "runs" / "killed").iterdir()  # one run, of the chief
    assert not folder.name.startswith(".") and not (folder / "checkpoint").exists()
    alone = kopt.run(module_of("killed_recipe").RECIPE, folder=tmp_path / "alone", verbose=False)
    run = read_run(folder)
    assert len(run.metrics["resumed"]) == 1 and "unfinished" not in run.metrics
    assert run.history.keys() == alone.history.keys()
    for name in run.history.keys() - {"seconds"}:
        np.testing.assert_allclose(run.history[name], alone.history[name], rtol=1e-5)
    weights = (keras.saving.load_model(one / "model.keras").get_weights() for one in (folder, alone.folder))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
