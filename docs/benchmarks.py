"""Writes docs/benchmarks.md from the docstrings of recipes/benchmarks: `python docs/benchmarks.py`; a test compares.

A measurement is committed with its figures: the date is that of the newest commit that changed the docstring.
"""

import ast
import datetime
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = pathlib.Path(__file__).with_suffix(".md")
FOLDER = ROOT / "recipes" / "benchmarks"
HEADS = ("Data", "Shows", "Target", "Time", "Result")
HEAD = """---
hide: [toc]
---

# Benchmarks

What the benchmarks measured, each with the command that prints it, and the date of the commit that wrote it down.
All were measured on two cores of a CPU, the peers installed by `python -m pip install -e ".[peers]"`, unless a text
says otherwise. Times are compared within one run, never between machines. Where a target was missed, the text says so;
[Limits](limits.md) lists them. What reaches which score on which data is in the [Gallery](gallery.md).
`python docs/benchmarks.py` writes this page.
"""


def entry(text: str, name: str) -> str:
    """Return an entry of a docstring's head, such as its Command, its lines joined."""
    found = re.search(rf"^{name} {{2,}}(.*(?:\n {{4,}}.*)*)", text, re.M)
    return "\n".join(line.strip() for line in found[1].splitlines()) if found else ""


def benchmarks() -> dict[pathlib.Path, str]:
    """Return file -> docstring of the benchmarks that have a command; the gallery has a page of its own."""
    texts = {path: ast.get_docstring(ast.parse(path.read_text())) or "" for path in sorted(FOLDER.glob("*.py"))}
    return {path: text for path, text in texts.items() if entry(text, "Command") and path.stem != "gallery"}


def measured(path: pathlib.Path) -> str:
    """Return the date of the newest commit that changed a file's docstring."""
    length = len((ast.get_docstring(ast.parse(path.read_text()), clean=False) or "").splitlines())
    command = ["git", "blame", "--line-porcelain", "-L", f"1,{length}", str(path)]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    newest = max(int(seconds) for seconds in re.findall(r"^author-time (\d+)", lines, re.M))
    return datetime.datetime.fromtimestamp(newest, datetime.UTC).date().isoformat()


def section(path: pathlib.Path, text: str, date: str) -> str:
    """Return a benchmark's part of the page: its title, its head as a table, and the rest as it stands."""
    title, _, rest = text.partition("\n\n")
    head = {name: entry(text, name).replace("\n", " ").replace("|", "\\|") for name in HEADS}
    command = entry(text, "Command")
    rows = "".join(f"| {name} | {value} |\n" for name, value in head.items() if value)
    body = re.sub(r"^(?:Command|Data|Shows|Target|Time|Result) {2,}.*(?:\n {4,}.*)*\n?", "", rest, flags=re.M).strip(
        "\n"
    )
    shown = f"\n```text\n{body}\n```\n" if body else "" if entry(text, "Result") else "\nIts figures are not kept.\n"
    name = path.relative_to(ROOT).as_posix()
    link = f"[{name}](../{name})"
    return f"\n## {title.rstrip('.')}\n\n```text\n{command}\n```\n\n| {link} | {date} |\n|---|---|\n{rows}{shown}"


def page(dates: dict[str, str]) -> str:
    """Return the text of docs/benchmarks.md, by file name -> date."""
    return HEAD + "".join(section(path, text, dates[path.name]) for path, text in benchmarks().items())


if __name__ == "__main__":
    PAGE.write_text(page({path.name: measured(path) for path in benchmarks()}))
