"""Losses from logits that Keras lacks."""

import keras
from keras import ops

from kopt.values.checks import require
from kopt.values.registry import Registry
from kopt.values.types import Config, DType, Tensor

__all__ = ["CrossEntropy", "Multinomial", "registry"]

registry: Registry[keras.losses.Loss] = Registry("losses")


@registry.register
class CrossEntropy(keras.losses.Loss):
    """-sum(target * log softmax(output)) over classes, from logits; targets are class numbers or probabilities.

    With `smoothing` s both kinds of targets become (1 - s) * target + s / classes.

    Args:
        smoothing: The share of each target that is spread over all classes, in [0, 1).
        reduction: Reduction over examples, as for the losses of Keras.
        name: Name of the loss in messages.
        dtype: Dtype of the result.

    Raises:
        ValueError: When the smoothing is out of range.

    Example:
        >>> loss = CrossEntropy()
        >>> float(loss([1], [[0.0, 0.0]])) == float(loss([[0.0, 1.0]], [[0.0, 0.0]]))
        True

    Source:
        `keras.losses.SparseCategoricalCrossentropy`; Szegedy et al., Rethinking the Inception Architecture, 2016,
        section 7, for the smoothing.
    """

    def __init__(
        self,
        smoothing: float = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str = "cross_entropy",
        dtype: DType = None,
    ):
        require(0 <= smoothing < 1, "smoothing", "must be in [0, 1)", smoothing)
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.smoothing = smoothing

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of each example."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        shares = len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == y_pred.shape[-1] > 1
        if not shares and self.smoothing == 0:
            return keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        if not shares:
            y_true = ops.one_hot(ops.cast(ops.reshape(y_true, ops.shape(y_pred)[:-1]), "int32"), y_pred.shape[-1])
        return keras.losses.categorical_crossentropy(y_true, y_pred, from_logits=True, label_smoothing=self.smoothing)

    def get_config(self) -> Config:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "smoothing": self.smoothing}


@registry.register
class Multinomial(keras.losses.Loss):
    """-sum(count * log softmax(output)) over items: the negative log-likelihood of an example's counts of items.

    Keras' categorical cross-entropy has the wrong gradient here, because TensorFlow's assumes that targets sum to 1.

    Args:
        reduction: Reduction over examples, as for the losses of Keras.
        name: Name of the loss in messages.
        dtype: Dtype of the result.

    Example:
        >>> round(float(Multinomial()([[1.0, 1.0, 0.0]], [[0.0, 0.0, 0.0]])), 4)  # 2 ln 3
        2.1972

    Source:
        Liang et al., Variational Autoencoders for Collaborative Filtering, 2018, equation 2.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "multinomial", dtype: DType = None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of each example."""
        y_pred = ops.convert_to_tensor(y_pred)
        return -ops.sum(ops.cast(y_true, y_pred.dtype) * ops.log_softmax(y_pred), -1)
