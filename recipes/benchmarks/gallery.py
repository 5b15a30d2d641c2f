"""What three seeds of each recipe reach: recipes/results.json, of which `python docs/gallery.py` makes docs/gallery.md.

Command   python recipes/benchmarks/gallery.py            trains every recipe that has a target; about 30 minutes
          python recipes/benchmarks/gallery.py --only vision --only mnist
          python recipes/benchmarks/gallery.py --folder saved_models   uses the runs that are there, of the same recipes
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import tyro

from kopt import Recipe
from kopt.experiment.recipe_cli import SEEDS
from kopt.report import Run, found_runs
from kopt.values.field_paths import replace

RECIPES = pathlib.Path(__file__).resolve().parent.parent
RESULTS, PAGE = RECIPES / "results.json", RECIPES.parent / "docs" / "gallery.py"


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


def main(args: Sequence[str] | None = None) -> None:
    """Measure, save the results, and write the page of the gallery."""

    def options(
        only: tyro.conf.UseAppendAction[tuple[str, ...]] = (), folder: str | None = None
    ) -> tuple[Any, str | None]:
        return only, folder

    only, kept = tyro.cli(options, args=args, description=__doc__)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    recipes = with_target()
    with tempfile.TemporaryDirectory() as folder:
        for name in only or recipes:
            results[name] = measured(name, recipes[name], kept or folder)
            RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    subprocess.run([sys.executable, str(PAGE)], check=True)


if __name__ == "__main__":
    main()
