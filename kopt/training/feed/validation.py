"""Checks of the data of fit, evaluate and predict, before any work is done."""

import keras
import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.values.checks import require
from kopt.values.types import ArrayLike, KerasModel, Nest


def require_data(name: str, x: Nest, y: Nest, sample_weight: Nest) -> None:
    """Raise ValueError for data of an unknown kind, and for arrays that their conversion would change.

    Args:
        name: The caller's name for `x`.
        x: Inputs.
        y: Targets.
        sample_weight: Weights of examples.
    """
    kinds = "must be arrays, a nest of them (lists of numbers are none), a tf.data.Dataset, a PyDataset, a generator "
    of_arrays = internals.are_arrays(x, None, None)
    require(of_arrays or internals.is_data(x), name, kinds + "or a DataLoader", x)
    if of_arrays:
        for whose, part in (("y", y), ("sample_weight", sample_weight)):
            fits = internals.are_arrays(part, None, None)
            require(fits, whose, "must be arrays or a nest of them (lists of numbers are none)", part)
    if not internals.are_arrays(x, y, sample_weight):
        return
    for whose, part in ((name, x), ("y", y), ("sample_weight", sample_weight)):
        for leaf in keras.tree.flatten(part):
            require_array(whose, leaf)
    for leaf in keras.tree.flatten(sample_weight):
        finite = leaf is None or not is_floating(leaf) or bool(np.isfinite(np.asarray(leaf)).all())
        require(finite, "sample_weight", "must have finite numbers", "NaN or infinity among them")


def parts_of(validation_data: Nest) -> tuple[Nest, Nest, Nest] | None:
    """Return the (x, y, sample_weight) of validation data, or None without any."""
    if validation_data is None:
        return None
    size = len(validation_data) if isinstance(validation_data, (tuple, list)) else 1
    rule = "must be (x, y), (x, y, sample_weight) or a dataset"
    require(1 <= size <= 3, "validation_data", rule, f"{size} parts")
    return keras.utils.unpack_x_y_sample_weight(validation_data)


def is_floating(leaf: ArrayLike) -> bool:
    """Return whether an array is of floats."""
    return isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f" or tf.is_tensor(leaf) and leaf.dtype.is_floating


def require_array(name: str, leaf: ArrayLike) -> None:
    """Raise ValueError for no examples, masks that would be dropped, and objects that are no texts."""
    shape = (1,) if leaf is None else tuple(np.shape(leaf))
    require(bool(shape), name, "must have an axis of examples", leaf)
    require(shape[0] != 0, name, "must not be empty", "0 examples")
    masked = isinstance(leaf, np.ma.MaskedArray) and bool(np.ma.is_masked(leaf))
    require(not masked, name, "must have no masked values, whose mask would be lost: fill them", leaf)
    if isinstance(leaf, np.ndarray) and leaf.dtype == object:
        strange = [one for one in leaf.flat if not isinstance(one, (str, bytes))]
        numbers = "must be an array of numbers or of texts"
        require(not strange, name, numbers, f"objects such as {type(strange[0]).__name__}" if strange else "")


def require_labels(model: KerasModel, y: Nest) -> None:
    """Raise ValueError for labels that are no class of their output.

    For such labels TensorFlow gives an infinite loss on some devices, and an error in the middle of training on others.

    Args:
        model: A compiled model.
        y: Targets, as tensors.
    """
    for labels, classes, ignored in internals.sparse_targets(model, y):
        taken = labels if ignored is None else labels[labels != ignored]
        if not taken.size:
            continue
        least, most = taken.min(), taken.max()
        wrong = least if not least >= 0 else most
        require(least >= 0 and most < classes, "y", f"must have labels from 0 to {classes - 1}", wrong.item())
