"""Keras models in recipes: a model that was built, or a function that builds one."""

import inspect
import json
import os
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import ClassVar, Literal

import keras
import numpy as np

from kopt.models.base import Model, registry
from kopt.models.columns import columns_encoder
from kopt.models.keras_config import config_of, in_logits, plain, require_adapted, revived
from kopt.tasks.task import Task
from kopt.values.checks import require
from kopt.values.types import ArrayLike, FieldValue, KerasModel

__all__ = ["OfFunction", "OfKeras", "as_model", "of_keras"]

Build = Callable[[tuple[int, ...], int], KerasModel]

HELD: dict[str, Build] = {}  # by name, because a value holds no functions


class Given(Model):
    """A network of the user's; columns by name are encoded as for `MLP`.

    Args:
        task: The task of the recipe's data.
        bins: Bins of each number of a table, >= 0; see `models.columns.columns_encoder`.

    Example:
        >>> isinstance(of_keras(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])), Given)
        True
    """

    takes = ("numbers", "columns")
    from_data: ClassVar[tuple[str, ...]] = ()
    _: KW_ONLY
    task: Task = "classification"
    bins: int = 0

    def check(self) -> None:
        require(self.bins >= 0, "bins", "must be >= 0", self.bins)

    def encoder(self, x: ArrayLike) -> keras.Model | None:
        return columns_encoder(x, bins=self.bins) if isinstance(x, dict) else None


@registry.register
class OfKeras(Given):
    """A Keras model by its config; `models.of_keras` makes it, and a recipe does from a model.

    Args:
        config: The JSON of its Keras config, whose outputs are logits where the task's loss takes logits.
        inputs: Its input shape; None for any size.
        outputs: Its number of outputs.
        task: The task of the recipe's data.
        bins: Bins of each number of a table, >= 0; see `models.columns.columns_encoder`.
        weights: A file that `save_weights` of the model has written; None for fresh weights by the recipe's seed.
        ended: The activation at the end of the model that was given; softmax and sigmoid are not in the config.

    Raises:
        ValueError: When the config is none, or holds code or an unknown class.

    Example:
        >>> of_keras(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])).build().output_shape
        (None, 3)

    Source:
        Keras' guide, Save, serialize, and export models.
    """

    config: str
    inputs: tuple[int | None, ...]  # type: ignore[assignment]  # None for any size
    outputs: int
    _: KW_ONLY
    weights: str | None = None
    ended: str = "linear"

    def build(self) -> keras.Model:
        policy = keras.config.dtype_policy().name
        require(
            policy == "float32", "precision", "must be 'float32' for a Keras model, whose layers have dtypes", policy
        )
        model = revived(json.loads(self.config))
        if self.weights is not None:
            require(os.path.isfile(self.weights), "weights", "must be a file of save_weights", self.weights)
            model.load_weights(self.weights)
        return plain(model)

    def sized(self, x: np.ndarray, outputs: int) -> "OfKeras":
        return self

    def notes(self) -> list[str]:
        start = "fresh, by the recipe's seed: those of the model that was given are not used"
        start = start if self.weights is None else f"those of {self.weights}"
        said = [f"the weights are {start}; its loss and metrics are those of {self.task}, not of its compile"]
        if self.ended in ("softmax", "sigmoid") and self.task != "regression":
            said.append(f"the {self.ended} at its end was taken off, because the loss is computed from logits")
        return said


