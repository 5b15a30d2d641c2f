"""What an update rule is worth: the updates and seconds until a tuned Adam's score is reached, the AlgoPerf way.

Command   python recipes/benchmarks/time_to_target.py --works digits sentiment --rules adam adamw nadamw lion
          python recipes/benchmarks/time_to_target.py --works sentiment --together
          python recipes/benchmarks/time_to_target.py --report
Data      digits, MNIST's 5,000, reviews and their characters, film ratings, electricity, diamonds; from packages
Target    none: the table says which rule is worth its cost, losses as well as wins
Time      1 to 10 minutes a rule and work on 2 cores; rows that time_to_target.csv has are not run again

Tuned: each rule has one fixed search space (targets.py: rate, warm-up, beta_1 or momentum, weight_decay) and the same
20 quasi-random draws; the best draw is that which reaches the target in the fewest updates, or comes nearest, and is
trained from 5 seeds. Self-tuning: the defaults at the usual rate, from 5 seeds. The target of a work is the median
over 5 seeds of the best validation score of Adam's best draw. A training counts to the end of the epoch that reached
the target; the median of 5 seeds is infinite where three have not reached it within the budget. Seconds are those of
training and validation, compiling included; they are left out of the file where the machine was busy, and where the
trials of a rule were trained `--together`, as one program: 20 draws on sentiment took 35 s of CPU time on one core. A
rule's profile is the share of works in which it took at most t times the fastest rule's updates (or seconds); its score
is the mean of the profile over t from 1 to 4, as in AlgoPerf (Dahl et al., Benchmarking Neural Network Training
Algorithms, 2023, section 4.5). On ratings SOAP turns axes of up to 512 only.
"""

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tyro
from options import require_among
from target_figures import TUNED, USUAL, lines, picture
from target_rows import Cost, Row, Table
from targets import WORKS, Job, Trial, draws, rule_names
from timing import quiet_environment

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parents[1] / "docs" / "pictures"
DRAWS, SEEDS = 20, 5
DRAWN, BASE = "draw", "adam"


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command line.

    Args:
        works: Names of works; all when none is given.
        rules: Names of rules; all when none is given. Adam comes first, for the targets.
        file: The rows, which are kept and not run again.
        together: Train the trials of a rule as one program, where it is only about updates.
        report: Only write the table and the picture of what is in the file.
        pages: The folder of the table.
        pictures: The folder of the picture.
        quick: One work, two rules, two draws and two seeds, with the rows and the picture in the folder of the table.
    """

    works: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    file: Path = HERE / "time_to_target.csv"
    together: bool = False
    report: bool = False
    pages: Path = HERE
    pictures: Path = PICTURES
    quick: bool = False

    def resolved(self) -> "Options":
        """Return the options with all works and rules where none is named."""
        require_among("works", self.works, WORKS)
        require_among("rules", self.rules, rule_names())
        others = tuple(one for one in self.rules or tuple(rule_names()) if one != BASE)
        if self.quick:
            small: Any = {"works": ("digits",), "rules": (BASE, "adamw"), "file": self.pages / "quick.csv"}
            small["pictures"] = self.pages
            return dataclasses.replace(self, **small)
        return dataclasses.replace(self, works=self.works or tuple(WORKS), rules=(BASE, *others))


def run(table: Table, work: str, rule: str, track: str, trials: Sequence[Trial], target: float | None) -> list[Row]:
    """Do the trials that the table does not have, in one process; return the rows of all."""
    had = {(row["draw"], row["seed"]) for row in table.of(work, rule, track)}
    lacking = [one for one in trials if (one.draw, one.seed) not in had]
    if lacking:
        job = json.dumps(dataclasses.asdict(Job(work, rule, list(lacking), target, table.together)))
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


def main(args: Sequence[str] | None = None) -> None:
    """Do the trainings that lack, and write the table and the picture."""
    options = tyro.cli(Options, args=args, description=__doc__).resolved()
    draws_asked, seeds = (2, 2) if options.quick else (DRAWS, SEEDS)
    table = Table(options.file, options.together)
    if not options.report:
        for work in options.works:
            measure(table, work, options.rules, draws_asked, seeds)
    print(*lines(table), sep="\n")
    (options.pages / "time_to_target.md").write_text("\n".join(lines(table)))
    picture(table, options.pictures / "time_to_target.png")


if __name__ == "__main__":
    main()
