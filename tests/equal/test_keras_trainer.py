"""Keras' own tests of `fit`, which ship inside its wheel: Loop passes what stock fit passes."""

import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

import pytest

HERE = pathlib.Path(__file__).parent
TESTS = "keras.src.trainers.trainer_test"


def outcomes(folder: pathlib.Path, *plugin: str) -> tuple[set[str], dict[str, str]]:
    """Return the names of the tests that pass, and of those that fail with why."""
    report, settings = folder / "report.xml", folder / "empty.ini"
    settings.write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "--pyargs", TESTS, "-c", settings, f"--junitxml={report}", *plugin]
    path = os.pathsep.join([str(HERE), str(HERE.parent.parent)])
    environment = os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    failures = {case.get("name"): case.find("failure") for case in cases}
    passed = {str(case.get("name")) for case in cases if not len(case)}
    return passed, {str(name): one.get("message", "") for name, one in failures.items() if one is not None}


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_loop_passes_what_fit_passes(tmp_path) -> None:
    """Those that fail, fail with stock fit too: they need a package that is not there."""
    pytest.importorskip("absl.testing")
    passed, failed = outcomes(tmp_path, "-p", "keras_trainer")
    assert len(passed) > 70
    assert int((tmp_path / "calls.txt").read_text()) > 95
    assert {name: why for name, why in failed.items() if not why.startswith("ModuleNotFoundError")} == {}
