"""Decayed: weight decay of chosen parameters around any optimizer."""

import functools
from collections.abc import Mapping, Sequence

import keras

from kopt.keras_internals import WrappingOptimizer, decay_before_updates, rated_optimizers
from kopt.optimizers.optimizer import Optimizer
from kopt.select import SelectorLike, as_selector, kernels
from kopt.state.knob import Knob
from kopt.values.checks import require
from kopt.values.field_paths import number_paths, read
from kopt.values.types import Config, Json, KerasOptimizer, Tensor, Variable

__all__ = ["Decayed"]


@keras.saving.register_keras_serializable(package="kopt")
class Decayed(WrappingOptimizer):
    """Decoupled weight decay of the chosen parameters, before each update of another optimizer.

    parameter <- parameter - learning rate * rate * parameter, or, when independent, parameter - rate * parameter; then
    the update of the optimizer, whose gradient was computed before the decay. The selector is saved with the optimizer.
    The decay works with LossScaleOptimizer and MultiOptimizer in any order. It happens once an update when gradients
    are accumulated, and not when a step is skipped. It follows schedules of the learning rate. The optimizer may be
    another `Decayed`.

    Args:
        optimizer: A Keras optimizer that has no weight decay itself, or its name as for `compile`, which gives the
            default learning rate.
        rate: The share of a parameter that an update subtracts (at learning rate 1, unless independent), >= 0. The
            attribute `rate` is a Knob: set it or schedule it (`callbacks.Scheduled`) without a retrace.
        to: The parameters to decay; kernels by default, without biases, norms and embeddings. A selector by layers
            (paths, types, depths) must be bound: `to=select.path("head/*").bind(model)`, and so must a pattern.
        independent: Whether the decay does not depend on the learning rate.
        name: The name of this optimizer.

    Raises:
        ValueError: When the rate is out of range, the optimizer has a weight decay itself, or, at the first update,
            nothing is chosen or the selector is not bound.

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
        self,
        optimizer: KerasOptimizer | str,
        rate: float,
        to: SelectorLike = kernels,
        *,
        independent: bool = False,
        name: str | None = None,
    ):
        known = isinstance(optimizer, keras.optimizers.Optimizer) or str(optimizer).lower() in names()
        require(known, "optimizer", "must be a Keras optimizer or the name of one", optimizer)
        inner, selector = keras.optimizers.get(optimizer), as_selector(to)
        number = isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 <= rate < float("inf")
        require(number, "rate", "must be a finite number >= 0", rate)
        require(isinstance(independent, bool), "independent", "must be True or False", independent)
        super().__init__(inner, name)
        self.to, self.independent = selector, independent
        self.rate = Knob(rate, "float64", name="weight_decay")
        self.refuse_second_decay()

    def build(self, variables: Sequence[Variable]) -> None:
        """Choose the parameters to decay and build the wrapped optimizer; later calls do nothing."""
        if self.built:
            return
        chosen = self.to.choose_from(variables)
        super().build(variables)
        self.refuse_second_decay()  # a MultiOptimizer may have made its optimizers only now
        for optimizer in rated_optimizers(self.inner_optimizer):
            decay_before_updates(optimizer, chosen, functools.partial(self.share, optimizer))

    def share(self, optimizer: KerasOptimizer) -> Tensor:
        """Return the share of each chosen parameter that the next update of an inner optimizer subtracts."""
        rate = keras.ops.convert_to_tensor(self.rate.value)  # float64: torch and the formula round after the product
        return rate if self.independent else rate * keras.ops.cast(optimizer.learning_rate, rate.dtype)

    def refuse_second_decay(self) -> None:
        """Raise ValueError when an inner optimizer has a weight decay itself."""
        for optimizer in rated_optimizers(self.inner_optimizer):
            paths = number_paths(optimizer.rule) if isinstance(optimizer, Optimizer) else []
            of_rule = [read(optimizer.rule, path) for path in paths if path.rpartition(".")[2] == "weight_decay"]
            own = max(of_rule, default=0.0) or optimizer.weight_decay
            require(
                not own, "optimizer", "must have no weight decay of its own to be Decayed", f"{own:g}" if own else own
            )

    def exclude_from_weight_decay(self, *arguments: object, **named: object) -> None:
        """Raise ValueError: Keras does not save the exclusions."""
        raise ValueError("exclude_from_weight_decay must be left to `to` of Decayed, which is saved, got a call of it.")

    def get_config(self) -> Config:
        """Return the arguments, with the wrapped optimizer and the present rate."""
        return {
            "optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "rate": float(self.rate),
            "to": keras.saving.serialize_keras_object(self.to),
            "independent": self.independent,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Json], custom_objects: Mapping[str, type] | None = None) -> "Decayed":
        """Build the optimizer from its config."""
        nested = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in ("optimizer", "to")
        }
        return cls(**{**config, **nested})


def names() -> set[str]:
    """Return the names that `keras.optimizers.get` takes."""
    kinds = [kind for kind in vars(keras.optimizers).values() if isinstance(kind, type)]
    return {kind.__name__.lower() for kind in kinds if issubclass(kind, keras.optimizers.Optimizer)}
