"""HyperModel: a recipe or a model value with ranges, as a hypermodel of KerasTuner."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import keras
import keras_tuner
import numpy as np

from kopt import distribute
from kopt.data import Data, Splits
from kopt.data.base import Inputs, Split, take
from kopt.experiment.recipe import Recipe
from kopt.experiment.resolving import chosen
from kopt.experiment.run import build, train
from kopt.experiment.serving import encoded
from kopt.models import Model
from kopt.optimizers import Optimizer
from kopt.rules import Adam
from kopt.training.feed.placement import Jit
from kopt.tuning.space.space import Allowed, Space
from kopt.tuning.trial.folds import folds_of
from kopt.values.checks import is_among, require
from kopt.values.types import ArrayLike, FieldValue, FitArgument, HyperParameters, TrialResults

__all__ = ["HyperModel"]

DATA = ("x", "y", "validation_data", "validation_split", "sample_weight", "class_weight", "groups")
FoldOf: TypeAlias = tuple[int, int, int]  # the fold's index, the number of folds, the seed
Encoded: TypeAlias = tuple[keras.Model | None, Splits]  # the encoder, the encoded data


class HyperModel(keras_tuner.HyperModel):
    """A `keras_tuner.HyperModel` over the fields of a recipe or of a model value, by their paths.

    All fields of a recipe can be searched: rate, penalty, batch size, epochs. A recipe has its own data, so call
    `tuner.search()` without data. A model value is compiled with Adam at 0.001 and fitted to the data of `search`.

    Args:
        value: A recipe, whose model may leave sizes to its data or be left out; or a model value with its sizes.
        ranges: Path -> `Range` or `Choice`, as for `Space`.
        jit: Whether a recipe's step is compiled with XLA, as for `Loop`: with "auto" where it saves more of a trial's
            time than it takes to compile. Models that differ in numbers alone share a program; one of another size
            compiles its own, some 17 MB that TensorFlow never frees.

    Raises:
        ValueError: When the value is neither, or a range does not fit its field.

    Example:
        >>> import keras_tuner
        >>> from kopt.models import MLP
        >>> from kopt.tuning import Range
        >>> hypermodel = HyperModel(MLP((4,), 3), {"dropout": Range(0, 0.5)})
        >>> hypermodel.build(keras_tuner.HyperParameters()).output_shape
        (None, 3)

    Source:
        KerasTuner's guide, Tune hyperparameters in your custom training loop.
    """

    def __init__(self, value: Recipe | Model, ranges: Mapping[str, Allowed], *, jit: Jit = "auto"):
        require(isinstance(value, (Recipe, Model)), "value", "must be a recipe or a model value", value)
        require(is_among(jit, "auto", True, False), "jit", "must be 'auto', True or False", jit)
        self.jit, self.splits = jit, None
        if isinstance(value, Recipe):
            splits = value.data.load() if value.model is None or not moves_data(ranges) else None
            value = value if splits is None else chosen(value, splits)  # so that its model's fields can be searched
            self.splits = None if moves_data(ranges) else splits
        else:
            open_sizes = value.open_sizes()
            require(not open_sizes, "value", f"must have its {' and '.join(open_sizes)}, for it brings no data", value)
        self.space: Space[FieldValue] = Space(value, ranges)  # it fills in a recipe, or a model value
        self.last: tuple[tuple[Data, Model | None, FoldOf | None], Encoded] | None = None
        super().__init__()

    def build(self, hp: HyperParameters) -> keras.Model:
        """Build and compile the model for some hyperparameters."""
        value = self.space.fill(hp)
        if isinstance(value, Recipe):
            return build(value, self.splits_of(value), distribute.strategy(value.devices))
        model = value.build()
        model.compile(Optimizer(Adam()), value.loss(), metrics=value.metrics())
        model.optimizer.build(model.trainable_variables)
        return model

    def brings_data(self) -> bool:
        """Return whether the value is a recipe, which is searched without data."""
        return isinstance(self.space.value, Recipe)

    def example(self, hp: HyperParameters) -> tuple[Inputs, ArrayLike]:
        """Return one row of a recipe's data, which shows what training reports."""
        x, y = self.splits_of(self.space.fill(hp)).train
        return x[:1], y[:1]

    def require_no_data(self, args: Sequence[FitArgument], given: Mapping[str, FitArgument]) -> None:
        """Raise ValueError when the search of a recipe gets data, or arguments about data.

        Raises:
            ValueError: When such arguments are among those of `search`.
        """
        named = [name for name in DATA if given.get(name) is not None]
        recipe = self.space.value
        rule = f"must be called without data, the recipe trains on {recipe.data!r}"
        require(not args and not named, "search()", rule, named or len(args))

    def fit(self, hp: HyperParameters, model: keras.Model, *args: FitArgument, **kwargs: FitArgument) -> TrialResults:
        """Train the model: a recipe as `run` does, a model value by `model.fit`.

        Raises:
            ValueError: When the search of a recipe gets data.
        """
        recipe = self.space.fill(hp)
        if not isinstance(recipe, Recipe):
            return model.fit(*args, **kwargs)
        self.require_no_data(args, kwargs)
        splits = self.splits_of(recipe, kwargs.pop("fold", None))
        verbose = kwargs.pop("verbose", "auto") not in (0, "0")
        return train(recipe, model, splits, verbose=verbose, jit=self.jit, **kwargs)

    def splits_of(self, recipe: Recipe, fold: FoldOf | None = None) -> Splits:
        """Return a recipe's data as its network takes them.

        Args:
            recipe: The filled recipe.
            fold: The fold's index, the number of folds, the seed; None for the recipe's own splits.
        """
        return self.encoded(recipe, fold)[1]

    def encoded(self, recipe: Recipe, fold: FoldOf | None = None) -> Encoded:
        """Return a recipe's encoder and encoded data; reuse those of the last trial if they are the same.

        Args:
            recipe: The filled recipe.
            fold: As for `splits_of`.
        """
        kind = recipe.data, recipe.model, fold
        if self.last is None or self.last[0] != kind:
            raw = self.splits or recipe.data.load()
            self.last = kind, encoded(recipe, refolded(raw, *fold) if fold else raw)
        return self.last[1]


def refolded(splits: Splits, fold: int, folds: int, seed: int) -> Splits:
    """Return splits whose training and validation rows are those of a fold; the test split does not change."""
    parts = splits.train, splits.validation
    y = np.concatenate([part.y for part in parts])
    if isinstance(splits.train.x, dict):
        x: Inputs = {name: np.concatenate([part.x[name] for part in parts]) for name in splits.train.x}
    else:
        x = np.concatenate([part.x for part in parts])
    rows = folds_of(y, folds, seed=seed)[fold]
    train, validation = (Split(take(x, part), y[part]) for part in rows)
    return Splits(train, validation, splits.test, splits.checksum)


def moves_data(ranges: Mapping[str, Allowed]) -> bool:
    """Return whether fields of the data are searched."""
    return any(path.split(".")[0] == "data" for path in ranges)
