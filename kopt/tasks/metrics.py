"""Metrics that Keras lacks, from logits; each declares its direction: whether more of it is better."""

from typing import ClassVar, Literal

import keras
import tensorflow as tf
from keras import ops

from kopt.values.checks import require
from kopt.values.registry import Registry
from kopt.values.types import Config, DType, Tensor

__all__ = ["AUC", "Accuracy", "BitsPerCharacter", "Direction", "RecallAt", "registry"]

Direction = Literal["max", "min"]

registry: Registry[keras.metrics.Metric] = Registry("metrics")

KEYS = 2**16


@registry.register
class Accuracy(keras.metrics.Mean):
    """The share of examples whose largest output is at their class; targets are class numbers or probabilities.

    Probabilities come from mixed examples: the largest one counts.

    Args:
        name: Name in the history.
        dtype: Dtype of the result.

    Example:
        >>> float(Accuracy()([1, 0], [[0.1, 2.0], [0.3, 0.7]]))
        0.5

    Source:
        `keras.metrics.SparseCategoricalAccuracy`.
    """

    direction: ClassVar[Direction] = "max"

    def __init__(self, name: str = "accuracy", dtype: DType = None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
        """Add a batch."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        shares = y_true.shape[-1] == y_pred.shape[-1] and len(y_true.shape) == len(y_pred.shape)
        flat = len(y_true.shape) == len(y_pred.shape) and not shares  # (n, 1) class numbers
        classes = ops.argmax(y_true, -1) if shares else ops.squeeze(y_true, -1) if flat else y_true
        right = ops.equal(ops.cast(classes, "int32"), ops.cast(ops.argmax(y_pred, -1), "int32"))
        return super().update_state(ops.cast(right, self.dtype), sample_weight)


@registry.register
class AUC(keras.metrics.Metric):
    """The area under the ROC curve of two classes, from their two logits; the targets are 0 or 1.

    It is the share of pairs of a 1 and a 0 in which the 1 has the larger difference of logits; a pair with equal
    differences counts half. Differences are counted by the first 16 bits of their float32, so that batches add up: two
    differences less than 1/128 of their size apart may count as equal. (`keras.metrics.AUC` counts at thresholds of
    the probability, where all large logits are the same.)

    Args:
        name: Name in the history.
        dtype: Dtype of the result.

    Raises:
        ValueError: When an example does not have two outputs.

    Example:
        >>> round(float(AUC()([0, 1, 1], [[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])), 4)
        1.0

    Source:
        Hanley and McNeil, The Meaning and Use of the Area under a Receiver Operating Characteristic Curve, 1982.
    """

    direction: ClassVar[Direction] = "max"

    def __init__(self, name: str = "auc", dtype: DType = None):
        super().__init__(name=name, dtype=dtype)
        self.counts = self.add_variable((2, KEYS), keras.initializers.Zeros(), name="counts")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
        """Add a batch."""
        y_pred = ops.cast(y_pred, "float32")
        require(y_pred.shape[-1] == 2, "y_pred", "must be two logits a row", y_pred.shape)
        keys = ordered(ops.reshape(y_pred[..., 1] - y_pred[..., 0], (-1,)))
        ones = ops.reshape(ops.cast(ops.cast(y_true, "float32") > 0.5, "int32"), (-1,))
        weights = ops.ones_like(keys, self.dtype)
        if sample_weight is not None:
            weights = ops.reshape(ops.cast(sample_weight, self.dtype), (-1,))
        found = ops.segment_sum(weights, ones * KEYS + keys, num_segments=2 * KEYS)
        self.counts.assign(self.counts + ops.reshape(found, (2, KEYS)))

    def result(self) -> Tensor:
        """Return the area, or 0 when one class is missing."""
        zeros, ones = self.counts[0], self.counts[1]
        below = ops.cumsum(zeros) - zeros
        pairs = ops.sum(zeros) * ops.sum(ones)
        return ops.where(pairs > 0, ops.sum(ones * (below + zeros / 2)) / ops.maximum(pairs, 1e-9), 0.0)


def ordered(numbers: Tensor) -> Tensor:
    """Return a number in [0, 2 ** 16) for each float32, in the order of their values: its first 16 bits."""
    bits = tf.bitcast(numbers + 0.0, tf.int32)  # -0.0 is 0.0
    signed = tf.bitwise.bitwise_xor(bits, tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, 31), 0x7FFFFFFF))
    return tf.bitwise.right_shift(signed, 16) + KEYS // 2


@registry.register
class RecallAt(keras.metrics.Mean):
    """Recall at k, a mean over examples: the share of an example's items that are among its k largest outputs.

    recall = |top k and items| / min(k, |items|); the targets are 1 for an item and 0 for others. An example without
    items counts as 0.

    Args:
        k: Number of largest outputs, >= 1.
        name: Name in the history; "recall_at_<k>" when None.
        dtype: Dtype of the result.

    Raises:
        ValueError: When k is less than 1.

    Example:
        >>> float(RecallAt(2)([[1, 0, 1, 0]], [[0.9, 0.8, 0.1, 0.0]]))
        0.5

    Source:
        Liang et al., Variational Autoencoders for Collaborative Filtering, 2018, section 4.2.
    """

    direction: ClassVar[Direction] = "max"

    def __init__(self, k: int = 20, name: str | None = None, dtype: DType = None):
        require(isinstance(k, int) and k >= 1, "k", "must be a whole number >= 1", k)
        super().__init__(name=name or f"recall_at_{k}", dtype=dtype)
        self.k = k

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
        """Add a batch."""
        y_pred = ops.convert_to_tensor(y_pred)
        top = ops.top_k(y_pred, min(self.k, y_pred.shape[-1]))[1]
        items = ops.cast(ops.convert_to_tensor(y_true) > 0, self.dtype)
        found = ops.sum(ops.take_along_axis(items, top, -1), -1)
        most = ops.clip(ops.sum(items, -1), 1, self.k)
        return super().update_state(found / most, sample_weight)

    def get_config(self) -> Config:
        """Return the arguments of the constructor."""
        return {"k": self.k, "name": self.name, "dtype": self.dtype}


@registry.register
class BitsPerCharacter(keras.metrics.Mean):
    """The cross-entropy of the next character in bits: the mean of -log2 p(character) over all characters.

    Args:
        name: Name in the history.
        dtype: Dtype of the result.

    Example:
        >>> float(BitsPerCharacter()([[0, 1]], [[[0.0, 0.0], [0.0, 0.0]]]))
        1.0

    Source:
        Shannon, Prediction and Entropy of Printed English, 1951.
    """

    direction: ClassVar[Direction] = "min"

    def __init__(self, name: str = "bits_per_character", dtype: DType = None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor = None) -> Tensor:
        """Add a batch."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        nats = keras.losses.sparse_categorical_crossentropy(y_true, ops.cast(y_pred, "float32"), from_logits=True)
        return super().update_state(nats / ops.log(2.0), sample_weight)
