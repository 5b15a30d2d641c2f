"""The user's callbacks of a run, which leave the learning rate to the recipe's schedule."""

from collections.abc import Sequence

from kopt.callbacks import LearningRate
from kopt.experiment.recipe import Recipe
from kopt.training.arguments import callback_list, require_one_rate
from kopt.values.checks import require
from kopt.values.types import KerasCallback

__all__ = ["beside_schedule"]


def beside_schedule(recipe: Recipe, callbacks: Sequence[KerasCallback]) -> list[KerasCallback]:
    """Return the user's callbacks, or refuse those that write the rate.

    Args:
        recipe: The recipe.
        callbacks: The callbacks that the user gives.

    Returns:
        The callbacks.

    Raises:
        ValueError: When one is no callback, or writes the rate.

    Example:
        >>> import kopt
        >>> recipe = Recipe("digits", kopt.data.Digits())
        >>> beside_schedule(recipe, [LearningRate(kopt.schedules.Constant(0.1))])
        Traceback (most recent call last):
        ValueError: callbacks must leave the rate to recipe.schedule, got ...

    Source:
        See `kopt.run`.
    """
    asked = callback_list(callbacks)
    rates = [one for one in asked if isinstance(one, LearningRate) and one.optimizer is None]
    require(not rates, "callbacks", "must leave the rate to recipe.schedule", rates)
    require_one_rate([LearningRate(recipe.schedule), *asked])
    return asked
