"""repeat(recipe, seeds): how far the seed decides a result."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from kopt.experiment.recipe import Recipe
from kopt.report import Run
from kopt.report.figure import Figure
from kopt.report.style import BLUE, GRID, INK, TITLE, plain, titled
from kopt.training.feed.placement import Jit
from kopt.tuning.population.training import train
from kopt.values.checks import is_whole, require
from kopt.values.field_paths import read, replace
from kopt.values.html_table import html_table
from kopt.values.texts import clipped, printable

__all__ = ["Repeated", "repeat"]


class Repeated(NamedTuple):
    """Runs of one recipe from several seeds.

    Attributes:
        runs: A run for each seed.

    Example:
        >>> run = lambda value: Run(None, None, {}, {"metric": "accuracy", "value": value})
        >>> print(Repeated([run(0.5), run(0.7)]))
        accuracy 0.6000 ± 0.1414 (2 seeds)
    """

    runs: list[Run]

    @property
    def metric(self) -> str:
        """The name of the score."""
        return str(self.runs[0].metrics["metric"])

    @property
    def recipe_name(self) -> str:
        """The name of the recipe."""
        return self.runs[0].recipe.name

    @property
    def scores(self) -> np.ndarray:
        """The score on the test split of each run."""
        return np.array([run.metrics["value"] for run in self.runs], "float64")

    @property
    def mean(self) -> float:
        """The mean of the scores."""
        return float(self.scores.mean())

    @property
    def spread(self) -> float:
        """The standard deviation of the scores, by n - 1; not a number for one run."""
        return float(self.scores.std(ddof=1)) if len(self.runs) > 1 else math.nan

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return self.spread / math.sqrt(len(self.runs))

    def figure(self) -> Figure:
        """Draw the distribution of the scores: each one, their mean and its standard error."""
        figure = Figure(figsize=(6.4, 2.4))
        axes, (low, high) = plain(figure.subplots()), (self.mean - self.error, self.mean + self.error)
        heights = np.random.default_rng(0).uniform(-0.3, 0.3, len(self.runs))
        axes.axvline(self.mean, color=INK, label=f"mean {self.mean:.4g}")
        axes.axvspan(low, high, color=GRID, zorder=0, label=f"its standard error {self.error:.2g}")
        axes.plot(self.scores, heights, "o", color=BLUE, alpha=0.7, label="a seed")
        axes.set_xlabel(f"{self.metric} on the test split", fontsize=TITLE)
        axes.set_ylabel("seeds, scattered", fontsize=TITLE)
        axes.set(yticks=[], ylim=(-0.6, 0.6))
        titled(axes, f"{self.recipe_name}, {len(self.runs)} seeds", columns=3)
        return figure

    def __repr__(self) -> str:
        return f"<Repeated {clipped(self.recipe_name)}: {printable(self)}>"

    def _repr_html_(self) -> str:
        rows = [(read(run.recipe, "seed"), f"{score:.4f}") for run, score in zip(self.runs, self.scores)]
        return html_table(f"{self.recipe_name}: {self}", rows, ("seed", f"test {self.metric}"), "figure() draws them")

    def __str__(self) -> str:
        return f"{self.metric} {self.mean:.4f} ± {self.spread:.4f} ({len(self.runs)} seeds)"


def repeat(
    recipe: Recipe, seeds: int | Sequence[int] = 20, *, jit: Jit = "auto", vectorize: bool | None = None
) -> Repeated:
    """Train a recipe from several seeds, as one program: for little more than the time of one run.

    Args:
        recipe: The recipe.
        seeds: The number of seeds, >= 1, from the recipe's on; or the seeds.
        jit: As for `training.Loop`.
        vectorize: As for `train`.

    Returns:
        The runs, with the mean and the spread of their scores on the test split.

    Raises:
        ValueError: When the recipe is none, or there is no seed or one is negative.

    Example:
        >>> from kopt import data, models
        >>> from kopt.experiment.recipe import Training
        >>> model = models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16)
        >>> small = Recipe("digits", data.Digits(examples=60), model=model, training=Training(epochs=2))
        >>> found = repeat(small, 3, jit=False)
        >>> len(found.runs), found.metric, found.spread >= 0
        (3, 'accuracy', True)

    Source:
        Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks, 2021.
    """
    require(isinstance(recipe, Recipe), "recipe", "must be a kopt.Recipe", recipe)
    several = isinstance(seeds, Iterable) and not isinstance(seeds, str)
    whole = is_whole(seeds) and seeds != 0
    require(whole or several, "seeds", "must be a whole number >= 1 or a sequence of seeds", seeds)
    chosen = list(seeds) if isinstance(seeds, Iterable) else list(range(recipe.seed, recipe.seed + int(seeds)))
    require(len(chosen) >= 1, "seeds", "must be one or more", seeds)
    return Repeated(train([replace(recipe, {"seed": seed}) for seed in chosen], jit=jit, vectorize=vectorize))
