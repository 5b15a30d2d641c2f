"""evolve(recipe, ranges): population based training, and the schedule that it finds."""

import dataclasses
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kopt.callbacks import Scheduled
from kopt.experiment.recipe import Recipe
from kopt.experiment.serving import prepared
from kopt.keras_internals.tuning import forgetting_gradients
from kopt.report import Run
from kopt.schedules import Piecewise, Stages
from kopt.training.feed.placement import Jit
from kopt.tuning.population.members import template_of
from kopt.tuning.population.memory import require_room
from kopt.tuning.population.pbt import PBT, Exploit, Record, at_share
from kopt.tuning.population.population import Population
from kopt.tuning.population.structure import Group, live_paths, objection
from kopt.tuning.population.training import require_ways
from kopt.tuning.space.space import Range
from kopt.values.checks import is_whole, require
from kopt.values.field_paths import replace
from kopt.values.html_table import html_table
from kopt.values.types import KerasCallback

__all__ = ["Evolved", "evolve"]


class Evolved(NamedTuple):
    """What population based training found.

    Attributes:
        run: The run of the best member, whose history is that of its line: what it copied, and then its own.
        recipe: The recipe that replays it: the seed of its line, and the schedule that was found.
        numbers: Path -> the number of each epoch of the line.
        runs: The runs of all members.

    Example:
        >>> found = Evolved(None, None, {"schedule.rate": [0.1, 0.1], "rule.momentum": [0.9, 0.8]}, [])
        >>> [callback.target for callback in found.callbacks()]
        ['momentum']
    """

    run: Run
    recipe: Recipe
    numbers: dict[str, list[float]]
    runs: list[Run]

    def __repr__(self) -> str:
        return f"<Evolved {', '.join(self.numbers)} in {len(self.runs)} members: {self.run}>"

    def _repr_html_(self) -> str:
        rows = [(path, " ".join(f"{number:.3g}" for number in row)) for path, row in self.numbers.items()]
        return html_table(self.run, rows, ("path", "by epoch"), f"the best of {len(self.runs)} members")

    def callbacks(self) -> list[KerasCallback]:
        """Return the callbacks that set the numbers of the rule by epochs, for `kopt.run(recipe, callbacks=)`."""
        rules = {path: row for path, row in self.numbers.items() if path.startswith("rule.")}
        return [
            Scheduled(
                path.partition(".")[2], Piecewise(tuple(row), tuple(map(float, range(1, len(row))))), unit="epoch"
            )
            for path, row in rules.items()
            if len(row) > 1
        ]


@forgetting_gradients()
def evolve(
    recipe: Recipe,
    ranges: Mapping[str, Range],
    *,
    members: int = 16,
    pbt: Exploit = PBT(),
    jit: Jit = "auto",
    vectorize: bool | None = None,
) -> Evolved:
    """Train a population in which bad members copy good ones and go on with other numbers: a schedule is found.

    All members train as one program. At an exchange a member that copies another takes its row: weights, statistics,
    the rule's state, seeds and the order of examples. So the line of the best member is one training from one seed, of
    which the numbers changed at the ends of epochs: `kopt.run(found.recipe, callbacks=found.callbacks())` gives the
    same result, within rounding.

    Args:
        recipe: The recipe; without patience.
        ranges: Path -> range of numbers of the schedule and of the rule.
        members: The number of members, from 2 to what a quarter of the free memory holds; their seeds are those from
            the recipe's on.
        pbt: How members copy and change: PBT(...) or PB2(...).
        jit: As for `training.Loop`.
        vectorize: As for `train`.

    Returns:
        The best member by the score on the validation split, what it took, and the recipe that replays it.

    Raises:
        ValueError: When a path is of no number of the schedule or the rule, the recipe cannot be a population, or its
            members do not fit in the memory.

    Example:
        >>> from kopt import data, models, schedules
        >>> from kopt.experiment.recipe import Training
        >>> small = Recipe(
        ...     "digits", data.Digits(examples=60), model=models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16),
        ...     schedule=schedules.Constant(0.01), training=Training(epochs=3),
        ... )
        >>> found = evolve(small, {"schedule.rate": Range(1e-3, 0.1, log=True)}, members=4, jit=False)
        >>> len(found.numbers["schedule.rate"]), type(found.recipe.schedule).__name__
        (3, 'Stages')

    Source:
        Jaderberg et al., Population Based Training of Neural Networks, 2017.
    """
    require_ways(jit, vectorize)
    require_evolvable(recipe, ranges, members, pbt)
    random = np.random.default_rng(recipe.seed)
    encoder, splits, whole = prepared(recipe, recipe.data.load())
    template = template_of(whole, splits, encoder, jit)
    require_room(members, template.traced, template.train)
    drawn = {path: [at_share(one, share) for share in spread(members, random)] for path, one in ranges.items()}
    started = [
        replace(whole, {"seed": whole.seed + member} | {path: row[member] for path, row in drawn.items()})
        for member in range(members)
    ]
    population = Population(
        Group(tuple(range(members)), tuple(started)),
        template,
        vectorize=vectorize,
        paths=list(ranges),
    )
    lines = Lines(population, ranges, pbt)
    begun = time.perf_counter()
    for epoch in range(1, whole.training.epochs + 1):
        population.run_epoch()
        lines.note()
        if epoch % pbt.every == 0 and epoch < whole.training.epochs:
            lines.exchange(random)
    population.stop(list(population.alive))
    runs = population.runs(time.perf_counter() - begun)
    best = int(np.argmax(np.nan_to_num(lines.scores(), nan=-np.inf)))
    return Evolved(runs[best], lines.recipe(best), lines.numbers[best], runs)


