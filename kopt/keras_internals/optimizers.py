"""Optimizers: one that updates all parameters in one call, a wrapper of another, and decay before updates."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from kopt.keras_internals.types import PrivateOptimizer, WeightsStore
from kopt.values.checks import require
from kopt.values.types import Annotation, Nest, Scalar, Strategy, Tensor, Variable


class Added(NamedTuple):
    """What is to be added to a parameter in place, where a new value would be another tensor of its size."""

    update: Tensor


class InPlace(NamedTuple):
    """What changes a parameter, and its own variables among those of the state, itself."""

    change: Callable[[Variable, Sequence[Variable]], None]


class ListOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer that updates all parameters in one call, under any strategy.

    Keras' own optimizers update one variable at a time. Subclasses set `state_variables` in `build` and define
    `compute`. Weight decay, clipping, averaging, accumulation and loss scaling stay Keras'.
    """

    state_variables: Sequence[Variable] = ()
    counters: Sequence[Variable] = ()  # what else `compute` reads and changes, behind the state
    keeps_infinity = False  # whether a gradient that is not finite surely makes parameters or state not finite

    def compute(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Variable],
        state: Sequence[Variable],
        rate: Scalar,
        count: Tensor,
    ) -> tuple[Sequence[Tensor | Added | InPlace | None], Sequence[Tensor | None]]:
        """Return the new values of parameters and state, None for a value that stays; a gradient may be None."""
        raise NotImplementedError

    def _backend_update_step(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[Variable], learning_rate: Tensor
    ) -> None:
        pairs = [(gradient, raw(variable)) for gradient, variable in zip(grads, trainable_variables)]
        reduced = self._all_reduce_sum_gradients(pairs)
        positions = [self._get_variable_index(variable) for _, variable in reduced]
        gradients = [gradient for gradient, _ in reduced]
        parameters = [raw(variable) for variable in self._trainable_variables]
        state = [raw(variable) for variable in (*self.state_variables, *self.counters)]

        def on_device(
            _: object,
            gradients: Sequence[Tensor],
            parameters: Sequence[Variable],
            state: Sequence[Variable],
            rate: Scalar,
            count: Tensor,
        ) -> None:
            by_position: list[Tensor | None] = [None] * len(parameters)
            for position, gradient in zip(positions, gradients):
                dense = tf.convert_to_tensor(gradient)
                dense.set_shape(parameters[position].shape)  # of the rows of several replicas it is not known
                by_position[position] = dense
            old, old_state = ([variable.read_value() for variable in group] for group in (parameters, state))
            new_parameters, new_state = self.compute(by_position, old, old_state, rate, count)
            for variable, new in zip([*parameters, *state], [*new_parameters, *new_state], strict=True):
                if isinstance(new, InPlace):
                    new.change(variable, state)
                elif isinstance(new, Added):
                    variable.assign_add(new.update, read_value=False)
                elif new is not None:
                    variable.assign(tf.cast(new, variable.dtype), read_value=False)

        def across_replicas(strategy: Strategy, *arguments: Nest) -> None:
            strategy.extended.update(parameters[0], on_device, args=arguments, group=False)

        rate, count = tf.convert_to_tensor(learning_rate), tf.convert_to_tensor(self.iterations + 1)
        tf.__internal__.distribute.interim.maybe_merge_call(
            across_replicas, self._distribution_strategy, gradients, parameters, state, rate, count
        )


