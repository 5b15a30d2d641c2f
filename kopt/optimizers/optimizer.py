"""One Keras optimizer that runs any rule."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kopt.keras_internals import ListOptimizer, raw
from kopt.rules import Rule
from kopt.values.checks import require
from kopt.values.field_paths import bind

__all__ = ["Optimizer"]


@keras.saving.register_keras_serializable(package="kopt")
class Optimizer(ListOptimizer):
    """A `keras.optimizers.Optimizer` that updates by a rule.

    parameter + rule.update(gradients, state, parameters, rate, count). It takes Keras' arguments for optimizers
    (clipping, averaging, accumulation, loss scaling) and saves the rule and its state, by name, in `.keras` and
    `.weights.h5` files.

    Args:
        rule: The update rule.
        learning_rate: A number >= 0 or a schedule over updates; `callbacks.LearningRate` steers a number.
        **arguments: As for `keras.optimizers.Optimizer`.

    Raises:
        ValueError: When the rule is none, or the learning rate is negative.

    Example:
        >>> import keras, numpy as np
        >>> from kopt.rules import Momentum
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(Optimizer(Momentum(0.8), 0.1), "mse")
        >>> _ = model.fit(np.eye(2), np.ones((2, 1)), verbose=0)
        >>> int(model.optimizer.iterations)
        1

    Source:
        The split of rule and optimizer is optax's.
    """

    def __init__(self, rule: Rule, learning_rate: Any = 0.001, **arguments: Any):
        require(isinstance(rule, Rule), "rule", "must be a kopt rule", rule)
        config = isinstance(learning_rate, dict) and "class_name" in learning_rate
        if not config and (isinstance(learning_rate, type) or not callable(learning_rate)):
            number = isinstance(learning_rate, numbers.Real) and not isinstance(learning_rate, bool)
            require(number, "learning_rate", "must be a number or a schedule", learning_rate)
            learning_rate = float(learning_rate)
            require(0 <= learning_rate < float("inf"), "learning_rate", "must be finite and >= 0", learning_rate)
        super().__init__(learning_rate=learning_rate, **arguments)
        self.rule = rule
        self.live: dict[str, Any] = {}

    def build(self, variables: Sequence[Any]) -> None:
        """Make the rule's state for these variables; only the first call counts."""
        if self.built:
            return
        super().build(variables)
        self.bound = self.rule.bind(variables)
        with tf.init_scope():
            self.structure = self._start(variables)
            self.state_names, self.state_places, self.state_variables = [], [], []
            for path, leaf in keras.tree.flatten_with_path(self.structure):
                place = next((step for step in path if isinstance(step, int)), None)
                self.state_places.append(place)
                self.state_names.append(".".join(map(str, path)))
                self.state_variables.append(
                    self._state_variable(path, leaf, None if place is None else variables[place])
                )

    def _start(self, variables: Sequence[Any]) -> Any:
        if all(bool(raw(variable).is_initialized()) for variable in variables):
            return self.bound.init([keras.ops.convert_to_tensor(variable) for variable in variables])
        # Keras builds a model without an Input while it traces the first step: its weights have no values yet.
        at_zero, at_one = (
            self.bound.init([like(variable.shape, variable.dtype) for variable in variables])
            for like in (tf.zeros, tf.ones)
        )
        same = all(bool(tf.reduce_all(a == b)) for a, b in zip(tf.nest.flatten(at_zero), tf.nest.flatten(at_one)))
        require(
            same,
            "model",
            f"must be built before it is fitted, for {self.rule!r} starts from its weights",
            "an unbuilt one",
        )
        return at_zero

    def _state_variable(self, path: Sequence[Any], leaf: Any, reference: Any | None) -> Any:
        name = "_".join(str(step) for step in path if isinstance(step, str))

        def start(shape: Any, dtype: Any = None) -> Any:
            return keras.ops.cast(leaf, dtype)

        if reference is not None and tuple(reference.shape) == tuple(leaf.shape):
            return self.add_variable_from_reference(reference, name=name, initializer=start)
        return self.add_variable(leaf.shape, start, dtype=keras.backend.standardize_dtype(leaf.dtype), name=name)

    def compute(
        self, gradients: Sequence[Any], parameters: Sequence[Any], state: Sequence[Any], rate: Any, count: Any
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        """New parameters and state by the rule; a parameter without a gradient keeps its value and its state."""
        given = [gradient is not None for gradient in gradients]
        dense = [
            tf.zeros_like(parameter) if gradient is None else tf.cast(gradient, parameter.dtype)
            for gradient, parameter in zip(gradients, parameters)
        ]
        structured = keras.tree.pack_sequence_as(self.structure, list(state))
        # Numbers that a callback schedules: functions of the updates before this one.
        rule = bind(self.bound, {path: number(count - 1) for path, number in self.live.items()})
        updates, new_state = rule.update(dense, structured, list(parameters), rate, count)
        new_parameters = [
            parameter + update if there else None for parameter, update, there in zip(parameters, updates, given)
        ]
        leaves = keras.tree.flatten(new_state)
        kept = [leaf if place is None or given[place] else None for leaf, place in zip(leaves, self.state_places)]
        return new_parameters, kept

    def save_own_variables(self, store: Any) -> None:
        """Write Keras' own variables by place, the rule's state by name."""
        for name, variable in self._saved_variables().items():
            store[name] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Read what `save_own_variables` wrote.

        Raises:
            ValueError: When the file is of another rule or another model.
        """
        if not self.built:
            super().load_own_variables(store)
            return
        variables = self._saved_variables()
        require(
            set(store.keys()) == set(variables), "file", f"must hold the state of {self.rule!r}", sorted(store.keys())
        )
        for name, variable in variables.items():
            variable.assign(store[name])

    def _saved_variables(self) -> dict[str, Any]:
        state = {id(variable): name for variable, name in zip(self.state_variables, getattr(self, "state_names", ()))}
        others = [variable for variable in self.variables if id(variable) not in state]
        by_place = {str(place): variable for place, variable in enumerate(others)}
        return by_place | {state[id(variable)]: variable for variable in self.state_variables}

    def get_config(self) -> dict[str, Any]:
        """The rule and Keras' arguments."""
        return {**super().get_config(), "rule": keras.saving.serialize_keras_object(self.rule)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> "Optimizer":
        """Build the optimizer back from `get_config`."""
        rule = keras.saving.deserialize_keras_object(config["rule"], custom_objects=custom_objects)
        return super().from_config({**config, "rule": rule}, custom_objects=custom_objects)
