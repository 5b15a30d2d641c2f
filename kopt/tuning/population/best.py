"""The best epoch of each member, and its patience."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kopt.experiment.recipe import Recipe
from kopt.tuning.population.member import MemberState
from kopt.values.types import Tensor


class BestEpochs:
    """The best scores and weights of members so far, as `keras.callbacks.EarlyStopping` keeps them.

    Args:
        recipes: The recipes of the members, which state their patience.
        direction: "max" or "min", for a score that is not the data's; None for the data's.
    """

    def __init__(self, recipes: Sequence[Recipe], direction: str | None = None):
        self.recipes = recipes
        self.sign = 1.0 if (direction or recipes[0].data.direction) == "max" else -1.0
        self.scores = np.full(len(recipes), -np.inf)
        self.waited = np.zeros(len(recipes), "int64")
        self.kept: list[Tensor] = []  # a row a member

    def take(self, members: Sequence[int], scores: np.ndarray, shown: MemberState) -> None:
        """Take in the scores of an epoch, and keep the weights of members that are better than before."""
        now = self.sign * np.asarray(scores, "float64")
        better = now > self.scores[members]  # False for what is no number
        values = [*shown.weights, *shown.others]
        if not self.kept:  # the first epoch's, whatever its score
            self.kept, wanted = [tf.identity(one) for one in values], np.ones(len(members), bool)
        else:
            wanted = better
        places = np.flatnonzero(wanted).tolist()
        if places:
            rows = [[members[place]] for place in places]
            self.kept = [
                tf.tensor_scatter_nd_update(old, rows, tf.gather(new, places)) for old, new in zip(self.kept, values)
            ]
        self.scores[members] = np.where(better, now, self.scores[members])
        self.waited[members] = np.where(better, 0, self.waited[members] + 1)

    def over(self, members: Sequence[int], epoch: int) -> list[int]:
        """Return the members that have waited as long as they may, after so many epochs."""
        patience = np.array([self.recipes[member].training.patience for member in members])
        return [member for member, late in zip(members, self.waited[members] >= patience) if late and epoch > 1]

    def values(self, member: int) -> list[np.ndarray]:
        """Return the weights, statistics and seeds of a member's best epoch."""
        return [rows[member].numpy() for rows in self.kept]
