"""Measures what `pip install` of each extra puts on the disk, and writes the table of docs/install.md; a test compares.

Command   PIP_CONSTRAINT=constraints.txt python docs/sizes.py        measures each extra in a fresh environment
          PIP_CONSTRAINT=constraints.txt python docs/sizes.py tune   measures one, and keeps the other rows
          python docs/sizes.py --table   measures nothing, and writes what setup.cfg has: a new extra is "not measured"
Time      about 2 minutes an extra, and up to 6 GB of disk at a time
"""

import configparser
import datetime
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = pathlib.Path(__file__).with_name("install.md")
BEGIN, END = "<!-- docs/sizes.py writes from here -->\n", "<!-- to here -->\n"
HEAD = "| extra | brings | distributions | MB | MB more than without | measured |\n|---|---|---|---|---|---|\n"
NONE = "none"  # the row of kopt alone


def extras() -> dict[str, str]:
    """Return what each extra in setup.cfg names, as one text; first what kopt needs without any."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lists = {NONE: setup["options"]["install_requires"], **setup["options.extras_require"]}
    return {extra: ", ".join(named(line) for line in text.splitlines() if line) for extra, text in lists.items()}


def named(requirement: str) -> str:
    """Return the name of a requirement; of one of kopt's own extras the extra in brackets."""
    own = re.match(r"kopt-keras(\[\w+\])", requirement)
    return own[1] if own else re.split(r"[<>=\[]", requirement)[0]


def measure(extra: str) -> tuple[int, int]:
    """Return the number of distributions and the MB of site-packages after an install into a fresh environment."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        source = pathlib.Path(place) / "source"  # a copy: setuptools builds in the folder
        source.mkdir()
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        shutil.copytree(ROOT / "kopt", source / "kopt", ignore=shutil.ignore_patterns("__pycache__"))
        what = f"{source}[{extra}]" if extra != NONE else str(source)
        subprocess.run([f"{place}/bin/python", "-m", "pip", "install", "--quiet", what], check=True)
        (packages,) = pathlib.Path(place).glob("lib/python*/site-packages")
        there = [path for path in packages.glob("*.dist-info") if not is_pip(path.name)]
        size = sum(file.stat().st_size for one in packages.iterdir() if not is_pip(one.name) for file in files(one))
        return len(there), round(size / 1e6)


def is_pip(name: str) -> bool:
    """Return whether a folder of site-packages is pip's own, which was there before."""
    return name == "pip" or name.startswith("pip-")


def files(path: pathlib.Path) -> list[pathlib.Path]:
    """Return a file, or the files in a folder."""
    return [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file() and not one.is_symlink()]


def rows(page: str) -> dict[str, tuple[int, int, str]]:
    """Return of each extra in the page's table: distributions, MB and the day of the measurement."""
    found = re.findall(r"^\| `?(\w+)`? \|.*\| (\d+) \| ([\d,]+) \| [\d,]+ \| ([\d-]+) \|$", page, re.M)
    return {extra: (int(number), int(size.replace(",", "")), day) for extra, number, size, day in found}


def table(measured: dict[str, tuple[int, int, str]]) -> str:
    """Return the table of the page: each extra of setup.cfg, with its numbers where it was measured."""
    lines = []
    for extra, brings in extras().items():
        code = extra if extra == NONE else f"`{extra}`"
        if extra in measured:
            number, size, day = measured[extra]
            lines.append(f"| {code} | {brings} | {number} | {size:,} | {size - measured[NONE][1]:,} | {day} |\n")
        else:
            lines.append(f"| {code} | {brings} | | | | not measured |\n")
    return HEAD + "".join(lines)


def write(measured: dict[str, tuple[int, int, str]]) -> None:
    """Write the table into the page; rows that are there keep their numbers."""
    text = PAGE.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(f"{text[:start]}\n{table(rows(text) | measured)}\n{text[end:]}")


def main(chosen: list[str]) -> None:
    """Measure, and write the page after each extra."""
    if chosen == ["--table"]:
        write({})
        return
    unknown = sorted({*chosen} - {*extras()})
    if unknown:
        sys.exit(f"the extras must be among {', '.join(extras())}, got {', '.join(unknown)}.")
    for extra in chosen or extras():
        number, size = measure(extra)
        write({extra: (number, size, str(datetime.date.today()))})
        print(extra, number, size, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
