"""The pure parts of .ci/refresh_constraints.py, and that it writes constraints.txt as it stands."""

import pathlib
import sys

import pytest
from scripts import loaded

import kopt

ROOT = pathlib.Path(kopt.__file__).resolve().parent.parent
refresh = loaded(ROOT / ".ci" / "refresh_constraints.py")


def entry(name: str, version: str, **more: str) -> dict:
    return {"metadata": {"name": name, "version": version, **more}}


REPORT = {
    "install": [
        entry("torch", "2.13.0+cpu", requires_python=">=3.10"),
        entry("pymdown-extensions", "12.4", requires_python=">=3.11.4"),
        entry("PyYAML", "6.0.3"),
        entry("setuptools", "83.0"),
        entry("kopt_keras", "0.1.0", requires_python=">=3.11"),
    ]
}


def test_what_pip_found_is_read_without_what_is_not_pinned() -> None:
    found = refresh.found_in(REPORT)
    assert [(one.name, one.version) for one in found] == [
        ("torch", "2.13.0"),
        ("pymdown-extensions", "12.4"),
        ("PyYAML", "6.0.3"),
    ]


def test_a_version_that_needs_a_newer_python_is_found_and_an_older_one_taken(monkeypatch) -> None:
    asked = []
    older_ones = {"12.4": ("12.3.1", ">=3.11.1"), "12.3.1": ("12.3", ">=3.11")}

    def resolve(python: pathlib.Path, older: dict[str, str], *what: str) -> list:
        asked.append((*what, older.get("pymdown-extensions")))
        found = refresh.found_in(REPORT)
        limited = [refresh.Found(one.name, *older_ones[older[one.name]]) if one.name in older else one for one in found]
        return [one for one in limited if what == (refresh.WHOLE,) or one.name == what[-1]]

    monkeypatch.setattr(refresh, "resolve", resolve)
    monkeypatch.setattr(refresh.subprocess, "run", lambda *args, **named: None)
    versions = refresh.newest("3.11")
    alone = ("--no-deps", "pymdown-extensions")
    assert asked == [(refresh.WHOLE, None), (*alone, "12.4"), (*alone, "12.3.1"), (refresh.WHOLE, "12.3.1")]
    assert versions["pymdown-extensions"] == "12.3" and versions["torch"] == "2.13.0"
    assert [one.name for one in refresh.too_new(refresh.found_in(REPORT), "3.11.0")] == ["pymdown-extensions"]
    assert refresh.too_new(refresh.found_in(REPORT), "3.11.4") == []


def test_changes_are_told_whatever_the_spelling() -> None:
    old, new = {"Jinja2": "3", "ml_dtypes": "1", "gone": "1"}, {"jinja2": "3", "ml-dtypes": "2", "here": "4"}
    assert refresh.changes(old, new) == ["gone: 1 -> gone", "here: not there -> 4", "ml-dtypes: 1 -> 2"]
    assert refresh.changes(old, old) == []


def test_the_file_is_written_as_it_stands() -> None:
    text = refresh.CONSTRAINTS.read_text()
    assert refresh.written(text, dict(reversed(refresh.pinned(text).items()))) == text
    assert refresh.written("# a\nb==1\n", {"b": "2", "A_c": "1", "a": "1"}) == "# a\nA_c==1\na==1\nb==2\n"


@pytest.mark.parametrize("there", [["python3.12", "python3.13"], []])
def test_the_oldest_python_that_is_here_is_taken(there: list[str], monkeypatch) -> None:
    assert refresh.oldest_python() == "3.11"
    monkeypatch.setattr(refresh.shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None)
    assert refresh.interpreter("3.11") == ("/usr/bin/python3.12" if there else sys.executable)
