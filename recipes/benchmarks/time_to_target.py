"""What an update rule is worth: the updates and seconds until a tuned Adam's score is reached, the AlgoPerf way.

Command   python recipes/benchmarks/time_to_target.py --works digits sentiment --rules adam adamw nadamw lion
          python recipes/benchmarks/time_to_target.py --report
Data      digits, MNIST's 5,000, reviews and their characters, film ratings, electricity, diamonds; from packages
Target    none: the table says which rule is worth its cost, losses as well as wins
Time      1 to 10 minutes a rule and work on 2 cores; rows that time_to_target.csv has are not run again

Tuned: each rule has one fixed search space (targets.py: rate, warm-up, beta_1 or momentum, weight_decay) and the same
20 quasi-random draws; the best draw is that which reaches the target in the fewest updates, or comes nearest, and is
trained from 5 seeds. Self-tuning: the defaults at the usual rate, from 5 seeds. The target of a work is the median
over 5 seeds of the best validation score of Adam's best draw. A training counts to the end of the epoch that reached
the target; the median of 5 seeds is infinite where three have not reached it within the budget. Seconds are those of
training and validation, compiling included; they are left out of the file where the machine was busy. A rule's
profile is the share of works in which it took at most t times the fastest rule's updates (or seconds); its score is
the mean of the profile over t from 1 to 4, as in AlgoPerf (Dahl et al., Benchmarking Neural Network Training
Algorithms, 2023, section 4.5).
"""

import csv
import dataclasses
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import tyro
from targets import WORKS, Job, Trial, draws, rule_names
from timing import quiet_environment

from kopt.values.checks import require

HERE = Path(__file__).resolve().parent
FIELDS = ["work", "rule", "track", "target", *(field.name for field in dataclasses.fields(Trial))]
FIELDS += ["best", "reached", "epochs", "updates", "seconds"]
DRAWS, SEEDS, WORST = 20, 5, 4.0
DRAWN, TUNED, USUAL = "draw", "tuned", "self-tuning"  # the tracks
BASE = "adam"


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command line.

    Args:
        works: Names of works; all when none is given.
        rules: Names of rules; all when none is given. Adam comes first, for the targets.
        file: The rows, which are kept and not run again.
        report: Only write the table and the picture of what is in the file.
        pages: The folder of the table and the picture.
        quick: One work, two rules, two draws and two seeds, with the rows in the folder of the pages.
    """

    works: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    file: Path = HERE / "time_to_target.csv"
    report: bool = False
    pages: Path = HERE
    quick: bool = False

    def resolved(self) -> "Options":
        """Return the options with all works and rules where none is named."""
        for name in self.works:
            require(name in WORKS, "works", f"must be among {', '.join(WORKS)}", name)
        for name in self.rules:
            require(name in rule_names(), "rules", f"must be among {', '.join(rule_names())}", name)
        others = tuple(one for one in self.rules or tuple(rule_names()) if one != BASE)
        if self.quick:
            small: Any = {"works": ("digits",), "rules": (BASE, "adamw"), "file": self.pages / "quick.csv"}
            return dataclasses.replace(self, **small)
        return dataclasses.replace(self, works=self.works or tuple(WORKS), rules=(BASE, *others))


Row = dict[str, Any]


class Table:
    """The rows of a file; a new one is written at once."""

    def __init__(self, file: Path):
        self.file, self.rows = file, list[Row]()
        if file.exists():
            with file.open(newline="") as lines:
                self.rows = [read(row) for row in csv.DictReader(lines)]

    def of(self, work: str, rule: str, track: str) -> list[Row]:
        """Return the rows of a rule on a work."""
        return [row for row in self.rows if (row["work"], row["rule"], row["track"]) == (work, rule, track)]

    def add(self, row: Row) -> None:
        """Keep a row, in the file too."""
        new = not self.file.exists()
        with self.file.open("a", newline="") as lines:
            writer = csv.DictWriter(lines, FIELDS)
            if new:
                writer.writeheader()
            writer.writerow(row | {"changes": json.dumps(row["changes"])})
        self.rows.append(row)


def read(row: Mapping[str, str]) -> Row:
    """Return a row of the file with its types."""
    numbers = {name: float(row[name]) for name in ("rate", "warm_up", "best", "seconds", "target") if row[name]}
    numbers.setdefault("seconds", math.nan)  # of a row that was run on a busy machine
    counts = {name: int(row[name]) for name in ("draw", "seed", "epochs", "updates")}
    target = {"target": None} if not row["target"] else {}
    return {
        **row,
        **numbers,
        **counts,
        **target,
        "changes": json.loads(row["changes"]),
        "reached": row["reached"] == "True",
    }


def run(table: Table, work: str, rule: str, track: str, trials: Sequence[Trial], target: float | None) -> list[Row]:
    """Do the trials that the table does not have, in one process; return the rows of all."""
    had = {(row["draw"], row["seed"]) for row in table.of(work, rule, track)}
    lacking = [one for one in trials if (one.draw, one.seed) not in had]
    if lacking:
        job = json.dumps(dataclasses.asdict(Job(work, rule, list(lacking), target)))
        command = [sys.executable, str(HERE / "targets.py"), job]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=quiet_environment(), **pipes) as process:
            assert process.stdout and process.stderr
            for line in process.stdout:
                table.add({"work": work, "rule": rule, "track": track, "target": target, **json.loads(line)})
            said = process.stderr.read()
        if process.returncode:
            print(f"{work}, {rule}: {said.strip().splitlines()[-1]}", flush=True)
    return table.of(work, rule, track)


def seeded(trial: Trial, seeds: int) -> list[Trial]:
    return [dataclasses.replace(trial, seed=seed) for seed in range(1, seeds + 1)]


def best_of(rows: Iterable[Row], direction: str) -> Row:
    """Return the row that reached the target in the fewest updates, or else has the best score."""
    sign = -1 if direction == "max" else 1
    return min(rows, key=lambda row: (not row["reached"], row["updates"] if row["reached"] else 0, sign * row["best"]))


def target_of(table: Table, work: str, draws_asked: int, seeds: int) -> float:
    """Return the median of the best scores of Adam's best draw."""
    drawn = run(table, work, BASE, "target, draw", draws(BASE, draws_asked), None)
    best = best_of(drawn, WORKS[work].data.direction)
    trial = next(one for one in draws(BASE, draws_asked) if one.draw == best["draw"])
    return statistics.median(row["best"] for row in run(table, work, BASE, "target", seeded(trial, seeds), None))


