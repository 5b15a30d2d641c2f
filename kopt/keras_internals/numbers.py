"""Numbers of layers and optimizers that programs read live: dropout rates, learning rates."""

import contextlib
import contextvars
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import keras
import tensorflow as tf

from kopt.keras_internals.models import flat_layers, is_trainer
from kopt.keras_internals.replaced import is_observed, replaceable
from kopt.keras_internals.types import PrivateOptimizer, RateOwner
from kopt.values.checks import require
from kopt.values.types import DType, KerasLayer, KerasModel, Scalar, Tensor, Variable

Formula: TypeAlias = Callable[[Tensor], Tensor]  # number of updates -> learning rate


class LiveFloat(float):
    """A layer's number that programs read from a variable; for Python and files it is the layer's own plain number."""

    variable: Variable
    dtype: str

    def __new__(cls, own: float, variable: Variable, dtype: str) -> "LiveFloat":
        number = super().__new__(cls, own)
        number.variable, number.dtype = variable, dtype
        return number

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)

    def __tf_tensor__(self, dtype: DType = None, name: str | None = None) -> Tensor:
        return tf.cast(tf.convert_to_tensor(self.variable), dtype or self.dtype)

    def __rsub__(self, other: Tensor) -> Tensor:
        """Return 1 - rate, from which TensorFlow's dropout computes its scale."""
        return other - self.__tf_tensor__()


def set_dropout(layer: KerasLayer, variable: Variable | None) -> None:
    """Make programs read a dropout layer's rate from a variable; with None, restore the layer's own rate."""
    own = float(layer.rate)
    layer.rate = own if variable is None else LiveFloat(own, variable, layer.compute_dtype)


class LiveRate(tf.__internal__.types.Tensor):
    """A learning rate that is computed at every update and kept in the optimizer's own rate variable.

    Keras calls a callable learning rate inside its update, and writes what looks like a tensor as a plain number into
    files, so that files made with and without a LiveRate are alike. Keras' setter would untrack the variable; hence
    `install_rate`. Only an update writes the variable; reading the rate changes nothing.
    """

    def __init__(self, optimizer: PrivateOptimizer, formula: Formula, owner: RateOwner):
        self.optimizer, self.formula, self.owner = optimizer, formula, owner
        self.variable = optimizer._learning_rate
        self.updating = 0  # replicas may be in their updates at once
        self.used = False  # whether a step has been traced, or run eagerly, that updates by it

    def __call__(self) -> Tensor:
        """Return the rate of the next update when called in a program or an update, else the rate last used."""
        if tf.executing_eagerly() and not self.updating:
            return self.variable
        return tf.cast(self.formula(self.optimizer.iterations), self.variable.dtype)

    def __float__(self) -> float:
        return float(self.variable.numpy())

    def assign(self, value: Tensor) -> None:
        """Set the rate, as Keras' setter does; raise ValueError while the owner sets it."""
        beside = "kopt.callbacks.ReduceOnPlateau goes together with it"
        rule = f"must be left to {self.owner}, whose run has not ended ({beside})"
        require(not self.owner.steers, "learning_rate", rule, value)
        self.variable.assign(value)

    dtype = property(lambda self: self.variable.dtype)
    shape = property(lambda self: self.variable.shape)


UPDATING: contextvars.ContextVar[list[PrivateOptimizer] | None] = contextvars.ContextVar("updating", default=None)


@contextlib.contextmanager
def updates_seen(optimizers: Iterable[PrivateOptimizer]) -> Iterator[list[PrivateOptimizer]]:
    """Yield a list to which each of some optimizers is added when it updates, in a trace or eagerly."""
    for optimizer in optimizers:
        observe(optimizer)
    seen: list[PrivateOptimizer] = []
    token = UPDATING.set(seen)
    try:
        yield seen
    finally:
        UPDATING.reset(token)


