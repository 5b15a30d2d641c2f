"""All members of a population in each step, or one after the other: the figures behind `kopt.tuning.population.choice`.

Command   python recipes/benchmarks/population_turns.py --models mlp w256 w512 recommender --members 16
Data      digits, with networks of 64 units ("mlp"), with BatchNorm and dropout too ("normalized"), of two layers of
          some width ("w256"); electricity, reviews and film ratings, see population_speed.py; 8 epochs
Target    what is chosen takes no more time than the other way
Time      half a minute a model on 2 cores

Each way is a process of its own. A line has the milliseconds of an epoch of one member, training and validation, the
median without the first epoch, and the CPU seconds of the whole training over the members; both with XLA.

Measured on 2026-11-27, 16 members, 1 MB of cache a core and 32 MB for all; what a member's step writes; in each step,
and in turn, ms an epoch and CPU s a member:

    mlp           0.4 MB     0.7    3.6       0.28   0.22
    normalized    0.5 MB     1.4    3.9       0.34   0.27
    w128          1.8 MB     2.7    5.8       0.32   0.25
    w256          3.0 MB     9.6   11.4       0.39   0.32
    forecaster    5.7 MB     151     95       1.41   1.00
    recommender    19 MB     514    159       4.16   1.59
    text           20 MB      81     36       1.11   0.66

So up to 4 MB a step of a member takes 50 to 80 us less where all are in each step, and longer beyond; but 8 epochs are
too few for any of these: the program of all takes 0.8 to 1.2 s more to compile. Without XLA, 8 members, 5 epochs: w256
12 and 16 ms, w384 (4.8 MB) 27 and 29, w512 (7.9 MB) 63 and 42.
"""

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import tyro
from population_speed import recipe_of
from timing import quiet_environment

import kopt
from kopt import models
from kopt.tuning import population
from kopt.values import replace

EPOCHS = 8


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command line.

    Args:
        models: Names of population_speed.py, or "w" and a width.
        members: The number of members.
        jit: Whether XLA compiles the programs.
        epochs: The epochs of each.
    """

    models: tuple[str, ...] = ("mlp", "normalized", "w128", "w256", "forecaster", "recommender", "text")
    members: int = 16
    jit: bool = True
    epochs: int = EPOCHS


def recipe(name: str) -> kopt.Recipe:
    """Return the recipe of a model."""
    if not name.startswith("w"):
        return recipe_of(name)
    width = int(name[1:])
    return replace(recipe_of("mlp"), {"model": models.MLP((8, 8, 1), 10, units=(width, width), scale=1 / 16)})


def run_one(name: str, vectorize: bool, options: Options) -> None:
    """Train a population in this process; print an epoch's milliseconds and a member's CPU seconds."""
    one = replace(recipe(name), {"training.epochs": options.epochs})
    started = time.process_time()
    runs = population.train(
        [replace(one, {"seed": seed}) for seed in range(options.members)], vectorize=vectorize, jit=options.jit
    )
    taken = (time.process_time() - started) / options.members
    print(json.dumps([statistics.median(runs[0].history["seconds"][1:]) * 1e3, taken]))


def main(args: Sequence[str] | None = None) -> None:
    """Print a line a model, or train one in this process."""
    given = sys.argv[1:] if args is None else list(args)
    if given[:1] == ["--job"]:
        name, vectorize, options = json.loads(given[1])
        return run_one(name, vectorize, Options(**options))
    options = tyro.cli(Options, args=given, description=__doc__)
    for name in options.models:
        found = []
        for vectorize in (True, False):
            job = json.dumps([name, vectorize, dataclasses.asdict(options)])
            command = [sys.executable, __file__, "--job", job]
            done = subprocess.run(command, env=quiet_environment(KOPT_CACHE="off"), capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr)
            found.append(json.loads(done.stdout.strip().splitlines()[-1]))
        (each, cpu), (turns, cpu_of_turns) = found
        print(
            f"{name:12} {each:8.2f} {turns:8.2f} ms an epoch   {cpu:.2f} {cpu_of_turns:.2f} CPU s a member", flush=True
        )
    return None


if __name__ == "__main__":
    main()