def measure(table: Table, work: str, rules: Sequence[str], draws_asked: int, seeds: int) -> None:
    """Do all trainings of a work."""
    target = target_of(table, work, draws_asked, seeds)
    print(f"{work}: target {target:.5g}", flush=True)
    for rule in rules:
        trials = draws(rule, draws_asked)
        drawn = run(table, work, rule, DRAWN, trials, target)
        if drawn:
            best = best_of(drawn, WORKS[work].data.direction)
            run(table, work, rule, TUNED, seeded(trials[best["draw"]], seeds), target)
        run(table, work, rule, USUAL, seeded(draws(rule, 0)[0], seeds), target)
        for track in (TUNED, USUAL):
            print(f"{work}, {rule}, {track}: {Cost.of(table.of(work, rule, track))}", flush=True)


class Cost(NamedTuple):
    """The medians over seeds of what a rule took to the target; infinite where most seeds have not reached it."""

    updates: float
    seconds: float
    reached: int
    seeds: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Cost":
        """Return the cost of the trainings from several seeds."""
        if not rows:
            return cls(math.inf, math.inf, 0, 0)
        updates, seconds = (
            statistics.median(row[name] if row["reached"] else math.inf for row in rows)
            for name in ("updates", "seconds")
        )
        return cls(updates, seconds, sum(row["reached"] for row in rows), len(rows))

    def __str__(self) -> str:
        if math.isinf(self.updates):
            return f"not reached ({self.reached} of {self.seeds})"
        return f"{self.updates:.0f} updates, {self.seconds:.1f} s ({self.reached} of {self.seeds})"


Costs = dict[str, dict[str, float]]  # of a rule, on a work


def profile(costs: Costs, rule: str, times: float) -> float:
    """Return the share of works in which a rule took at most so many times what the fastest took."""
    works = list(next(iter(costs.values())))
    fastest = {work: min(one[work] for one in costs.values()) for work in works}
    return sum(math.isfinite(costs[rule][work]) and costs[rule][work] <= times * fastest[work] for work in works) / len(
        works
    )


def score(costs: Costs, rule: str) -> float:
    """Return the mean of a rule's profile from 1 to `WORST` times the fastest: exact, for the profile has steps."""
    works = list(next(iter(costs.values())))
    total = 0.0
    for work in works:
        fastest = min(one[work] for one in costs.values())
        if math.isfinite(costs[rule][work]):
            total += max(0.0, WORST - costs[rule][work] / fastest)
    return total / (len(works) * (WORST - 1))


