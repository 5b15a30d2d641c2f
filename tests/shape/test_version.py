"""The version stands in one place, kopt/values/version.py; what else says it, says the same."""

import ast
import configparser
import pathlib
import re

import yaml

import kopt
from kopt.values.install import DISTRIBUTION

ROOT = pathlib.Path(kopt.__file__).resolve().parent.parent


def released(changelog: str) -> str:
    """Return the version in the newest heading of a changelog that has one."""
    return re.findall(r"^## (\d\S*)", changelog, re.M)[0]


def test_setup_cfg_takes_the_version_from_a_file_that_builds_need_not_import() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == "attr: kopt.values.version.__version__"
    statements = ast.parse((ROOT / "kopt" / "values" / "version.py").read_text()).body
    assert not any(isinstance(one, ast.Import | ast.ImportFrom) for one in statements)
    values = {one.targets[0].id: one.value for one in statements if isinstance(one, ast.Assign)}
    assert ast.literal_eval(values["__version__"]) == kopt.__version__


def test_the_changelogs_newest_version_is_that_of_kopt() -> None:
    assert released((ROOT / "CHANGELOG.md").read_text()) == kopt.__version__
    assert released("# C\n\n## Unreleased\n\n- a\n\n## 0.3.0\n\n## 0.2.0\n") == "0.3.0"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == kopt.__version__ and citation["cff-version"] == "1.2.0"
    assert {"title", "authors", "message"} <= set(citation) and citation["type"] == "software"
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert citation["license"] == setup["metadata"]["license"]
    assert f"kopt ({DISTRIBUTION})" in citation["title"] and citation["keywords"]
