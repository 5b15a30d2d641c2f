"""Saved iterators: the state of a tf.data iterator as arrays, buffers of shuffles with it."""

import logging
import pathlib
import tempfile
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from kopt.values.types import Nest

log = logging.getLogger("kopt")

PREFIX = "iterator"
# Raised for datasets with state that TensorFlow cannot save, such as a Python function or a random map.
UNSAVABLE = (tf.errors.FailedPreconditionError, tf.errors.UnimplementedError, tf.errors.InvalidArgumentError)


def saved(iterator: Nest) -> dict[str, np.ndarray] | None:
    """Return the state of an iterator as arrays of bytes; None when TensorFlow cannot save it.

    Args:
        iterator: An iterator of a tf.data.Dataset.

    Example:
        >>> iterator = iter(tf.data.Dataset.range(5))
        >>> _ = next(iterator)
        >>> arrays, other = saved(iterator), iter(tf.data.Dataset.range(5))
        >>> restore(other, arrays)
        >>> int(next(other))
        1
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            tf.train.Checkpoint(iterator=iterator).write(str(pathlib.Path(folder) / PREFIX))
        except UNSAVABLE as error:
            reason = str(error).partition("\n")[0]
            log.info(
                "checkpoint: TensorFlow cannot save the place in the dataset, which will be read again: %s", reason
            )
            return None
        files = sorted(pathlib.Path(folder).iterdir())
        return {file.name: np.frombuffer(file.read_bytes(), "uint8") for file in files}


def restore(iterator: Nest, arrays: Mapping[str, np.ndarray]) -> None:
    """Put the state that `saved` returned into an iterator of the same dataset.

    Args:
        iterator: An iterator that has given nothing yet.
        arrays: The state.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, content in arrays.items():
            (pathlib.Path(folder) / name).write_bytes(content.tobytes())
        tf.train.Checkpoint(iterator=iterator).read(str(pathlib.Path(folder) / PREFIX)).assert_consumed()
