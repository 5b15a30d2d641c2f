"""A run that goes on from its checkpoint on as many replicas has the same bits; on another number it agrees to 1e-6."""

import pathlib

import numpy as np

SCRIPT = str(pathlib.Path(__file__).parent / "resumed.py")
KILLED = 9


def result(folder: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(folder / "result.npz") as file:
        return dict(file)


def test_replicas_go_on_and_may_be_others(python, tmp_path) -> None:
    same, other, whole = (tmp_path / name for name in ("same", "other", "whole"))
    python(SCRIPT, str(whole), "3", "0")
    python(SCRIPT, str(same), "3", "8", expect=KILLED)  # its metrics would be 1e-7 off by their sums alone
    python(SCRIPT, str(same), "3", "0")
    python(SCRIPT, str(other), "3", "8", expect=KILLED)
    said = python(SCRIPT, str(other), "1", "0")
    assert "written on 3 replicas, goes on on 1: equal to rounding, not to the bit" in said.stdout + said.stderr
    expected = result(whole)
    for name, value in expected.items():
        np.testing.assert_array_equal(result(same)[name], value)
        np.testing.assert_allclose(result(other)[name], value, rtol=0, atol=1e-6)
