"""Member: a run that was trained in a population."""

from collections.abc import Mapping, Sequence

import numpy as np

from kopt import distribute
from kopt.data import Splits
from kopt.experiment.recipe import Recipe
from kopt.experiment.run import build
from kopt.report import Run
from kopt.tuning.population.members import with_values
from kopt.values.types import KerasModel

__all__ = ["Member"]


class Member(Run):
    """A run that was trained in a population; it has no folder, and makes its model when it is asked for it.

    Attributes:
        values: The trained weights, then statistics and seeds, in the order of the model's variables.
        splits: The data as the model takes them.
        encoder: What makes them of raw inputs; None when the model takes these.

    Example:
        >>> from kopt import data, models
        >>> from kopt.experiment.recipe import Training
        >>> from kopt.tuning.population import train
        >>> model = models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16)
        >>> run = train([Recipe("digits", data.Digits(examples=60), model=model, training=Training(epochs=1))])[0]
        >>> run.model().output_shape
        (None, 10)
    """

    values: list[np.ndarray]
    splits: Splits
    encoder: KerasModel | None

    def model(self) -> KerasModel:
        """Build the trained model.

        Returns:
            The compiled model with the trained weights.
        """
        recipe = self.recipe
        assert isinstance(recipe, Recipe)
        return with_values(build(recipe, self.splits, distribute.strategy(recipe.devices)), self.values)

    @property
    def validation(self) -> float:
        """The score of the trained weights on the validation split: that of the best epoch, where patience keeps it."""
        recipe = self.recipe
        assert isinstance(recipe, Recipe)
        scores = np.array(self.history[f"val_{recipe.data.score().name}"])
        if recipe.training.patience is None or not np.isfinite(scores).any():
            return float(scores[-1])
        return float(np.nanmax(scores) if recipe.data.direction == "max" else np.nanmin(scores))


def member_of(
    recipe: Recipe,
    history: dict[str, list[float]],
    scores: Mapping[str, float],
    values: Sequence[np.ndarray],
    splits: Splits,
    encoder: KerasModel | None,
    seconds: float,
) -> Member:
    """Return the run of a recipe from its history, its scores on the test split and its trained values.

    Args:
        recipe: The recipe.
        history: Name -> a value an epoch.
        scores: The scores on the test split, the loss among them.
        values: The trained values, as `Member.values`.
        splits: The data as the model takes them.
        encoder: What makes them of raw inputs, or None.
        seconds: The seconds that its training took, or its share of a population's.

    Returns:
        The run.
    """
    metric = recipe.data.score().name
    results = {"metric": metric, "value": float(scores[metric]), "loss": float(scores["loss"])}
    found = Member(None, recipe, history, results | {"target": recipe.target, "seconds": seconds})  # type: ignore[arg-type]
    found.values, found.splits, found.encoder = list(values), splits, encoder
    return found
