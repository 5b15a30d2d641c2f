"""Search: runs within a budget, from many short ones to few whole ones."""

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

from kopt.experiment.recipe import Recipe
from kopt.report import Run
from kopt.training.feed.placement import Jit
from kopt.tuning.autotuning.costs import Costs
from kopt.tuning.autotuning.result import Row, spread_of
from kopt.tuning.autotuning.settings import DECAYS, Settings, closed_schedule, penalty_path, shortened
from kopt.tuning.population import train
from kopt.values.checks import require
from kopt.values.field_paths import replace

log = logging.getLogger("kopt")

LEAST = 0.3  # of a whole run, for short runs
WHOLE = 4  # whole runs that do without short ones
BEYOND = 1.2  # how many times the budget that may take
SEEDS = 2  # more runs of the start, to see the spread


class Trial(NamedTuple):
    """A run of the search.

    Attributes:
        settings: Its settings.
        stage: The name of its stage.
        run: The run.
        score: Its score on the validation split.
        key: What is compared: larger is better.
    """

    settings: Settings
    stage: str
    run: Run
    score: float
    key: tuple[float, float]

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        recipe = self.run.recipe
        assert isinstance(recipe, Recipe)
        return recipe

    @property
    def epochs(self) -> int:
        """The epochs of the run."""
        return self.recipe.training.epochs

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.recipe.seed


