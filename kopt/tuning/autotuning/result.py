"""Autotuned: what autotune found, the trained model, and the table of what it tried."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np

from kopt.callbacks import LearningRate
from kopt.experiment.recipe import Recipe
from kopt.optimizers import Optimizer
from kopt.report import Run
from kopt.tuning.autotuning.settings import changes_of, code_of, peak
from kopt.tuning.population import Member
from kopt.values.html_table import html_table
from kopt.values.texts import printable
from kopt.values.types import KerasCallback, KerasModel

__all__ = ["Autotuned"]

COLUMNS = ("stage", "epochs", "updates", "seed")


class Row(NamedTuple):
    """A run of the search.

    Attributes:
        stage: "rates", "variants", "finer" or "whole".
        epochs: The number of its epochs.
        updates: The number of its updates.
        seed: Its seed.
        score: Its score on the validation split: at the end, or with patience of the best epoch.
        what: How its settings differ from the start's.
    """

    stage: str
    epochs: int
    updates: int
    seed: int
    score: float
    what: str


@dataclass(frozen=True, eq=False, repr=False)
class Autotuned:
    """What `kopt.autotune` found.

    Attributes:
        recipe: The recipe that was chosen; the one that was given where nothing was better.
        start: The recipe that was given, or that was made for a model.
        run: The whole run of the recipe: history, scores on the test split.
        table: A row for each run of the search, in order.
        why: What was chosen, and by how much it was better on the validation split, in a few sentences.
        budget: What it was allowed in all, in plain whole runs.
        cost: What it took in all, in plain whole runs, as counted by `Costs`.
        given: The Keras model that was given; None for a recipe.

    Example:
        >>> from kopt import data
        >>> start = Recipe("digits", data.Digits())
        >>> row = Row("whole", 20, 740, 0, 0.98, "the start")
        >>> run = Run(None, start, {}, {})
        >>> print(Autotuned(start, start, run, (row,), "autotune kept the start.", budget=2.0, cost=1.5))
        autotune kept the start.
        cost: 1.50 of 2.00 plain whole runs
        <BLANKLINE>
        stage  epochs  updates  seed  val_accuracy  settings
        whole  20      740      0     0.98          the start
    """

    recipe: Recipe
    start: Recipe
    run: Run
    table: tuple[Row, ...]
    why: str
    budget: float
    cost: float
    given: KerasModel | None = None

    @property
    def model(self) -> KerasModel:
        """The trained model: for a Keras model a copy of it, with its own end, else the network of the recipe."""
        assert isinstance(self.run, Member)
        trained = self.run.model()
        if self.given is None:
            return trained
        copy = keras.models.clone_model(self.given)
        copy.set_weights(trained.get_weights())
        return copy

    def optimizer(self) -> Optimizer:
        """Make the optimizer to compile a model with; `callbacks` sets its rate."""
        return Optimizer(self.recipe.rule, peak(self.recipe))

    def callbacks(self) -> list[KerasCallback]:
        """Make the callbacks for `fit`: the schedule of the rate."""
        return [LearningRate(self.recipe.schedule, unit="epoch")]

    @property
    def code(self) -> str:
        """The lines to paste: for a Keras model its compile and fit, else the changes of the recipe."""
        if self.given is None:
            changes = [f'    "{path}": {code_of(self.recipe, path)},' for path in changes_of(self.recipe, self.start)]
            return "\n".join(["recipe = kopt.values.replace(recipe, {", *changes, "})", "kopt.run(recipe)"])
        training, penalty = self.recipe.training, self.recipe.regularizer
        return "\n".join(
            [
                *([f"kopt.regularizers.attach(model, {code_of(self.recipe, 'regularizer')})"] * (penalty is not None)),
                f"optimizer = kopt.optimizers.Optimizer({code_of(self.recipe, 'rule')}, {peak(self.recipe):g})",
                f"model.compile(optimizer, {self.loss()})",
                f"rate = kopt.callbacks.LearningRate({code_of(self.recipe, 'schedule')}, unit='epoch')",
                f"model.fit(x, y, batch_size={training.batch_size}, epochs={training.epochs}, callbacks=[rate])",
            ]
        )

    def loss(self) -> str:
        """Return the code of the loss of the model that was given."""
        assert self.given is not None
        if self.recipe.data.task != "classification":
            return repr("mse")
        last, one = self.given.layers[-1], self.given.outputs[0].shape[-1] == 1
        ended = keras.activations.serialize(last.activation) if "activation" in vars(last) else "linear"
        kind = "BinaryCrossentropy" if one else "SparseCategoricalCrossentropy"
        return f"keras.losses.{kind}(from_logits={ended not in ('softmax', 'sigmoid')}), metrics=['accuracy']"

    def __repr__(self) -> str:
        took = f"{self.cost:.2f} of {self.budget:.2f} plain whole runs"
        more = f"print(found) shows all {len(self.table)} runs, found.code is to paste"
        return f"{printable(self.why)}\ncost: {took}; {more}"

    def _repr_html_(self) -> str:
        took = f"cost: {self.cost:.2f} of {self.budget:.2f} plain whole runs, in {len(self.table)} runs"
        return html_table(self.why, [("code", self.code), ("run", self.run)], note=took)

    def __str__(self) -> str:
        name = f"val_{self.recipe.data.score().name}"
        head = [*COLUMNS, name, "settings"]
        body = [[row.stage, row.epochs, row.updates, row.seed, f"{row.score:.5g}", row.what] for row in self.table]
        cells = [head, *([str(cell) for cell in row] for row in body)]
        widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
        took = f"cost: {self.cost:.2f} of {self.budget:.2f} plain whole runs"
        return "\n".join([self.why, took, "", *lines])


def spread_of(scores: Sequence[float]) -> float:
    """Return the standard deviation of scores by n - 1; not a number where there are fewer than two."""
    there = [one for one in scores if math.isfinite(one)]
    return float(np.std(there, ddof=1)) if len(there) > 1 else math.nan
