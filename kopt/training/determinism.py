"""Deterministic training: TensorFlow's switch for a Loop, and one sentence where an operation refuses it."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.values.checks import require
from kopt.values.types import KerasModel

__all__ = ["make_deterministic", "named_refusals"]

SAYS = re.compile(r"[^\n]*determinis[^\n]*", re.IGNORECASE)


def make_deterministic(model: KerasModel, seed: int | None) -> None:
    """Make TensorFlow's operations deterministic from now on, in the whole process.

    Args:
        model: The model; its programs from before are traced anew.
        seed: The seed of the order of examples.

    Raises:
        ValueError: When there is no seed: the order would be another one in each run.

    Example:
        >>> make_deterministic(model=None, seed=None)
        Traceback (most recent call last):
        ValueError: seed must be given where deterministic=True, got None.

    Source:
        `tf.config.experimental.enable_op_determinism`.
    """
    require(seed is not None, "seed", "must be given where deterministic=True", seed)
    internals.enable_determinism(model)


@contextlib.contextmanager
def named_refusals(deterministic: bool) -> Iterator[None]:
    """Raise one sentence where TensorFlow has no deterministic kernel for an operation, or it draws without a seed.

    Args:
        deterministic: Whether the block trains deterministically; when not, nothing is changed.

    Returns:
        A context manager.

    Raises:
        ValueError: In place of TensorFlow's error.

    Example:
        >>> with named_refusals(True):
        ...     raise tf.errors.UnimplementedError(None, None, "Fold: no deterministic kernel on a GPU")
        Traceback (most recent call last):
        ValueError: deterministic must be False for this model, TensorFlow says: Fold: no deterministic kernel on a GPU
    """
    try:
        yield
    except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError, RuntimeError, ValueError) as error:
        said = SAYS.search(str(error)) if deterministic else None
        if said is None:
            raise
        what = said.group().strip()
        raise ValueError(f"deterministic must be False for this model, TensorFlow says: {what}") from error