def costs_of(table: Table, track: str, what: str) -> Costs:
    """Return what each rule took on each work that all rules were trained on."""
    done = {(row["work"], row["rule"]) for row in table.rows if row["track"] == track}
    rules = list(dict.fromkeys(rule for _, rule in done))
    works = [work for work in WORKS if any(one == work for one, _ in done)]
    found = {rule: {work: getattr(Cost.of(table.of(work, rule, track)), what) for work in works} for rule in rules}
    return {rule: one for rule, one in found.items() if all((work, rule) in done for work in works)}


def lines(table: Table) -> Iterator[str]:
    """Yield the lines of the tables, in Markdown: scores over the works of all rules, then each work alone."""
    for track, title in (
        (TUNED, "Tuned: 20 draws, then 5 seeds of the best"),
        (USUAL, "Self-tuning: the defaults, 5 seeds"),
    ):
        costs = costs_of(table, track, "updates")
        if not costs:
            continue
        by_seconds = costs_of(table, track, "seconds")
        timed = not any(math.isnan(row["seconds"]) for row in table.rows)
        works = list(next(iter(costs.values())))
        yield f"### {title}\n"
        yield "| rule | score by updates | " + "by seconds | " * timed + " | ".join(works) + " |"
        yield "|---|---|" + "---|" * timed + "---|" * len(works)
        for rule in sorted(costs, key=lambda rule: (-score(costs, rule), rule)):
            seconds = f"{score(by_seconds, rule):.2f} | " if timed else ""
            cells = " | ".join(written(costs[rule][work]) for work in works)
            yield f"| `{rule}` | {score(costs, rule):.2f} | {seconds}{cells} |"
        yield ""
    for work in WORKS:
        yield from lines_of(table, work)


def lines_of(table: Table, work: str) -> Iterator[str]:
    """Yield the table of the rules that were trained on a work: updates to the target, and seeds that reached it."""
    rules = list(dict.fromkeys(row["rule"] for row in table.rows if row["work"] == work and row["track"] == USUAL))
    costs = {rule: [Cost.of(table.of(work, rule, track)) for track in (TUNED, USUAL)] for rule in rules}
    if not rules:
        return
    target = next(row["target"] for row in table.of(work, rules[0], USUAL))
    yield f"### {work}: a validation {WORKS[work].data.score().name} of {target:.4g}\n"
    yield "| rule | updates, tuned | seeds | updates, defaults | seeds |"
    yield "|---|---|---|---|---|"
    for rule, (tuned, usual) in sorted(costs.items(), key=lambda pair: (pair[1][0].updates, pair[1][1].updates)):
        yield f"| `{rule}` | {written(tuned.updates)} | {tuned.reached} | {written(usual.updates)} | {usual.reached} |"
    yield ""


def written(updates: float) -> str:
    """Return a number of updates, or a dash where the target was not reached."""
    return f"{updates:.0f}" if math.isfinite(updates) else "-"


def picture(table: Table, place: Path) -> None:
    """Draw the profiles of the tuned rules by updates."""
    costs = costs_of(table, TUNED, "updates")
    if not costs:
        return
    figure, axes = plt.subplots(figsize=(7.2, 4.5), layout="constrained")
    times = [1 + place / 100 for place in range(301)]
    for place_of, rule in enumerate(sorted(costs, key=lambda rule: -score(costs, rule))[:10]):
        axes.step(times, [profile(costs, rule, one) for one in times], label=rule, color=f"C{place_of}", where="post")
    axes.set(xlabel="times the fewest updates", ylabel="share of works", xlim=(1, WORST), ylim=(0, 1.02))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(place, dpi=120)
    plt.close(figure)


def main(args: Sequence[str] | None = None) -> None:
    """Do the trainings that lack, and write the table and the picture."""
    options = tyro.cli(Options, args=args, description=__doc__).resolved()
    draws_asked, seeds = (2, 2) if options.quick else (DRAWS, SEEDS)
    table = Table(options.file)
    if not options.report:
        for work in options.works:
            measure(table, work, options.rules, draws_asked, seeds)
    print(*lines(table), sep="\n")
    (options.pages / "time_to_target.md").write_text("\n".join(lines(table)))
    picture(table, options.pages / "time_to_target.png")


if __name__ == "__main__":
    matplotlib.use("Agg")
    main()
