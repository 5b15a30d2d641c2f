"""Search: runs within a budget, from many short ones to few whole ones."""

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

from kopt.experiment.recipe import Recipe
from kopt.report import Run
from kopt.schedules import Schedule
from kopt.training.feed.placement import Jit
from kopt.tuning.autotuning.costs import Costs
from kopt.tuning.autotuning.proposals import beyond, combined, falling, finer, is_constant, penalties, rates, variants
from kopt.tuning.autotuning.result import Row, spread_of
from kopt.tuning.autotuning.settings import DECAYS, Settings, closed_schedule, penalty_path, shortened
from kopt.tuning.population import train
from kopt.values.checks import require
from kopt.values.field_paths import replace

log = logging.getLogger("kopt")

SHORT, MIDDLE, LONG = 0.1, 0.2, 0.4  # the lengths of stages, in whole runs
FIRST = 0.45  # the share of the search that is for rates
THREE, FEW, MANY = 3, 4, 6  # runs that a stage has rather than longer ones
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


def key_of(trials: Sequence[Trial], settings: Settings) -> tuple[float, float]:
    """Return the key of settings among trials; that of the worst where they are not there."""
    return next((trial.key for trial in trials if trial.settings == settings), (-math.inf, -math.inf))


class Search:
    """A search from a start, within a budget.

    Args:
        start: The recipe, opened.
        costs: What runs take.
        limit: What all runs may take, in plain whole runs.
        jit: As for `training.Loop`.

    Attributes:
        trials: All runs.
        spent: What they took.
    """

    def __init__(self, start: Recipe, costs: Costs, limit: float, jit: Jit = "auto"):
        self.start, self.costs, self.limit, self.jit = start, costs, limit, jit
        self.held, self.epochs = Settings.of(start), start.training.epochs
        self.trials: list[Trial] = []
        self.made: dict[tuple[Settings, int], Recipe] = {}
        self.spent = 0.0

    # What is affordable

    @property
    def reserve(self) -> float:
        """What is kept for the whole runs: those of the start and another one, if half a run is left to search."""
        two = self.costs.of([self.start, self.start])
        return two if self.limit - two >= 0.5 else self.costs.of([self.start])

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
        if any(trial.epochs == epochs and trial.seed != self.start.seed for trial in self.trials):
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
        return Trial(settings, stage, run, sign * scores[place], key)

    def rates(self) -> list[Trial]:
        """Try rates in short runs; in whole ones, and penalties too, where these are affordable."""
        shape: Schedule = falling(self.start.schedule)
        asked = [self.held, *rates(self.start, shape)]
        usual = self.held.rule.usual_rate
        likely = sorted(asked[1:], key=lambda one: abs(math.log(one.rate / usual)))[:2]
        more = [one for rate in likely for one in penalties(rate, self.start)]
        limit, later = self.left, (1 - FIRST) * self.left >= 2 * self.costs.program
        found, epochs = self.affordable([*asked, *more], self.epochs, self.limit), self.epochs
        if len(found) < len(asked):
            limit = FIRST * limit if later else limit
            found, epochs = self.longest(asked, limit, self.length(LONG), self.length(SHORT), len(asked))
            if not found:
                found, epochs = self.longest(asked, limit, self.length(SHORT), 1, FEW)
            found = self.affordable(asked if later else [*asked, *more], epochs, limit)
        rule = f"must pay for two short runs beside the whole one of {self.epochs} epochs"
        require(len(found) >= 2, "budget", rule, f"{self.limit:.3g}x")
        return self.tried("rates", found, epochs, self.seeds(found, epochs, limit))

    def variants(self, before: Sequence[Trial]) -> list[Trial]:
        """Try what differs from the best settings in one thing, in longer runs; the start and the two best too."""
        best = self.leading(before)
        asked = [self.held, *best[:2], *beyond(best), *variants(best[0], self.start, self.costs)]
        asked, least = list(dict.fromkeys(asked)), before[0].epochs
        found, epochs = self.longest(asked, self.limit - self.spent, self.epochs, self.epochs, MANY)
        if not found and least < self.epochs:
            found, epochs = self.longest(asked, self.left, self.length(LONG), self.length(MIDDLE), len(asked))
            if not found:
                found, epochs = self.longest(asked, self.left, self.length(MIDDLE), math.ceil(1.5 * least), MANY)
            if not found:
                found, epochs = self.longest(asked, self.left, self.length(LONG), least, THREE)
        return self.tried("variants", found, epochs) if len(found) > 2 else list(before)

    def finer(self, before: Sequence[Trial]) -> list[Trial]:
        """Try changes together, and rates near the best one, where the budget pays for four longer runs."""
        best, together = self.leading(before), self.together(before)
        asked = [self.held, best[0], *([together] if together else []), *finer(best[0]), *best[1:3]]
        found, epochs = self.longest(asked, self.limit - self.spent, self.epochs, self.epochs, FEW)
        if not found and before[0].epochs < self.length(LONG):
            found, epochs = self.longest(asked, self.left, self.length(LONG), self.length(LONG), FEW)
        return self.tried("finer", found, epochs) if found else list(before)

    def whole(self, before: Sequence[Trial]) -> Trial:
        """Train the best settings and the start whole, where both are affordable; return the better one."""
        best, limit, together = self.leading(before), self.limit - self.spent, self.together(before)
        asked = [best[0], self.held, *([together] if together else []), *best[1:2]]
        found = self.affordable(asked, self.epochs, limit)
        if self.held not in found:  # then it is the short runs that decide between the two
            found = best[:1] if best[0] in found else [self.held]
        seeds = self.seeds(found, self.epochs, limit) if self.held in found else 0
        self.tried("whole", found, self.epochs, seeds)
        if max(one.key for one in self.done(self.epochs).values()) <= key_of(before, self.held):
            self.tried("whole", [self.held], self.epochs)  # beyond the budget, and not worse than the start
        return max(self.done(self.epochs).values(), key=lambda one: (one.key, one.settings == self.held))

    def leading(self, before: Sequence[Trial]) -> list[Settings]:
        """Return the settings of trials, the best first, a start of constant rate last where its runs are short.

        A constant rate is better in a short run than in a whole one, beside a rate that falls.
        """
        best = [trial.settings for trial in before]
        if before[0].epochs == self.epochs or not is_constant(self.start.schedule):
            return best
        return [*(one for one in best if one != self.held), self.held]

    def together(self, before: Sequence[Trial]) -> Settings | None:
        """Return settings with all changes that were better than the best rate alone; None for one change or none."""
        rates, known = [one for one in self.trials if one.stage == "rates"], [one.settings for one in before]
        base = self.leading(sorted(rates, key=lambda one: one.key, reverse=True))[0]
        better = [trial.settings for trial in before if base in known and trial.key > key_of(before, base)]
        return combined(better, base)

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