@registry.register
class OfFunction(Given):
    """A function of (inputs, outputs) that builds a Keras model, until a recipe's data are known.

    A run calls it with the shape of one example and the number of outputs, and goes on with `OfKeras`.

    Args:
        function: The name under which the function is held in this process.
        task: The task of the recipe's data.
        bins: Bins of each number of a table, >= 0; see `models.columns.columns_encoder`.

    Raises:
        ValueError: When it is built before the data are known.

    Example:
        >>> def build(inputs, outputs):
        ...     return keras.Sequential([keras.Input(inputs), keras.layers.Dense(outputs)])
        >>> as_model(build, "ranking")
        OfFunction(task='ranking', function='...build')

    Source:
        The `build` functions of KerasTuner.
    """

    function: str
    _: KW_ONLY

    @property
    def inputs(self) -> tuple[int, ...] | None:
        return None

    @property
    def outputs(self) -> int | None:
        return None

    def build(self) -> keras.Model:
        require(False, "model", "must be built by a recipe, whose data give the function its arguments", self)
        raise AssertionError

    def sizes_in(self, x: np.ndarray, outputs: int) -> dict[str, FieldValue]:
        return {}

    def sized(self, x: np.ndarray, outputs: int) -> OfKeras:
        rule = "must be a function that was given to a recipe in this process"
        require(self.function in HELD, "model", rule, self.function)
        built = HELD[self.function](tuple(x.shape[1:]), outputs)
        rule = f"must be a function that returns a Keras model, as {self.function} must"
        require(isinstance(built, keras.Model), "model", rule, built)
        return of_keras(built, task=self.task, bins=self.bins)


def of_keras(
    model: KerasModel,
    *,
    task: Task = "classification",
    weights: str | os.PathLike[str] | Literal["fresh"] | None = None,
    bins: int = 0,
) -> OfKeras:
    """Keep a built Keras model as a value, by its config and without its weights.

    What it was compiled with is left out. A softmax at its end is taken off where the task's loss is from logits; one
    output becomes the logits of two classes.

    Args:
        model: A functional or a Sequential model with one input and one output.
        task: The task of the data; a recipe that is given the model takes that of its data.
        weights: A file that `model.save_weights` has written, from which training starts; "fresh" for weights by the
            recipe's seed, also for a model that was trained. None for fresh ones, if the model was not trained.
        bins: Bins of each number of a table, >= 0; see `models.columns.columns_encoder`.

    Returns:
        The value.

    Raises:
        ValueError: When the model cannot be kept by its config, its outputs do not fit the task, or it was trained and
            nothing says what becomes of its weights.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
        >>> of_keras(model).ended
        'softmax'

    Source:
        Keras' guide, Save, serialize, and export models.
    """
    form = config_of(model)
    one = len(model.inputs) == 1 and len(model.outputs) == 1
    require(one, "model", "must have one input and one output", (len(model.inputs), len(model.outputs)))
    steps = 0 if not model.compiled else int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    rule = "must be 'fresh', or a file of model.save_weights, for a model that was trained: a recipe holds no weights"
    require(steps == 0 or weights is not None, "weights", rule, weights)
    path = None if weights in (None, "fresh") else os.fspath(weights or "")
    if path is None:
        require_adapted(form)
    else:
        require(os.path.isfile(path), "weights", "must be 'fresh' or a file that model.save_weights has written", path)
    form, ended = in_logits(form, task)
    made = revived(form)
    shape, outputs = tuple(made.inputs[0].shape[1:]), made.outputs[0].shape
    flat = len(outputs) == 2 or task not in ("classification", "regression")
    require(flat, "model", f"must have outputs of (rows, numbers) for {task}, as after keras.layers.Flatten()", outputs)
    return OfKeras(json.dumps(form), shape, int(outputs[-1]), task=task, bins=bins, weights=path, ended=ended)


def as_model(given: FieldValue, task: Task) -> FieldValue:
    """Return a model value for what a recipe is given: a Keras model, a function, a value, or anything else unchanged.

    Args:
        given: The model of a recipe.
        task: The task of its data.

    Returns:
        A value for a Keras model and for a function; else what was given.

    Raises:
        ValueError: When the model cannot be kept, or the function does not take the shape and the number of outputs.

    Example:
        >>> as_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), "regression").outputs
        1

    Source:
        See `of_keras`.
    """
    if isinstance(given, keras.Model):
        return of_keras(given, task=task)
    if isinstance(given, (Model, type)) or not callable(given):
        return given
    try:
        inspect.signature(given).bind((1,), 1)
    except TypeError as error:
        raise ValueError(f"model must be a function of (inputs, outputs), got {given!r} ({error}).") from error
    return OfFunction(held(given), task=task)


def held(function: Build) -> str:
    """Hold a function for the process, and return its name, with a number when another function has it."""
    name = f"{function.__module__}.{function.__qualname__}"
    count = 1
    while HELD.setdefault(whole := name if count == 1 else f"{name} {count}", function) is not function:
        count += 1
    return whole