def observe(optimizer: PrivateOptimizer) -> None:
    """Make each update of an optimizer report itself, and write its rate into the variable of its LiveRate."""
    if is_observed(optimizer):
        return
    apply, update = optimizer._backend_apply_gradients, optimizer._backend_update_step

    def applying(grads: Sequence[Tensor], trainable_variables: Sequence[Variable]) -> None:
        seen, rate = UPDATING.get(), optimizer._learning_rate
        if seen is not None:
            seen.append(optimizer)
        if not isinstance(rate, LiveRate):
            return apply(grads, trainable_variables)
        rate.updating, rate.used = rate.updating + 1, True
        try:
            return apply(grads, trainable_variables)
        finally:
            rate.updating -= 1

    def updating(grads: Sequence[Tensor], trainable_variables: Sequence[Variable], learning_rate: Tensor) -> None:
        if isinstance(optimizer._learning_rate, LiveRate):
            optimizer._learning_rate.variable.assign(learning_rate)
        return replaceable(optimizer, update, grads, trainable_variables, learning_rate)

    optimizer._backend_apply_gradients, optimizer._backend_update_step = applying, updating


def inner_optimizer(optimizer: PrivateOptimizer) -> PrivateOptimizer:
    """Return the optimizer that holds the learning rate: the innermost one, or itself where it wraps none."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def optimizers_within(optimizer: PrivateOptimizer) -> list[PrivateOptimizer]:
    """Return an optimizer and those inside it: the ones that it wraps, and the members of a MultiOptimizer."""
    found = [optimizer]
    while hasattr(found[-1], "inner_optimizer"):
        found.append(found[-1].inner_optimizer)
    return [*found, *(found[-1].optimizers if hasattr(found[-1], "optimizers") else ())]


def rated_optimizers(optimizer: PrivateOptimizer) -> list[PrivateOptimizer]:
    """Return the optimizers that hold learning rates: one, or the members of a MultiOptimizer."""
    inner = inner_optimizer(optimizer)
    return [inner_optimizer(member) for member in inner.optimizers] if hasattr(inner, "optimizers") else [inner]


def model_at_work(optimizer: PrivateOptimizer) -> KerasModel | None:
    """Return the model that an optimizer is being built for: of the calls under way, the innermost with such a model.

    None when no call has one, as where somebody builds the optimizer by hand. Keras tells an optimizer its variables
    alone, from which nobody sees what else the model has.
    """
    frame = inspect.currentframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            compiled = isinstance(value, keras.Model) and value.compiled
            if compiled and any(one is optimizer for one in rated_optimizers(value.optimizer)):
                return value
        frame = frame.f_back
    return None


def unknown_weights(optimizer: PrivateOptimizer, weights: Sequence[Variable]) -> list[Variable]:
    """Return the weights for which a built optimizer has no state; none for one that is not built."""
    built = [one for one in rated_optimizers(optimizer) if one.built]
    known = {id(variable) for one in built for variable in one._trainable_variables}
    return [weight for weight in weights if built and id(weight) not in known]


def installed_rate(optimizer: PrivateOptimizer) -> LiveRate | None:
    """Return the LiveRate of an optimizer; None where it has none."""
    rate = inner_optimizer(optimizer)._learning_rate
    return rate if isinstance(rate, LiveRate) else None


def install_rate(optimizer: PrivateOptimizer, formula: Formula, owner: RateOwner) -> LiveRate:
    """Make an optimizer's programs compute the rate as formula(updates so far); they must be traced anew.

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
    observe(optimizer)
    optimizer._learning_rate = LiveRate(optimizer, formula, owner)
    return optimizer._learning_rate


def rate_variable(optimizer: PrivateOptimizer) -> Variable:
    """Return the variable of an optimizer's rate.

    Raises:
        ValueError: When the optimizer was compiled with a schedule.
    """
    rate = inner_optimizer(optimizer)._learning_rate
    rate = rate.variable if isinstance(rate, LiveRate) else rate
    rule = "must be a number in an optimizer whose rate is to be set"
    require(isinstance(rate, keras.Variable), "learning_rate", rule, rate)
    return rate


