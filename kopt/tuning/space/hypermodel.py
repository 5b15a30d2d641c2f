"""HyperModel: any value with ranges, as KerasTuner takes it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from kopt import distribute
from kopt.data import Splits
from kopt.data.base import Split, take
from kopt.experiment.recipe import Recipe
from kopt.experiment.run import build, train
from kopt.experiment.serving import encoded
from kopt.models import Model
from kopt.optimizers import Optimizer
from kopt.rules import Adam
from kopt.training.feed.placement import Jit
from kopt.tuning.space.space import Choice, Range, Space
from kopt.tuning.trial.folds import folds_of
from kopt.values.checks import is_among, require

__all__ = ["HyperModel"]

DATA = ("x", "y", "validation_data", "validation_split", "sample_weight", "class_weight", "groups")


class HyperModel(keras_tuner.HyperModel):
    """A `keras_tuner.HyperModel` over the fields of a recipe or of a model value, by their paths.

    Of a recipe everything can be searched: rate, penalty, batch size, epochs; it brings its own data, so call
    `tuner.search()` with none. A model value is compiled with Adam at 0.001 and fitted to what `search` is given.

    Args:
        value: A recipe or a model value.
        ranges: Path -> `Range` or `Choice`.
        jit: Whether a recipe's step is compiled with XLA, as for `Loop`: "auto" or True pay for trials of minutes. Each
            trial is a new program: compiling it takes 2 to 4 seconds, and TensorFlow keeps some 17 MB of it for good.

    Raises:
        ValueError: When the value is neither, or a range does not fit.

    Example:
        >>> import keras_tuner
        >>> from kopt.models import MLP
        >>> hypermodel = HyperModel(MLP((4,), 3), {"dropout": Range(0, 0.5)})
        >>> hypermodel.build(keras_tuner.HyperParameters()).output_shape
        (None, 3)

    Source:
        KerasTuner's guide, Tune hyperparameters in your custom training loop.
    """

    def __init__(self, value: Recipe | Model, ranges: Mapping[str, Range | Choice], *, jit: Jit = False):
        require(isinstance(value, (Recipe, Model)), "value", "must be a recipe or a model value", value)
        require(is_among(jit, "auto", True, False), "jit", "must be 'auto', True or False", jit)
        self.jit = jit
        self.space = Space(value, ranges)
        self.splits = value.data.load() if isinstance(value, Recipe) and not moves_data(ranges) else None
        self.last: tuple[Any, Splits] | None = None
        super().__init__()

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Build and compile the model that the hyperparameters say."""
        value = self.space.fill(hp)
        if isinstance(value, Recipe):
            return build(value, self._data(value), distribute.strategy(value.devices))
        model = value.build()
        model.compile(Optimizer(Adam()), value.loss(), metrics=value.metrics())
        model.optimizer.build(model.trainable_variables)
        return model

    def brings_data(self) -> bool:
        """Whether it is a recipe's, which is searched without data."""
        return isinstance(self.space.value, Recipe)

    def example(self, hp: keras_tuner.HyperParameters) -> tuple[Any, Any]:
        """One row of a recipe's data, to see what training reports."""
        x, y = self._data(self.space.fill(hp)).train
        return x[:1], y[:1]

    def require_no_data(self, args: Sequence[Any], given: Mapping[str, Any]) -> None:
        """Refuse data, or what says something of data, beside a recipe's own.

        Raises:
            ValueError: When there are any among the arguments of `search`.
        """
        named = [name for name in DATA if given.get(name) is not None]
        recipe: Any = self.space.value
        rule = f"must be called without data, the recipe trains on {recipe.data!r}"
        require(not args and not named, "search()", rule, named or len(args))

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Train the model: a recipe as `run` trains it, a model value by `model.fit`.

        Raises:
            ValueError: When data are given to a recipe's search.
        """
        recipe = self.space.fill(hp)
        if not isinstance(recipe, Recipe):
            return model.fit(*args, **kwargs)
        self.require_no_data(args, kwargs)
        splits = self._data(recipe, kwargs.pop("fold", None))
        verbose = kwargs.pop("verbose", "auto") not in (0, "0")
        return train(recipe, model, splits, verbose=verbose, jit=self.jit, **kwargs)

    def _data(self, recipe: Recipe, fold: tuple[int, int, int] | None = None) -> Splits:
        """A recipe's data as its network takes them; those of the last trial's kind are kept."""
        kind = recipe.data, recipe.model, fold
        if self.last is None or self.last[0] != kind:
            raw = self.splits or recipe.data.load()
            self.last = kind, encoded(recipe, refolded(raw, *fold) if fold else raw)[1]
        return self.last[1]


def refolded(splits: Splits, fold: int, folds: int, seed: int) -> Splits:
    """Splits that train and validate on a fold of the rows which are not for testing."""
    parts = splits.train, splits.validation
    y = np.concatenate([part.y for part in parts])
    if isinstance(splits.train.x, dict):
        x: Any = {name: np.concatenate([part.x[name] for part in parts]) for name in splits.train.x}
    else:
        x = np.concatenate([part.x for part in parts])
    rows = folds_of(y, folds, seed=seed)[fold]
    train, validation = (Split(take(x, part), y[part]) for part in rows)
    return Splits(train, validation, splits.test, splits.checksum)


def moves_data(ranges: Mapping[str, Any]) -> bool:
    return any(path.split(".")[0] == "data" for path in ranges)
