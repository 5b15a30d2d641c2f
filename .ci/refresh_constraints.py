"""Writes constraints.txt anew: the newest versions of what kopt needs that every Python of kopt takes.

Command   python .ci/refresh_constraints.py           writes constraints.txt, and prints what changed
          python .ci/refresh_constraints.py --check   prints what would change, and writes nothing
Time      1 to 10 minutes; pip resolves in a fresh environment of the oldest Python that is here, and installs nothing
          there. Afterwards .ci/run must pass with the versions that it wrote.
"""

import configparser
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
WHOLE = f"{ROOT}[dev,peers]"  # dev has the other extras
OURS = "kopt-keras"
TOOLS = ("pip", "setuptools", "wheel")  # an environment's own, which `pip freeze` leaves out too
NEWEST_MINOR = 30  # of Python 3, where the search for an interpreter ends


@dataclasses.dataclass(frozen=True)
class Found:
    """A distribution that pip would install."""

    name: str
    version: str
    takes: str  # its Requires-Python; "" for every Python


def found_in(report: Mapping) -> list[Found]:
    """Return the distributions of pip's installation report, without kopt and the environment's own."""
    each = (one["metadata"] for one in report["install"])
    all_of_them = [Found(one["name"], Version(one["version"]).public, one.get("requires_python", "")) for one in each]
    return [one for one in all_of_them if canonicalize_name(one.name) not in (OURS, *TOOLS)]


def too_new(found: Iterable[Found], python: str) -> list[Found]:
    """Return the distributions whose version does not take a Python."""
    return [one for one in found if python not in SpecifierSet(one.takes)]


def pinned(text: str) -> dict[str, str]:
    """Return the versions in a file of constraints by name."""
    return dict(line.split("==") for line in text.splitlines() if "==" in line and not line.startswith("#"))


def written(old: str, versions: Mapping[str, str]) -> str:
    """Return a file of constraints with the comments of the old one, sorted by name whatever its case."""
    head = [line for line in old.splitlines() if line.startswith("#")]
    lines = [f"{name}=={version}" for name, version in versions.items()]
    return "\n".join([*head, *sorted(lines, key=lambda line: line.lower().replace("_", "-"))]) + "\n"


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return a line for each distribution that is new, gone, or of another version."""
    spelt = {canonicalize_name(name): name for name in [*old, *new]}
    before, after = ({canonicalize_name(name): version for name, version in one.items()} for one in (old, new))
    names = sorted(name for name in spelt if before.get(name) != after.get(name))
    return [f"{spelt[name]}: {before.get(name, 'not there')} -> {after.get(name, 'gone')}" for name in names]


def oldest_python() -> str:
    """Return the oldest Python that setup.cfg takes, such as "3.11"."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return re.sub("^>=", "", setup["options"]["python_requires"])


def interpreter(oldest: str) -> str:
    """Return the oldest interpreter here that kopt takes; the one that runs this when none has a name of its own."""
    first = int(oldest.split(".")[1])
    here = (shutil.which(f"python3.{minor}") for minor in range(first, NEWEST_MINOR))
    return next((path for path in here if path), sys.executable)


def resolve(python: pathlib.Path, older: Mapping[str, str], *what: str) -> list[Found]:
    """Return what pip would install with the newest versions, but for those that must be older than the given ones."""
    with tempfile.TemporaryDirectory() as place:
        limits, report = pathlib.Path(place) / "limits.txt", pathlib.Path(place) / "report.json"
        limits.write_text("".join(f"{name}<{version}\n" for name, version in older.items()))
        command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--constraint", limits]
        environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
        subprocess.run([*command, "--report", report, *what], check=True, env=environment)
        return found_in(json.loads(report.read_text()))


def newest(oldest: str) -> dict[str, str]:
    """Return the newest versions that the first release of a Python takes."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([interpreter(oldest), "-m", "venv", place], check=True)
        python, older = pathlib.Path(place) / "bin" / "python", dict[str, str]()
        while wrong := too_new(found := resolve(python, older, WHOLE), f"{oldest}.0"):
            for one in wrong:
                while too_new([one], f"{oldest}.0"):  # alone, for to resolve everything takes long
                    print(f"{one.name} {one.version} takes Python {one.takes}: an older one is looked for", flush=True)
                    older[one.name] = one.version
                    (one,) = resolve(python, older, "--no-deps", one.name)
        return {one.name: one.version for one in found}


def main(options: list[str]) -> None:
    """Resolve, print what changed, and write unless told to check."""
    old = CONSTRAINTS.read_text()
    versions = newest(oldest_python())
    print("\n".join(changes(pinned(old), versions)) or "nothing has changed")
    if "--check" not in options:
        CONSTRAINTS.write_text(written(old, versions))


if __name__ == "__main__":
    main(sys.argv[1:])
