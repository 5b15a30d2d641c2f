"""Which rule is best for each recipe by its validation split, beside the rule that it has.

Command   python recipes/benchmarks/recipe_rules.py --works tabular sentiment --rules soap nadamw
          python recipes/benchmarks/recipe_rules.py --report
Data      those of the recipes; from packages
Target    none: the table says which recipe should take which rule
Time      a rule takes the recipe's time 21 times, less where trials train together; rows of recipe_rules.csv are kept
Result    sentiment_chinese: NAdamW 0.8424, spread 0.0017, and its own AdamW 0.8422, spread 0.0012, a tie; the others
          were not run

A rule has ten quasi-random draws of rate, warm-up, momentum and weight decay (those of time_to_target.py), in place of
the recipe's schedule and rule, over all of its epochs and with all else that it has; an average of the weights is left
out for rules that average themselves. The three best draws are trained from seeds 1 to 3, and the best of these by the
mean, and the recipe as it stands, from seeds 1 to 5. Only the validation split is looked at. A win is beyond the larger
of the two spreads over seeds. The recipe's own numbers were found by more trials than ten, which is in its favor.
language_model, four minutes a training, is left out.
"""

import csv
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro
from autotune import recipe_of, verdict, written
from options import require_among
from targets import Trial, draws, rule_names, schedule_of
from timing import quiet_environment

import kopt
from kopt.rules import registry
from kopt.tuning import population
from kopt.values import replace