class Search:
    """A search from a start, within a budget.

    Args:
        start: The recipe, opened.
        costs: What runs take.
        budget: What all runs may take, in plain whole runs.
        jit: As for `training.Loop`.

    Attributes:
        limit: The budget; more where two whole runs and three short ones take up to a fifth more.
        trials: All runs.
        spent: What they took.

    Raises:
        ValueError: When they take more than that.
    """

    def __init__(self, start: Recipe, costs: Costs, budget: float, jit: Jit = "auto"):
        self.start, self.costs, self.jit = start, costs, jit
        self.held, self.epochs = Settings.of(start), start.training.epochs
        least = min(self.reserve + self.short, costs.of([start] * WHOLE))
        needed = math.ceil(10 * least / BEYOND) / 10
        rule = f"must be '{needed:g}x' or more for a recipe of {self.epochs} epochs: its whole run beside another one"
        require(least <= BEYOND * budget + 1e-9, "budget", rule, f"{budget:g}x")
        self.limit = max(budget, least)
        self.trials: list[Trial] = []
        self.made: dict[tuple[Settings, int], Recipe] = {}
        self.spent = 0.0

    # What is affordable

    @property
    def reserve(self) -> float:
        """What is kept for the whole runs of the start and of another one."""
        return self.costs.of([self.start, self.start])

    @property
    def short(self) -> float:
        """What short runs need beside them."""
        return self.costs.program + max(LEAST, 2 / self.epochs)

    @property
    def left(self) -> float:
        """What is left to search."""
        return self.limit - self.spent - self.reserve

    def recipes(self, settings: Sequence[Settings], epochs: int) -> list[Recipe]:
        """Return the recipes of settings, shortened."""
        for one in settings:
            if (one, epochs) not in self.made:
                self.made[one, epochs] = shortened(one.recipe(self.start), epochs)
        return [self.made[one, epochs] for one in settings]

    def done(self, epochs: int) -> dict[Settings, Trial]:
        """Return the runs of so many epochs from the start's seed, which are not made again."""
        seed = self.start.seed
        return {trial.settings: trial for trial in self.trials if (trial.epochs, trial.seed) == (epochs, seed)}

    def affordable(self, settings: Sequence[Settings], epochs: int, limit: float) -> list[Settings]:
        """Return those settings, in their order, whose runs of so many epochs are done or are paid for by a limit."""
        done, found, new = self.done(epochs), list[Settings](), list[Settings]()
        for one in dict.fromkeys(settings):
            if one in done:
                found.append(one)
            elif self.costs.of(self.recipes([*new, one], epochs)) <= limit + 1e-9:
                found.append(one)
                new.append(one)
        return found

    def longest(
        self, settings: Sequence[Settings], limit: float, most: int, least: int, count: int
    ) -> tuple[list[Settings], int]:
        """Return the settings that a limit pays for, in the longest runs in which they are so many."""
        for epochs in range(most, least - 1, -1):
            found = self.affordable(settings, epochs, limit)
            if len(found) >= min(count, len(settings)):
                return found, epochs
        return [], least

    def seeds(self, settings: Sequence[Settings], epochs: int, limit: float) -> int:
        """Return how many more runs of the start a limit pays for; none where they are there."""
        before = any(trial.epochs == epochs and trial.seed != self.start.seed for trial in self.trials)
        if before or self.held not in settings:
            return 0
        new = [one for one in settings if one not in self.done(epochs)]
        cost = lambda count: self.costs.of(self.recipes([*new, *[self.held] * count], epochs))
        return next((count for count in range(SEEDS, 0, -1) if cost(count) <= limit), 0)

    def length(self, share: float) -> int:
        """Return the epochs of a share of the run."""
        return max(1, round(share * self.epochs))

    # Stages

    def tried(self, stage: str, settings: Sequence[Settings], epochs: int, seeds: int = 0) -> list[Trial]:
        """Train settings for some epochs, the start from more seeds too; return their trials, the best first."""
        done = self.done(epochs)
        new = [one for one in settings if one not in done]
        recipes = self.recipes([*new, *[self.held] * seeds], epochs)
        for place in range(seeds):
            again = len(new) + place
            recipes[again] = replace(recipes[again], {"seed": (self.start.seed + 1 + place) % 2**32})
        if recipes:
            cost = self.costs.of(recipes)
            log.info("autotune, %s: %d runs of %d epochs, %.2f plain whole runs", stage, len(recipes), epochs, cost)
            self.spent += cost
            runs = train(recipes, jit=self.jit)
            self.trials += [self.trial(one, stage, run) for one, run in zip([*new, *[self.held] * seeds], runs)]
        there = self.done(epochs)
        return sorted((there[one] for one in settings), key=lambda one: one.key, reverse=True)

    def trial(self, settings: Settings, stage: str, run: Run) -> Trial:
        """Return a run as a trial, scored on the validation split."""
        data, history = self.start.data, run.history
        sign = 1.0 if data.direction == "max" else -1.0
        recipe = run.recipe
        assert isinstance(recipe, Recipe)
        scores = [sign * one if math.isfinite(one) else -math.inf for one in history[f"val_{data.score().name}"]]
        place = len(scores) - 1 if recipe.training.patience is None else scores.index(max(scores))
        loss = history["val_loss"][place]
        key = scores[place], -loss if math.isfinite(loss) else -math.inf
        if recipe.training.epochs < self.epochs:  # its weights are not needed, and may be many
            run = Run(None, recipe, history, run.metrics)  # type: ignore[arg-type]
        return Trial(settings, stage, run, sign * scores[place], key)

    # What is said

    def spread(self) -> tuple[float, int, int]:
        """Return the spread of the start over seeds in its longest runs from several, their epochs and their number."""
        lengths: dict[int, list[float]] = {}
        for trial in self.trials:
            if trial.settings == self.held:
                same = lengths.setdefault(trial.epochs, [])
                same.append(trial.score)
        known = {epochs: scores for epochs, scores in lengths.items() if len(set(scores)) > 1}
        longest = max(known, default=0)
        return spread_of(known.get(longest, [])), longest, len(known.get(longest, []))

    def rows(self) -> tuple[Row, ...]:
        """Return the table."""
        return tuple(self.row(trial) for trial in self.trials)

    def row(self, trial: Trial) -> Row:
        """Return the row of a trial."""
        updates, what = self.costs.updates(trial.recipe), self.described(trial.settings)
        return Row(trial.stage, trial.epochs, updates, trial.seed, trial.score, what)

    def described(self, settings: Settings) -> str:
        """Return how settings differ from the start's."""
        recipe, held = settings.recipe(self.start), self.held
        said = []
        if settings.shape != held.shape:
            said.append(repr(closed_schedule(recipe.schedule)))
        elif settings.rate != held.rate:
            said.append(f"rate {settings.rate:g}")
        if type(settings.rule) is not type(held.rule):
            said.append(type(settings.rule).__name__)
        if settings.penalty != held.penalty and settings.penalty is not None:
            said.append(f"{'weight decay' if penalty_path(recipe) in DECAYS else 'penalty'} {settings.penalty:g}")
        if settings.batch_size != held.batch_size:
            said.append(f"batches of {settings.batch_size}")
        return ", ".join(said) or "the start"
