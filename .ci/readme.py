"""Runs a README as a reader would: its commands and its blocks of Python, in order, in the environment of this Python.

Command   python .ci/readme.py README.md         after its first command, which .ci/run runs in a fresh environment

Recipes run with --quick. What installs the tools of development is left to .ci/run. The first that fails ends it.
"""

import importlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'^```(bash|python)(?: title="([\w.]+)")?\n(.*?)^```', re.S | re.M)


def steps(text: str) -> list[tuple[str, str]]:
    """Return what a README has its reader do, in order: ("bash", a line), ("python", a block), (a file, its text)."""
    found: list[tuple[str, str]] = []
    for language, file, block in BLOCK.findall(text):
        lines = block.splitlines() if language == "bash" else [block]
        found += [(file or language, line) for line in lines if line.strip()]
    return found


def run_line(line: str, folder: pathlib.Path) -> None:
    """Run a line of the shell: installations in the checkout, recipes shortened, everything in the reader's folder."""
    shortened = re.sub(r"^(python recipes/\w+\.py)", r"\1 --quick", line)
    subprocess.run(["bash", "-c", shortened], cwd=ROOT if " pip install " in line else folder, check=True)
    importlib.invalidate_caches()


def follow(text: str, folder: pathlib.Path) -> int:
    """Do all that a README says after its first command; return the number of steps that were done."""
    (kind, first), *rest = steps(text)
    if kind != "bash" or " pip install " not in first:
        raise SystemExit(f"the README must begin with what it installs, got {first!r}")
    todo = [(kind, step) for kind, step in rest if ".[dev]" not in step]
    (folder / "recipes").symlink_to(ROOT / "recipes")
    names: dict[str, object] = {"__name__": "readme"}
    os.chdir(folder)
    for kind, step in todo:
        start = time.monotonic()
        if kind == "bash":
            run_line(step, folder)
        elif kind == "python":
            exec(compile(step, "README.md", "exec"), names)
        else:
            (folder / kind).write_text(step)
        print(f"-- {time.monotonic() - start:.1f} s: {step.strip().splitlines()[0]}", flush=True)
    return len(todo)


if __name__ == "__main__":
    readme = pathlib.Path(sys.argv[1]).read_text()
    with tempfile.TemporaryDirectory() as place:
        print(f"{follow(readme, pathlib.Path(place))} steps of the README were followed")
        os.chdir(ROOT)
