"""Decayed: weight decay of chosen parameters around any optimizer."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kopt.keras_internals import WrappingOptimizer, decay_before_updates, rated_optimizers
from kopt.optimizers.optimizer import Optimizer
from kopt.select import Selector, kernels
from kopt.state.knobs import Knob
from kopt.values.checks import require
from kopt.values.field_paths import number_paths, read

__all__ = ["Decayed"]


@keras.saving.register_keras_serializable(package="kopt")
class Decayed(WrappingOptimizer):
    """Decoupled weight decay of the chosen parameters, before each update of another optimizer.

    parameter <- parameter - learning rate * rate * parameter, or with independent parameter - rate * parameter; then
    the optimizer's update, whose gradient was taken before. The choice is saved with the optimizer. It reaches through
    LossScaleOptimizer and MultiOptimizer in any order, decays once an update where gradients are accumulated and not
    when a step is skipped, follows schedules of the learning rate, and may wrap another `Decayed`.

    Args:
        optimizer: A Keras optimizer without weight decay of its own, or the name of one as `compile` takes it: with its
            default learning rate.
        rate: The share of a parameter that an update takes away (at learning rate 1, unless independent), >= 0. It is a
            Knob, the attribute `rate`: set it or schedule it (`callbacks.Scheduled`) without a retrace.
        to: Which parameters; kernels by default, so biases, norms and embeddings are left out. What depends on layers
            (paths, types, depths) must be bound: `to=select.path("head/*").bind(model)`.
        independent: Whether the decay is not multiplied by the learning rate.
        name: The optimizer's name.

    Raises:
        ValueError: When the rate is out of range, the optimizer has a weight decay of its own, or, when it is built,
            nothing is chosen or the choice is not bound.

    Example:
        >>> optimizer, kernel = Decayed(keras.optimizers.SGD(0.5), 0.1), keras.Variable([2.0, 4.0], name="kernel")
        >>> optimizer.apply([keras.ops.zeros(2)], [kernel])  # without a gradient, the decay alone
        >>> print(kernel.numpy())
        [1.9 3.8]

    Source:
        Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, algorithm 2; independent: Wortsman et al.,
        Small-scale proxies for large-scale Transformer training instabilities, 2023, section 3.2.2.
    """

    def __init__(
        self, optimizer: Any, rate: float, to: Selector = kernels, *, independent: bool = False, name: str | None = None
    ):
        known = isinstance(optimizer, keras.optimizers.Optimizer) or str(optimizer).lower() in names()
        require(known, "optimizer", "must be a Keras optimizer or the name of one", optimizer)
        inner = keras.optimizers.get(optimizer)
        require(isinstance(to, Selector), "to", "must be a selector, such as kopt.select.kernels", to)
        number = isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 <= rate < float("inf")
        require(number, "rate", "must be a finite number >= 0", rate)
        require(isinstance(independent, bool), "independent", "must be True or False", independent)
        super().__init__(inner, name)
        self.to, self.independent = to, independent
        self.rate = Knob(rate, "float64", name="weight_decay")
        self.refuse_second_decay()

    def build(self, variables: Sequence[Any]) -> None:
        """Choose among these variables, and build the wrapped optimizer; only the first call counts."""
        if self.built:
            return
        chosen = self.to.choose_from(variables)
        super().build(variables)
        self.refuse_second_decay()  # a MultiOptimizer may have made its optimizers only now
        for optimizer in rated_optimizers(self.inner_optimizer):
            decay_before_updates(optimizer, chosen, functools.partial(self.share, optimizer))

    def share(self, optimizer: Any) -> Any:
        """The share of each chosen parameter that one of the optimizers' next update takes away."""
        rate = keras.ops.convert_to_tensor(self.rate.value)  # float64: torch and the formula multiply before they round
        return rate if self.independent else rate * keras.ops.cast(optimizer.learning_rate, rate.dtype)

    def refuse_second_decay(self) -> None:
        for optimizer in rated_optimizers(self.inner_optimizer):
            paths = number_paths(optimizer.rule) if isinstance(optimizer, Optimizer) else []
            own = read(optimizer.rule, "weight_decay") if "weight_decay" in paths else optimizer.weight_decay
            require(
                not own, "optimizer", "must have no weight decay of its own to be Decayed", f"{own:g}" if own else own
            )

    def exclude_from_weight_decay(self, *arguments: Any, **named: Any) -> None:
        """Refuse Keras' way, which is lost on saving."""
        raise ValueError("exclude_from_weight_decay must be left to `to` of Decayed, which is saved, got a call of it.")

    def get_config(self) -> dict[str, Any]:
        """The arguments, the wrapped optimizer among them; the rate as it is now."""
        return {
            "optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "rate": float(self.rate),
            "to": keras.saving.serialize_keras_object(self.to),
            "independent": self.independent,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> "Decayed":
        """Build it back from `get_config`."""
        nested = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("optimizer", "to")
        }
        return cls(**{**config, **nested})


def names() -> set[str]:
    """Return the names that `keras.optimizers.get` takes."""
    kinds = [kind for kind in vars(keras.optimizers).values() if isinstance(kind, type)]
    return {kind.__name__.lower() for kind in kinds if issubclass(kind, keras.optimizers.Optimizer)}