def applied_gradients(optimizer: PrivateOptimizer) -> int:
    """Return the number of gradients that an optimizer has received; with accumulation, several make one update."""
    return int(keras.ops.convert_to_numpy(inner_optimizer(optimizer)._iterations))


def held_optimizers(model: KerasModel) -> dict[str, PrivateOptimizer]:
    """Return the optimizers in a model's attributes, by name: "optimizer", or "others[0]" in a list or a dictionary."""
    attributes = {name: held for name, held in vars(model).items() if not name.startswith("_self_")}  # TensorFlow's
    return {name: one for attribute in attributes.items() for name, one in optimizers_in(*attribute, ()).items()}


def optimizers_inside(model: KerasModel) -> dict[str, PrivateOptimizer]:
    """Return the optimizers that a model and the models inside it hold, by name; of the n-th layer as "n.optimizer"."""
    trainers = [(number, one) for number, one in enumerate(flat_layers(model)) if is_trainer(one)]
    held = [(f"{number}." if number else "", held_optimizers(one)) for number, one in trainers]
    return {f"{prefix}{name}": one for prefix, found in held for name, one in found.items()}


def optimizers_in(name: str, held: object, around: tuple[int, ...]) -> dict[str, PrivateOptimizer]:
    """Return the optimizers in an attribute, by name; skip a container that holds itself."""
    if isinstance(held, keras.optimizers.Optimizer):
        return {name: held}
    if not isinstance(held, (list, tuple, Mapping)) or id(held) in around:
        return {}
    parts, inside = held if isinstance(held, Mapping) else dict(enumerate(held)), (*around, id(held))
    found = [optimizers_in(f"{name}[{key}]", part, inside) for key, part in parts.items()]
    return {path: one for each in found for path, one in each.items()}


def optimizers_of(model: KerasModel, own_step: bool, chosen: str | None = None) -> dict[str, PrivateOptimizer]:
    """Return the optimizers with rates that a model's training step may use, by name.

    Keras' step uses `model.optimizer`. A step of the model's own may use any optimizer that is an attribute of the
    model; its name is the attribute's. The members of a MultiOptimizer go by their own names.

    Args:
        model: The model.
        own_step: Whether the step is the model's own.
        chosen: The attribute of the one to return; None for all.

    Raises:
        ValueError: When there is none, or none of that name.
    """
    found = {name: one for name, one in held_optimizers(model).items() if not name.startswith("_")}
    if not own_step and chosen is None:
        found = {name: one for name, one in found.items() if name == "optimizer"}
    require(bool(found), "model", "must be compiled, or have an optimizer as an attribute", model.name)
    require(chosen in (None, *found), "optimizer", f"must be an optimizer of the model, of {sorted(found)}", chosen)
    named: dict[str, PrivateOptimizer] = {}
    for name, optimizer in found.items():
        rated = rated_optimizers(optimizer) if chosen in (None, name) else []
        for place, one in enumerate(one for one in rated if all(one is not other for other in named.values())):
            whole = name if len(rated) == 1 else one.name
            named[whole if whole not in named else f"{whole}_{place}"] = one
    require(bool(named), "optimizer", "must be built where it holds others", sorted(found))
    return named


class PlateauCallback(keras.callbacks.ReduceLROnPlateau):
    """Keras' ReduceLROnPlateau, whose action after epochs without improvement is `lower_rates` of a subclass."""

    best: Scalar
    cooldown_counter: int

    def lower_rates(self, epoch: int) -> bool:
        """Lower the rates; return whether any of them could go lower."""
        raise NotImplementedError

    def count(self, epoch: int, current: float) -> None:
        """Count an epoch with its value of the metric, as `ReduceLROnPlateau.on_epoch_end` does."""
        if self.monitor_op is None:
            try:
                self._set_monitor_op()
            except ValueError:
                rule = f"must be 'min' or 'max' for {self.monitor!r}, whose better direction Keras does not know"
                require(False, "mode", rule, self.mode)
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and self.lower_rates(epoch):
                self.cooldown_counter, self.wait = self.cooldown, 0
