"""Serving: the encoder of raw inputs, which is applied before training and is inside the saved model."""

import logging

import keras
import numpy as np
import tensorflow as tf

from kopt.data import Split, Splits
from kopt.data.base import Inputs
from kopt.experiment.recipe import Recipe
from kopt.experiment.resolving import chosen, kind_of, model_of, resolved, said_of
from kopt.models import OfFunction
from kopt.values.checks import require
from kopt.values.types import Nest

__all__ = ["encoded", "prepared", "served"]

log = logging.getLogger("kopt")


def encoded(recipe: Recipe, splits: Splits) -> tuple[keras.Model | None, Splits]:
    """Build the encoder of a recipe from the training split, and encode all splits once before training.

    Args:
        recipe: The recipe.
        splits: The raw data.

    Returns:
        The encoder, or None when the network takes raw inputs; and the encoded splits.

    Raises:
        ValueError: When a split is empty, a number in the data is not finite, or the model does not take inputs of
            their kind.

    Example:
        >>> from kopt import data, models, schedules
        >>> text = models.TextBag(2, length=50)
        >>> recipe = Recipe("text", data.Reviews(examples=100), model=text, schedule=schedules.Cosine(0.01))
        >>> encoded(recipe, recipe.data.load())[1].train.x.shape
        (65, 50)

    Source:
        Keras' guide, Working with preprocessing layers.
    """
    for part, rows in zip(("training", "validation", "test"), splits[:3]):
        require(len(rows.y) > 0, f"the {part} split", "must have an example", len(rows.y))
        for name, array in columns(rows):
            imputed = recipe.data.imputes and array is not rows.y
            missing = (
                0 if array.dtype.kind in "OUS" else int(np.sum(np.isinf(array) if imputed else ~np.isfinite(array)))
            )
            require(missing == 0, f"{name} of the {part} split", "must be finite", f"{missing} that are not")
    kind, model = kind_of(splits.train.x), model_of(recipe)
    rule = f"must take {kind}, and not {' or '.join(model.takes)}, for these data"
    require(kind in model.takes, "model", rule, model)
    encoder = model.encoder(splits.train.x)
    if encoder is None:
        return None, splits
    parts = [Split(encoder.predict(as_tensors(part.x), batch_size=1024, verbose=0), part.y) for part in splits[:3]]
    return encoder, Splits(parts[0], parts[1], parts[2], splits.checksum)


def prepared(recipe: Recipe, raw: Splits) -> tuple[keras.Model | None, Splits, Recipe]:
    """Choose and size the model of a recipe by its data, and encode these; the log says what was chosen and found.

    Args:
        recipe: The recipe.
        raw: Its data.

    Returns:
        The encoder, or None; the encoded splits; and the recipe with a whole model.

    Raises:
        ValueError: When data and model do not fit, or there is no usual model for such data.

    Example:
        >>> from kopt import data
        >>> recipe = Recipe("digits", data.Digits(examples=60))
        >>> prepared(recipe, recipe.data.load())[2].model
        ConvNet((8, 8, 1), outputs=10)

    Source:
        See `resolving`.
    """
    whole = chosen(recipe, raw)
    encoder, splits = encoded(whole, raw)
    sized = resolved(whole, splits)
    if isinstance(whole.model, OfFunction):
        keras.utils.set_random_seed(recipe.seed)  # the function has drawn weights, which are not used
    for sentence in said_of(recipe, whole, sized):
        log.info("model: %s", sentence)
    return encoder, splits, sized


def served(recipe: Recipe, model: keras.Model, encoder: keras.Model | None) -> keras.Model:
    """Return the encoder and the network as one model of raw inputs, compiled with the network's optimizer.

    Args:
        recipe: The recipe that was trained.
        model: The trained network.
        encoder: The encoder that `encoded` returned.

    Returns:
        The model to save; the network itself when there is no encoder.

    Example:
        >>> from kopt import data, models, schedules
        >>> recipe = Recipe("d", data.Digits(), model=models.MLP((8, 8, 1), 10), schedule=schedules.Cosine(0.01))
        >>> network = recipe.model.build()
        >>> served(recipe, network, None) is network
        True

    Source:
        Keras' guide, Working with preprocessing layers.
    """
    if encoder is None:
        return model
    # The same layers, not compiled: of two models in one file only one can own the optimizer.
    network = keras.Model(model.input, model.output, name=model.name)
    whole = keras.Model(encoder.input, network(encoder.output), name=f"{encoder.name}_{model.name}")
    whole.compile(model.optimizer, model.loss, metrics=[recipe.data.score()])
    return whole


def columns(part: Split) -> list[tuple[str, np.ndarray]]:
    """Return the inputs and targets with their names."""
    inputs = part.x.items() if isinstance(part.x, dict) else [("x", part.x)]
    return [*inputs, ("y", part.y)]


def as_tensors(x: Inputs) -> Nest:
    """Return raw inputs with texts as tensors of strings."""
    if isinstance(x, dict):
        return {name: as_tensors(column) for name, column in sorted(x.items())}
    return tf.constant([str(text) for text in x]) if x.dtype.kind in "OU" else x
