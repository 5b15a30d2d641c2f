"""Python in a child that imports the files of checkpoints without TensorFlow, and a small disk of its own."""

import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

import kopt

LIGHT = f"""
import sys, types
for name, place in (("kopt", {str(pathlib.Path(kopt.__file__).parent)!r}),):
    for package, folder in ((name, place), (name + ".training", place + "/training")):
        module = types.ModuleType(package)
        module.__path__ = [folder]
        sys.modules[package] = module
import os, time
import numpy as np
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.training.checkpoint.writer import Writer
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
"""


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python with the names above; what a test leaves running is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", LIGHT + code, *map(str, arguments)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Return a folder on a disk of 2 MB; the test is skipped where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("mounting is not allowed")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
