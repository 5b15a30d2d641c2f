"""Seeds at once: what `population.repeat` takes beside runs one after the other, and how far apart the scores are.

Command   python recipes/benchmarks/repeated_seeds.py --works ratings sentiment --seeds 3
Data      those of the recipes; from packages
Target    the same test scores within 1e-5; the gallery may use it where it is not slower
Time      two times `--seeds` runs of each recipe

Each way is a process of its own, whose time counts from the end of the imports: data, building, compiling, training,
validation and the score on the test split.

Measured on 2026-11-27, three seeds together and one after the other, seconds: ratings 10.3 and 7.3, sentiment 23.9 and
21.6, tabular 22.9 and 26.1, implicit 10.7 and 7.9, vision 13.7 and 15.1; electricity was not run. Members of ratings,
sentiment and implicit were in each step then; since, members of models as large take turns. Scores are 2e-7 to 7e-3
apart (implicit, vision 3e-3, ratings least): trainings of thousands of updates that differ by rounding end elsewhere,
and where they differ by less than that, 100 updates, tests hold them to 1e-5. So a few seeds of these recipes cost as
much together as alone, and the gallery trains them alone, each with its pictures.
"""

import dataclasses
import importlib
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import tyro
from timing import quiet_environment

import kopt
from kopt.experiment.serving import prepared
from kopt.tuning import population
from kopt.tuning.population.training import alone, with_model
from kopt.values import replace

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # the recipes

TOGETHER, ONE_BY_ONE = "together", "one after the other"


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command line.

    Args:
        works: Names of recipes.
        seeds: The number of seeds.
        quick: Whether recipes are small.
    """

    works: tuple[str, ...] = ("ratings", "sentiment", "tabular", "electricity", "implicit", "vision")
    seeds: int = 3
    quick: bool = False


def scores_of(way: str, work: str, seeds: int, quick: bool) -> list[float]:
    """Return the test score of each seed of a recipe."""
    module = importlib.import_module(work)
    recipe: kopt.Recipe = replace(module.RECIPE, module.QUICK if quick else {})
    if way == TOGETHER:
        return [float(score) for score in population.repeat(recipe, seeds).scores]
    encoder, splits, whole = prepared(recipe, recipe.data.load())
    recipes = [with_model(replace(recipe, {"seed": recipe.seed + seed}), whole) for seed in range(seeds)]
    return [float(alone(one, splits, encoder, "auto").metrics["value"]) for one in recipes]


def measured(way: str, work: str, options: Options) -> tuple[float, float, list[float]]:
    """Return the seconds, the CPU seconds and the scores of a way, in a process of its own."""
    job = json.dumps([way, work, options.seeds, options.quick])
    environment = quiet_environment(KOPT_CACHE="off")
    done = subprocess.run(
        [sys.executable, __file__, "--job", job], env=environment, capture_output=True, text=True, check=True
    )
    seconds, cpu, scores = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, cpu, scores


def main(args: Sequence[str] | None = None) -> None:
    """Print a line for each recipe."""
    given = sys.argv[1:] if args is None else args
    if given[:1] == ["--job"]:
        started, cpu = time.perf_counter(), time.process_time()
        scores = scores_of(*json.loads(given[1]))
        print(json.dumps([time.perf_counter() - started, time.process_time() - cpu, scores]))
        return
    options = tyro.cli(Options, args=args, description=__doc__)
    for work in options.works:
        ways = {way: measured(way, work, options) for way in (TOGETHER, ONE_BY_ONE)}
        found, expected = (scores for *_, scores in ways.values())
        apart = float(np.max(np.abs(np.subtract(found, expected))))
        times = ", ".join(f"{wall:.1f} s ({cpu:.1f} CPU s) {way}" for way, (wall, cpu, _) in ways.items())
        compared = f"scores {np.mean(found):.4f} and {np.mean(expected):.4f}, at most {apart:.1e} apart"
        print(f"{work}, {options.seeds} seeds: {times}; {compared}", flush=True)


if __name__ == "__main__":
    main()