class WrappingOptimizer(keras.optimizers.Optimizer):
    """An optimizer around another, as LossScaleOptimizer is one: it passes all calls of Keras on to the inner one."""

    def __init__(self, inner_optimizer: PrivateOptimizer, name: str | None):
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer, self.scaled = inner_optimizer, False

    def build(self, variables: Sequence[Variable]) -> None:
        self.inner_optimizer.build(variables)
        super().build(variables)

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[Variable] | None = None) -> None:
        if isinstance(self.inner_optimizer, keras.optimizers.LossScaleOptimizer):
            # compile puts another around this one where the policy is mixed_float16, and that one scales alone.
            rule = "must not be put into a second LossScaleOptimizer, nor get gradients of a loss without scale_loss"
            require(self.scaled, "optimizer", rule, self.name)
        if not self.built:
            self.build(list(trainable_variables or ()))
        self.inner_optimizer.apply(grads, trainable_variables)

    def scale_loss(self, loss: Tensor) -> Tensor:
        self.scaled = True
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def save_own_variables(self, store: WeightsStore) -> None:
        """Write nothing: the inner optimizer saves itself."""

    def load_own_variables(self, store: WeightsStore) -> None:
        """Read nothing: the inner optimizer loads itself."""

    variables = property(lambda self: self.inner_optimizer.variables)
    iterations = property(lambda self: self.inner_optimizer.iterations)
    learning_rate = property(
        lambda self: self.inner_optimizer.learning_rate,
        lambda self, rate: setattr(self.inner_optimizer, "learning_rate", rate),
    )

    @property
    def loss_scale_factor(self) -> float | None:
        """The inner optimizer's factor; None before there is an inner optimizer."""
        return self.inner_optimizer.loss_scale_factor if hasattr(self, "inner_optimizer") else None

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor: float | None) -> None:
        """Set the inner optimizer's factor, as Keras' wrappers do; Keras' base class calls this before there is one."""
        if hasattr(self, "inner_optimizer"):
            self.inner_optimizer.loss_scale_factor = factor


def decay_before_updates(optimizer: PrivateOptimizer, chosen: Sequence[Variable], share: Callable[[], Tensor]) -> None:
    """Make an optimizer subtract a share of each chosen parameter before each update, after its own weight decay."""
    wanted, before = {id(variable) for variable in chosen}, optimizer._apply_weight_decay

    def decay(variables: Sequence[Variable]) -> None:
        before(variables)
        decayed = [raw(variable) for variable in variables if id(variable) in wanted]

        def on_device(variable: Variable, taken: Tensor) -> None:
            variable.assign_sub(variable * taken, read_value=False)

        def across_replicas(strategy: Strategy, *taken: Tensor) -> None:
            by_dtype = dict(zip(dtypes, taken, strict=True))
            for variable in decayed:
                strategy.extended.update(variable, on_device, args=(by_dtype[variable.dtype],), group=False)

        dtypes = list(dict.fromkeys(variable.dtype for variable in decayed))
        if decayed:
            whole = tf.convert_to_tensor(share())
            tf.__internal__.distribute.interim.maybe_merge_call(
                across_replicas, optimizer._distribution_strategy, *(tf.cast(whole, dtype) for dtype in dtypes)
            )

    optimizer._apply_weight_decay = decay


# What Keras' optimizers take besides the learning rate; Keras itself takes an argument of any kind.
ARGUMENTS: dict[str, Annotation] = {
    "weight_decay": float | None,
    "clipnorm": float | None,
    "clipvalue": float | None,
    "global_clipnorm": float | None,
    "use_ema": bool,
    "ema_momentum": float,
    "ema_overwrite_frequency": int | None,
    "loss_scale_factor": float | None,
    "gradient_accumulation_steps": int | None,
    "name": str | None,
}


def optimizer_arguments() -> dict[str, inspect.Parameter]:
    """Return what every Keras optimizer takes by name besides the learning rate: clipping, averaging, accumulation."""
    known = keras_arguments()
    return {
        name: known[name].replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
        for name, annotation in ARGUMENTS.items()
    }


def keras_arguments() -> Mapping[str, inspect.Parameter]:
    """Return the parameters of Keras' base class of optimizers."""
    signatures = [inspect.signature(kind.__init__) for kind in keras.optimizers.Optimizer.__mro__]
    return next(one.parameters for one in signatures if "clipnorm" in one.parameters)


def raw(variable: Variable) -> tf.Variable:
    """Return the TensorFlow variable of a Keras variable; any other object as it is."""
    return variable.value if isinstance(variable, keras.Variable) else variable