def require_evolvable(recipe: Recipe, ranges: Mapping[str, Range], members: int, pbt: Exploit) -> None:
    """Raise ValueError when a population cannot be made of a recipe and ranges."""
    require(isinstance(recipe, Recipe), "recipe", "must be a kopt.Recipe", recipe)
    require(isinstance(ranges, Mapping), "ranges", "must be a mapping from paths to ranges", ranges)
    require(isinstance(pbt, Exploit), "pbt", "must be PBT(...) or PB2(...)", pbt)
    known = [path for path in live_paths(recipe) if path.startswith(("schedule.", "rule."))]
    wrong = [path for path in ranges if path not in known]
    require(len(ranges) > 0 and not wrong, "ranges", f"must be of numbers among {', '.join(known)}", wrong)
    for path, allowed in ranges.items():
        require(isinstance(allowed, Range), path, "must have a Range", allowed)
        for end in allowed.ends():
            replace(recipe, {path: end})  # which refuses what the field does not take
    require(is_whole(members) and members >= 2, "members", "must be a whole number >= 2", members)
    require(recipe.training.patience is None, "patience", "must be None for a population", recipe.training.patience)
    direction = recipe.data.direction  # refused here, when it is not known, and not after an epoch
    require(direction in ("max", "min"), "data.direction", "must be 'max' or 'min'", direction)
    why = objection(recipe)
    require(not why, "recipe", "must be one that a population takes", why)


def spread(members: int, random: np.random.Generator) -> list[float]:
    """Return a share for each member: one in each of as many equal parts of [0, 1], in random order."""
    shares: list[float] = ((random.permutation(members) + random.random(members)) / members).tolist()
    return shares


class Lines:
    """The line of each member: what was trained, from one seed, to give its weights.

    Args:
        population: The population.
        ranges: Path -> range.
        pbt: How members copy and change.

    Attributes:
        numbers: For each member, path -> the numbers of each epoch of its line.
        seeds: The seed of each member's line.
        records: What all members did so far.
    """

    def __init__(self, population: Population, ranges: Mapping[str, Range], pbt: Exploit):
        self.population, self.ranges, self.pbt = population, ranges, pbt
        recipes = population.group.recipes
        self.numbers: list[dict[str, list[float]]] = [{path: [] for path in ranges} for _ in recipes]
        self.seeds = [recipe.seed for recipe in recipes]
        self.records: list[Record] = []
        self.before = np.full(len(recipes), np.nan)

    def now(self, path: str) -> np.ndarray:
        """Return the members' numbers at a path."""
        found: np.ndarray = self.population.executor.numbers[path].numpy()
        return found

    def note(self) -> None:
        """Add the numbers of an epoch to each line."""
        for path in self.ranges:
            for line, number in zip(self.numbers, self.now(path)):
                line[path].append(float(number))

    def scores(self) -> np.ndarray:
        """Return the members' last scores on the validation split, more is better."""
        recipe = self.population.recipe
        name, sign = f"val_{recipe.data.score().name}", 1.0 if recipe.data.direction == "max" else -1.0
        return sign * np.array([history[name][-1] for history in self.population.histories])

    def exchange(self, random: np.random.Generator) -> None:
        """Let bad members copy good ones, and go on with other numbers."""
        population, scores = self.population, self.scores()
        now = {path: self.now(path) for path in self.ranges}
        self.records += [
            Record(population.epoch, {path: float(row[member]) for path, row in now.items()}, float(gain))
            for member, gain in enumerate(scores - self.before)
            if np.isfinite(gain)
        ]
        copies = self.pbt.copies(scores.tolist(), random)
        rows = {member: copies.get(member, member) for member in range(len(scores))}
        population.pick(rows)
        for loser, winner in copies.items():
            population.histories[loser] = {name: list(row) for name, row in population.histories[winner].items()}
            self.numbers[loser] = {path: list(row) for path, row in self.numbers[winner].items()}
            self.seeds[loser] = self.seeds[winner]
            taken = {path: float(row[winner]) for path, row in now.items()}
            for path, number in self.pbt.explore(taken, self.ranges, population.epoch, self.records, random).items():
                now[path][loser] = number
        population.executor.numbers |= {path: tf.constant(row) for path, row in now.items()}
        self.before = scores[list(rows.values())]

    def recipe(self, member: int) -> Recipe:
        """Return the recipe that replays the line of a member, with a schedule of a stage for each change."""
        recipe, line = self.population.group.recipes[member], self.numbers[member]
        named = {path.partition(".")[2]: row for path, row in line.items() if path.startswith("schedule.")}
        own = {path: row[0] for path, row in line.items() if path.startswith("rule.")}
        seeded = replace(recipe, {"seed": self.seeds[member]} | own)
        if not named:
            return seeded
        epochs = range(recipe.training.epochs)
        at = [{path: row[epoch] for path, row in named.items()} for epoch in epochs]
        begins = [epoch for epoch in epochs if epoch == 0 or at[epoch] != at[epoch - 1]]
        stages = tuple(replace(recipe.schedule, at[epoch]) for epoch in begins)
        return dataclasses.replace(seeded, schedule=Stages(stages, tuple(float(epoch) for epoch in begins[1:])))
