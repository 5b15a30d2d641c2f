"""TensorFlow's op determinism: whether it is on, and what must be dropped when it is turned on."""

import weakref

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import config

from kopt.values.types import KerasModel

__all__ = ["enable_determinism", "is_deterministic"]

dropped: weakref.WeakSet[KerasModel] = weakref.WeakSet()  # models without programs from before


def is_deterministic() -> bool:
    """Return whether TensorFlow's operations are deterministic in this process."""
    return bool(config.is_op_determinism_enabled())


def enable_determinism(model: KerasModel | None = None) -> None:
    """Make TensorFlow's operations deterministic in this process, for good.

    A kernel looks at the switch when it is made, so a function that ran before goes on with its kernels (TensorFlow
    2.21), until the caches of kernels are cleared; and XLA was chosen for it, which Keras does not do then.

    Args:
        model: A model whose programs are traced anew, once; None for none.
    """
    if not is_deterministic():
        tf.config.experimental.enable_op_determinism()
        context.context().clear_kernel_cache()
    if model is not None and model not in dropped:
        context.context().clear_kernel_cache()  # the user may have turned the switch, after a trace
        model.train_function = model.test_function = model.predict_function = None
        dropped.add(model)
