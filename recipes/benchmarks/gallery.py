"""The README's table of recipes, from their docstrings and from what three seeds of each reached.

Command   python recipes/benchmarks/gallery.py            trains every recipe that has a target; about 30 minutes
          python recipes/benchmarks/gallery.py --only vision --only mnist
          python recipes/benchmarks/gallery.py --folder saved_models   uses the runs that are there, of the same recipes
          python recipes/benchmarks/gallery.py --table    writes the table from results.json, and trains nothing
"""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import tyro

from kopt import Recipe
from kopt.experiment.recipe_cli import SEEDS
from kopt.report import Run, found_runs
from kopt.tasks.task import better
from kopt.values.field_paths import replace

RECIPES = pathlib.Path(__file__).resolve().parent.parent
RESULTS, README = RECIPES / "results.json", RECIPES.parent / "README.md"
BEGIN, END = "<!-- gallery: recipes/benchmarks/gallery.py -->\n", "<!-- end of gallery -->"


def load(name: str) -> ModuleType:
    """Import a recipe's module."""
    sys.path.insert(0, str(RECIPES))
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_target() -> dict[str, Recipe]:
    """Return name -> recipe, for the recipes that have a target."""
    found = {path.stem: getattr(load(path.stem), "RECIPE", None) for path in sorted(RECIPES.glob("*.py"))}
    own = {name: recipe for name, recipe in found.items() if recipe is not None and recipe.name == name}
    return {name: recipe for name, recipe in own.items() if recipe.target is not None}


def entry(module: ModuleType, name: str) -> str:
    """Return an entry of a recipe's docstring, such as its Result, on one line; empty when there is none."""
    found = re.search(rf"^{name} {{2,}}(.*(?:\n {{4,}}.*)*)", module.__doc__ or "", re.M)
    return " ".join(found[1].split()) if found else ""


def runs_of(recipe: Recipe, folder: str) -> list[Run]:
    """Return the newest run of each seed of a recipe in a folder, or nothing unless all three seeds have a run."""
    wanted = [replace(recipe, {"seed": recipe.seed + seed}) for seed in range(SEEDS)]
    there = {run.recipe: run for run in found_runs(folder)[0]} if pathlib.Path(folder).is_dir() else {}
    return [there[one] for one in wanted] if all(one in there for one in wanted) else []


def measured(name: str, recipe: Recipe, folder: str) -> dict[str, Any]:
    """Return what a recipe reached with three seeds; run its command when there are no runs yet."""
    if not runs_of(recipe, folder):
        command = [sys.executable, str(RECIPES / f"{name}.py"), "--check-target", "--folder", folder]
        subprocess.run(command, check=True)
    runs = [run.metrics for run in runs_of(recipe, folder)]
    values, first = [run["value"] for run in runs], runs[0]
    return {
        "metric": first["metric"],
        "mean": float(np.mean(values)),
        "spread": float(np.std(values, ddof=1)),
        "target": first["target"],
        "baseline": first["baseline"],
        "baseline_name": first["baseline_name"],
        "seconds": float(np.median([run["seconds"] for run in runs])),
        "parameters": first["parameters"],
    }


def row(name: str, found: Mapping[str, Any] | None) -> str:
    """Return a recipe's line of the table."""
    module = load(name)
    title = (module.__doc__ or "").split("\n")[0].rstrip(".")
    if found is None:
        return f"| [`{name}`](recipes/{name}.py) | {title} | {entry(module, 'Result')} | |"
    ahead = (found["mean"] > found["baseline"]) == (better(found["metric"]) == "max")
    mean, other = f"{found['mean']:.4f} ± {found['spread']:.4f}", f"{found['baseline_name']} {found['baseline']:.4f}"
    result = f"{found['metric']} {f'**{mean}**' if ahead else mean} in {found['seconds']:.0f} s"
    return f"| [`{name}`](recipes/{name}.py) | {title} | {result} | {other if ahead else f'**{other}**'} |"


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the whole table."""
    names = sorted(path.stem for path in RECIPES.glob("*.py"))
    names = [*(name for name in names if name in results), *(name for name in names if name not in results)]
    head = "| recipe | what it shows | on the test split, 3 seeds | baseline on the same split |\n|---|---|---|---|\n"
    return head + "\n".join(row(name, results.get(name)) for name in names) + "\n"


def main(args: Sequence[str] | None = None) -> None:
    """Measure, save the results, and write the table into the README."""

    def options(
        only: tyro.conf.UseAppendAction[tuple[str, ...]] = (), table: bool = False, folder: str | None = None
    ) -> tuple[Any, bool, str | None]:
        return only, table, folder

    only, as_it_is, kept = tyro.cli(options, args=args, description=__doc__)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    recipes = with_target()
    with tempfile.TemporaryDirectory() as folder:
        for name in () if as_it_is else only or recipes:
            results[name] = measured(name, recipes[name], kept or folder)
            RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    text = README.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    README.write_text(before + table(results) + after)


if __name__ == "__main__":
    main()
