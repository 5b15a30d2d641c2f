"""Keras' own tests of saving, which ship inside its wheel: kopt.load_model passes what stock load_model passes."""

import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

import pytest

HERE = pathlib.Path(__file__).parent
TESTS = ("keras.src.saving.saving_lib_test", "keras.src.saving.saving_api_test")
# All that load a model, but for a few that do so to see that its own compile is called, in 3 s each.
LOADING = "(SavingAPI or LoadModel or SaveModel or Battle or load_model or inference_after or compile_arg or unbuilt)"


def outcomes(folder: pathlib.Path, chosen: str, *plugin: str) -> tuple[set[str], set[str]]:
    """The names of the tests that pass, and of the others."""
    report, settings = folder / "report.xml", folder / "empty.ini"
    settings.write_text("[pytest]\n")
    how = ["-c", str(settings), f"--junitxml={report}", "-k", chosen, "-p", "no:cacheprovider", *plugin]
    path = os.pathsep.join([str(HERE), str(HERE.parent.parent)])
    environment = os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-m", "pytest", "-q", "--pyargs", *TESTS, *how]
    subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, timeout=500)
    cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    failed = {case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None}
    return {case.get("name") for case in cases if not len(case)}, failed


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_load_model_passes_what_keras_passes(tmp_path) -> None:
    pytest.importorskip("absl.testing")
    passed, failed = outcomes(tmp_path, LOADING, "-p", "keras_saving")
    assert len(passed) > 50
    if failed:  # the wheel lacks a file that one of them reads: such a test fails in stock too
        assert outcomes(tmp_path, " or ".join(sorted(failed)))[1] == failed
