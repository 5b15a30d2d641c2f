"""Optimizers: one that updates all parameters in a call."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class ListOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer that updates all parameters in one call, under any strategy.

    Keras' own takes one variable at a time. Subclasses set `state_variables` in `build` and write `compute`; weight
    decay, clipping, averaging, accumulation and loss scaling stay Keras'.
    """

    state_variables: Sequence[Any] = ()

    def compute(
        self, gradients: Sequence[Any], parameters: Sequence[Any], state: Sequence[Any], rate: Any, count: Any
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        """New values of the parameters and of the state, None where one stays; a gradient may be None."""
        raise NotImplementedError

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        pairs = [(gradient, raw(variable)) for gradient, variable in zip(grads, trainable_variables)]
        reduced = self._all_reduce_sum_gradients(pairs)
        positions = [self._get_variable_index(variable) for _, variable in reduced]
        gradients = [gradient for gradient, _ in reduced]
        parameters = [raw(variable) for variable in self._trainable_variables]
        state = [raw(variable) for variable in self.state_variables]

        def on_device(_: Any, gradients: Any, parameters: Any, state: Any, rate: Any, count: Any) -> None:
            by_position: list[Any] = [None] * len(parameters)
            for position, gradient in zip(positions, gradients):
                by_position[position] = tf.convert_to_tensor(gradient)
            old, old_state = ([variable.read_value() for variable in group] for group in (parameters, state))
            new_parameters, new_state = self.compute(by_position, old, old_state, rate, count)
            for variable, new in zip([*parameters, *state], [*new_parameters, *new_state], strict=True):
                if new is not None:
                    variable.assign(tf.cast(new, variable.dtype), read_value=False)

        def across_replicas(strategy: Any, *arguments: Any) -> None:
            strategy.extended.update(parameters[0], on_device, args=arguments, group=False)

        rate, count = tf.convert_to_tensor(learning_rate), tf.convert_to_tensor(self.iterations + 1)
        tf.__internal__.distribute.interim.maybe_merge_call(
            across_replicas, self._distribution_strategy, gradients, parameters, state, rate, count
        )


def raw(variable: Any) -> Any:
    """The TensorFlow variable of a Keras variable."""
    return variable.value if isinstance(variable, keras.Variable) else variable