HERE = Path(__file__).resolve().parent
WORKS = ("vision", "mnist", "sentiment", "sentiment_chinese", "ratings", "implicit", "electricity", "tabular")
FIELDS = ["work", "rule", "direction", *(field.name for field in dataclasses.fields(Trial)), "validation"]
DRAWS, FINALISTS, FIRST, ALL = 10, 3, (1, 2, 3), (1, 2, 3, 4, 5)
RULES = ("nadamw", "schedule_free_adamw", "soap", "lion", "muon")
SETTINGS: dict[tuple[str, str], dict[str, int]] = {("ratings", "soap"): {"largest": 512}}  # as in targets.py
OWN = "own"

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command line.

    Args:
        works: Names of recipes; all when none is given.
        rules: Names of rules.
        file: The rows, which are kept and not run again.
        report: Only print the table of what is in the file.
        quick: One recipe and rule with few epochs on few examples, with the rows in a temporary folder.
    """

    works: tuple[str, ...] = ()
    rules: tuple[str, ...] = RULES
    file: Path = HERE / "recipe_rules.csv"
    report: bool = False
    quick: bool = False

    def resolved(self) -> "Options":
        """Return the options with all works where none is named."""
        require_among("works", self.works, WORKS)
        require_among("rules", self.rules, rule_names())
        if self.quick:
            small: Any = {"works": ("tabular",), "rules": ("nadamw",), "file": Path(tempfile.mkdtemp()) / "quick.csv"}
            return dataclasses.replace(self, **small)
        return dataclasses.replace(self, works=self.works or WORKS)


def rows_of(file: Path) -> list[Row]:
    """Return the rows of a file, with their types."""
    if not file.exists():
        return []
    with file.open(newline="") as lines:
        found = list(csv.DictReader(lines))
    typed: dict[str, Any] = {
        "draw": int,
        "seed": int,
        "rate": float,
        "warm_up": float,
        "changes": json.loads,
        "validation": float,
    }
    return [row | {name: kind(row[name]) for name, kind in typed.items()} for row in found]


def rows_by(file: Path, work: str, rule: str) -> list[Row]:
    """Return the rows of a recipe by a rule."""
    return [row for row in rows_of(file) if (row["work"], row["rule"]) == (work, rule)]


# One group of trainings, in a process of its own


def recipe_by(work: str, rule: str, trial: Trial, quick: bool) -> kopt.Recipe:
    """Return a recipe with the rule and the schedule of a trial, or as it stands."""
    recipe = recipe_of(work, quick)
    if rule == OWN:
        return replace(recipe, {"seed": trial.seed})
    made = replace(registry.make(rule), {**SETTINGS.get((work, rule), {}), **trial.changes})
    averaged = {"average": None} if made.has_evaluation_weights else {}
    schedule = schedule_of(made, trial, recipe.training.epochs)
    return replace(recipe, {"rule": made, "schedule": schedule, "seed": trial.seed, **averaged})


def trained(work: str, rule: str, trials: Sequence[Trial], quick: bool) -> Iterator[Row]:
    """Train trials together, where they can be; yield a row for each."""
    recipes = [recipe_by(work, rule, trial, quick) for trial in trials]
    name, direction = f"val_{recipes[0].data.score().name}", recipes[0].data.direction
    for trial, run in zip(trials, population.train(recipes), strict=True):
        known = {"work": work, "rule": rule, "direction": direction, **dataclasses.asdict(trial)}
        yield known | {"changes": json.dumps(trial.changes), "validation": run.history[name][-1]}


# All of them


def train_missing(options: Options, work: str, rule: str, trials: Sequence[Trial]) -> list[Row]:
    """Do the trainings that the file lacks; return the rows of all that were asked for."""
    keys = {(trial.draw, trial.seed) for trial in trials}
    had = {(row["draw"], row["seed"]) for row in rows_by(options.file, work, rule)}
    left = [dataclasses.asdict(trial) for trial in trials if (trial.draw, trial.seed) not in had]
    if left:
        command = [sys.executable, __file__, "--job", json.dumps([work, rule, left, options.quick])]
        done = subprocess.run(command, env=quiet_environment(), capture_output=True, text=True)
        if done.returncode:
            print(f"{work}, {rule}: {(done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}", flush=True)
        else:
            new = not options.file.exists()
            with options.file.open("a", newline="") as lines:
                writer = csv.DictWriter(lines, FIELDS)
                writer.writerows([dict(zip(FIELDS, FIELDS))] if new else [])
                writer.writerows(map(json.loads, done.stdout.splitlines()))
    return [row for row in rows_by(options.file, work, rule) if (row["draw"], row["seed"]) in keys]


def ranked(rows: Sequence[Row]) -> list[int]:
    """Return the draws of rows, the one with the best mean of all its seeds first; those that diverged are last."""
    sign = -1 if rows and rows[0]["direction"] == "max" else 1
    means: dict[int, float] = {}
    for draw in {row["draw"] for row in rows}:
        mean = statistics.mean(sign * row["validation"] for row in rows if row["draw"] == draw)
        means[draw] = math.inf if math.isnan(mean) else mean
    return sorted(means, key=lambda draw: (means[draw], draw))


def measure(options: Options, work: str, rule: str) -> None:
    """Do the trainings of a rule for a recipe, stage by stage."""
    trials = draws(rule, DRAWS)
    best = ranked(train_missing(options, work, rule, trials))[:FINALISTS]
    seeded = lambda chosen, seeds: [dataclasses.replace(trials[draw], seed=one) for draw in chosen for one in seeds]
    final = ranked(train_missing(options, work, rule, seeded(best, FIRST)))[:1]
    scores = [row["validation"] for row in train_missing(options, work, rule, seeded(final, ALL))]
    print(f"{work}, {rule}: {written(scores)}", flush=True)


def scores_of(rows: Sequence[Row], work: str, rule: str) -> list[float]:
    """Return the validation scores of the draw that was trained from most seeds, without the first one of the draw."""
    found = [row for row in rows if (row["work"], row["rule"]) == (work, rule) and row["seed"]]
    by_draw = [[row["validation"] for row in found if row["draw"] == draw] for draw in {row["draw"] for row in found}]
    return max(by_draw, key=len, default=[])


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table, in Markdown."""
    yield "| recipe, validation | its own rule | rule | tuned | beside its own |"
    yield "|---|---|---|---|---|"
    for work in [one for one in WORKS if any(row["work"] == one for row in rows)]:
        own, same = scores_of(rows, work, OWN), [row for row in rows if row["work"] == work]
        for rule in dict.fromkeys(row["rule"] for row in same if row["rule"] != OWN):
            found = scores_of(rows, work, rule)
            said = verdict(found, own, same[0]["direction"])
            yield f"| {work} | {written(own)} | {rule} | {written(found)} | {said} |"


def main(args: Sequence[str] | None = None) -> None:
    """Do the trainings that lack, and print the table."""
    given = sys.argv[1:] if args is None else args
    if given[:1] == ["--job"]:
        work, rule, trials, quick = json.loads(given[1])
        for row in trained(work, rule, [Trial(**one) for one in trials], quick):
            print(json.dumps(row))
        return
    options = tyro.cli(Options, args=args, description=__doc__).resolved()
    if not options.report:
        for work in options.works:
            train_missing(options, work, OWN, [Trial(-1, seed, 0.0) for seed in ALL])
            for rule in options.rules:
                measure(options, work, rule)
    print("\n".join(lines(rows_of(options.file))))


if __name__ == "__main__":
    main()
