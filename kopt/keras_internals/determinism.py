"""TensorFlow's op determinism: whether it is on, and what must be dropped when it is turned on."""

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import config

from kopt.values.types import KerasModel

__all__ = ["enable_determinism", "is_deterministic"]


def is_deterministic() -> bool:
    """Return whether TensorFlow's operations are deterministic in this process."""
    return bool(config.is_op_determinism_enabled())


def enable_determinism(model: KerasModel | None = None) -> None:
    """Make TensorFlow's operations deterministic in this process, for good.

    A kernel looks at the switch when it is made, so a function that was traced and run before keeps its kernels
    (TensorFlow 2.21). Hence the kernels of eager operations and the programs of the model are dropped.

    Args:
        model: A model whose programs are traced anew; None for none.
    """
    if is_deterministic():
        return
    tf.config.experimental.enable_op_determinism()
    context.context().clear_kernel_cache()
    if model is not None:
        model.train_function = model.test_function = model.predict_function = None
