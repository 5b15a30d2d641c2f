"""One of two workers that train together is killed: the other one ends soon, and a second start trains to the end."""

import importlib.util
import io
import json
import pathlib

import numpy as np

from kopt.distribute.launch import launch

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("killed", HERE / "killed.py")
killed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(killed)


def test_a_killed_worker_ends_the_other_and_both_are_started_again(tmp_path) -> None:
    out = io.StringIO()
    assert launch([str(HERE / "killed.py"), str(tmp_path), "4"], workers=2, restarts=1, out=out) == 0, out.getvalue()
    assert [line for line in out.getvalue().splitlines() if line.startswith("[launch]")] == [
        "[launch] worker 1 was killed by SIGKILL, the others are ended",
        "[launch] all workers are started again, 1 of 1 times",
    ]
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
