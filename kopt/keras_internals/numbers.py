"""Numbers of layers and optimizers that programs read live: dropout rates, learning rates."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kopt.checks import require


class LiveFloat(float):
    """A layer's number that programs read from a variable: its own, plain one to Python and to files."""

    variable: Any
    dtype: str

    def __new__(cls, own: float, variable: Any, dtype: str) -> "LiveFloat":
        number = super().__new__(cls, own)
        number.variable, number.dtype = variable, dtype
        return number

    def __reduce__(self) -> Any:
        return float, (float(self),)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Any:
        return tf.cast(tf.convert_to_tensor(self.variable), dtype or self.dtype)

    def __rsub__(self, other: Any) -> Any:
        """1 - rate, from which TensorFlow's dropout computes its scale."""
        return other - self.__tf_tensor__()


def set_dropout(layer: Any, variable: Any | None) -> None:
    """Make a dropout layer's programs read its rate from a variable, or, without one, be its own again."""
    own = float(layer.rate)
    layer.rate = own if variable is None else LiveFloat(own, variable, layer.compute_dtype)


class LiveRate(tf.__internal__.types.Tensor):
    """An optimizer's learning rate that is computed at every update and kept in the optimizer's own rate variable.

    Keras calls a callable learning rate inside its update, and writes what looks like a tensor as a plain number into
    files: so files made with and without one are alike. Its setter would untrack the variable, hence `install_rate`.
    """

    def __init__(self, optimizer: Any, formula: Callable[[Any], Any], owner: Any):
        self.optimizer, self.formula, self.owner = optimizer, formula, owner
        self.variable = optimizer._learning_rate

    def __call__(self) -> Any:
        """The rate for the update that is being traced; from outside a program, the rate last used."""
        if tf.executing_eagerly() and not self.owner.runs_eagerly:
            return self.variable
        rate = tf.cast(self.formula(self.optimizer.iterations), self.variable.dtype)
        self.variable.assign(rate)
        return rate

    def __float__(self) -> float:
        return float(self.variable.numpy())

    def assign(self, value: Any) -> None:
        """Keras' setter comes here: refused while the owner steers."""
        require(not self.owner.steers, "learning_rate", f"must be left to {self.owner}, whose run has not ended", value)
        self.variable.assign(value)

    dtype = property(lambda self: self.variable.dtype)
    shape = property(lambda self: self.variable.shape)


def inner_optimizer(optimizer: Any) -> Any:
    """The optimizer that holds the learning rate: inside others, such as a LossScaleOptimizer, or itself."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def rated_optimizers(optimizer: Any) -> list[Any]:
    """The optimizers that hold learning rates: one, or those of a MultiOptimizer."""
    return [inner_optimizer(inner) for inner in getattr(inner_optimizer(optimizer), "optimizers", [optimizer])]


def unknown_weights(optimizer: Any, weights: Sequence[Any]) -> list[Any]:
    """The weights that an optimizer which is built has not been built for."""
    built = [one for one in rated_optimizers(optimizer) if one.built]
    known = {id(variable) for one in built for variable in one._trainable_variables}
    return [weight for weight in weights if built and id(weight) not in known]


def installed_rate(optimizer: Any) -> Any | None:
    """The LiveRate that an optimizer has, if any."""
    rate = inner_optimizer(optimizer)._learning_rate
    return rate if isinstance(rate, LiveRate) else None


def install_rate(optimizer: Any, formula: Callable[[Any], Any], owner: Any) -> Any:
    """Make an optimizer compute its rate as formula(updates so far), in its programs; they must be traced anew.

    Raises:
        ValueError: When the optimizer was compiled with a schedule: it has no rate variable.
    """
    optimizer = inner_optimizer(optimizer)
    if isinstance(optimizer._learning_rate, LiveRate):
        optimizer._learning_rate = optimizer._learning_rate.variable
    settable = isinstance(optimizer._learning_rate, keras.Variable)
    require(
        settable, "learning_rate", f"must be a number in an optimizer that {owner} steers", optimizer._learning_rate
    )
    optimizer._learning_rate = LiveRate(optimizer, formula, owner)
    return optimizer._learning_rate


def rate_variable(optimizer: Any) -> Any:
    """The variable of an optimizer's rate.

    Raises:
        ValueError: When the optimizer was compiled with a schedule.
    """
    rate = optimizer._learning_rate
    rate = rate.variable if isinstance(rate, LiveRate) else rate
    require(isinstance(rate, keras.Variable), "learning_rate", "must be a number in an optimizer to be swept", rate)
    return rate


class PlateauCallback(keras.callbacks.ReduceLROnPlateau):
    """Keras' counting of epochs without improvement, with what it does about them left to `lower`."""

    def lower(self, optimizer: Any) -> bool:
        """Lower one optimizer's rate; False when it cannot go lower."""
        raise NotImplementedError

    def _reduce_optimizer_lr(self, optimizer: Any, epoch: int, name: str = "") -> bool:
        lowered = self.lower(inner_optimizer(optimizer))
        if lowered and self.verbose > 0:
            print(f"\nEpoch {epoch + 1}: the learning rate{f' of {name}' if name else ''} is lowered by {self.factor}.")
        return lowered
