"""Keras' own tests of its trainer, which ship inside its wheel: Loop passes what stock fit passes."""

import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

import pytest

HERE = pathlib.Path(__file__).parent
TESTS = "keras.src.trainers.trainer_test"


def outcomes(folder: pathlib.Path, *plugin: str) -> set[str]:
    """The names of the tests that pass."""
    report, settings = folder / "report.xml", folder / "empty.ini"
    settings.write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "--pyargs", TESTS, "-c", settings, f"--junitxml={report}", *plugin]
    environment = os.environ | {"PYTHONPATH": str(HERE), "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    cases = xml.etree.ElementTree.parse(report).iter("testcase")
    return {f"{case.get('classname')}.{case.get('name')}" for case in cases if not len(case)}


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_loop_passes_what_fit_passes(tmp_path_factory) -> None:
    pytest.importorskip("absl.testing")
    folder = tmp_path_factory.mktemp("loop")
    stock, ours = outcomes(tmp_path_factory.mktemp("stock")), outcomes(folder, "-p", "keras_trainer")
    assert len(stock) > 100
    assert int((folder / "calls.txt").read_text()) > 50
    assert stock - ours == set()
