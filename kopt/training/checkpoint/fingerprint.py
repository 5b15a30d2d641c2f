"""Fingerprint: what a checkpoint is of, in words, so that another model, optimizer or data are refused by name."""

import hashlib
import types
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.state.snapshot import training_optimizers
from kopt.training.feed.chunks import Arrays
from kopt.training.feed.sources import Source
from kopt.training.steps.train import TrainStep
from kopt.values.types import Json, KerasModel, Nest, Step, TensorSpec

ROWS = 64  # of each array that are in its checksum
SHOWN = 4  # differences in an error
# Raised by Keras for a user's layer without get_config, a lambda whose source is not a file, an object of another kind.
NO_CONFIG = (NotImplementedError, OSError, TypeError, ValueError, AttributeError)
UNSAID = ("name", "build_config", "registered_name", "module", "shared_object_id")  # of a configuration


def fingerprint(model: KerasModel, step: Step, sources: Mapping[str, Source]) -> dict[str, str]:
    """Return what a run is of: the layers, the loss, the optimizers, the step and the data.

    Args:
        model: A compiled model.
        step: The training step.
        sources: The data by their names.

    Returns:
        Name -> text.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> found = fingerprint(model, TrainStep(model), {})
        >>> found["optimizer.class"], found["loss"], found["step.micro_batches"]
        ('SGD', 'mse', '1')
    """
    found: dict[str, str] = {}
    for place, layer in enumerate(internals.flat_layers(model)):
        found |= flat(f"layer {place}", described(layer))
    for place, optimizer in enumerate(training_optimizers(model)):
        found |= flat(f"optimizer {place}" if place else "optimizer", described(optimizer))
    found |= flat("loss", keras.tree.map_structure(said, model.loss if model.compiled else None))
    if isinstance(step, TrainStep):
        parts = {"micro_batches": step.micro_batches, "clip": step.clip, "augment": step.augment, "sparse": step.sparse}
        more = {} if step.sharpness is None else {"sharpness": step.sharpness}  # which earlier checkpoints do not know
        found |= flat("step", parts | more)
    for name, source in sources.items():
        found |= flat(name, of_source(source))
    return found


def unlike(saved: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return how two fingerprints differ, as a text; empty when they do not.

    Args:
        saved: The fingerprint in a checkpoint.
        now: That of a run.

    Example:
        >>> unlike({"optimizer.beta_1": "0.9"}, {"optimizer.beta_1": "0.8"})
        'optimizer.beta_1 was 0.9 and is 0.8'
    """
    names = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    found = [f"{name} was {saved.get(name, 'not there')} and is {now.get(name, 'not there')}" for name in names]
    more = len(found) - SHOWN
    return "; ".join(found[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def described(thing: Nest) -> Json:
    """Return the class and, of Keras' own and of kopt's, the configuration of a layer, a loss or an optimizer.

    A learning rate that is a number is left out, for training changes it.
    """
    kind = type(thing)
    own = kind.__module__.partition(".")[0] in ("keras", "kopt") and not isinstance(thing, keras.Model)
    config = config_of(thing) if own else {}
    if not isinstance(config.get("learning_rate"), Mapping):
        config.pop("learning_rate", None)
    return {"class": kind.__name__} | config


def config_of(thing: Nest) -> Json:
    """Return a configuration; {} where there is none, as of a wrapper around a user's layer that has none."""
    try:
        return thing.get_config()
    except NO_CONFIG:
        return {}


def said(loss: Nest) -> Json:
    """Return the name of a loss or of its function; of one of Keras' classes, its class and configuration."""
    if isinstance(loss, keras.losses.Loss):
        return described(loss)
    return str(loss) if isinstance(loss, str) or loss is None else name_of(loss)


def flat(name: str, value: Json) -> dict[str, str]:
    """Return a nest as texts by their paths, without what `UNSAID` names."""
    if isinstance(value, (list, tuple)) and any(isinstance(one, (Mapping, list, tuple)) for one in value):
        value = dict(enumerate(value))
    if isinstance(value, Mapping) and value:
        parts = {key: one for key, one in value.items() if key not in UNSAID}
        return {path: text for key, one in parts.items() for path, text in flat(f"{name}.{key}", one).items()}
    text = str(value)
    return {name: text if len(text) <= 60 else hashlib.sha256(text.encode()).hexdigest()[:16]}


def name_of(loss: Nest) -> str:
    """Return the name of a function, or of the class of another object."""
    return loss.__name__ if isinstance(loss, types.FunctionType) else type(loss).__name__


def of_source(source: Source) -> Json:
    """Return the sizes, the types and, of arrays, a checksum of some rows."""
    if source.arrays is None:
        return {"batches": source.given, "batch": str(source.batch_spec), "steps_per_epoch": source.steps_per_epoch}
    arrays = source.arrays
    return {
        "steps_per_epoch": source.steps_per_epoch,
        "examples": arrays.examples,
        "batch_size": arrays.batch_size,
        "rows": [kind_of(leaf) for leaf in arrays.leaves],
        "checksum": checksum(arrays),
    }


def kind_of(leaf: TensorSpec) -> str:
    """Return the shape and the type of the rows of a tensor."""
    return f"{tuple(leaf.shape[1:])} {leaf.dtype.name}"


def checksum(arrays: Arrays) -> str:
    """Return a checksum of rows all over the arrays."""
    rows = np.unique(np.linspace(0, arrays.examples - 1, ROWS).astype("int64"))
    digest = hashlib.sha256()
    for leaf in arrays.leaves:
        digest.update(np.ascontiguousarray(tf.gather(leaf, rows).numpy()).tobytes())
    return digest.hexdigest()[:16]
