"""Optimizer: the Keras optimizer that runs any rule."""

import logging
import math
import numbers
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kopt.keras_internals import Added, InPlace, ListOptimizer, model_at_work, raw
from kopt.optimizers.fused import updated
from kopt.optimizers.packing import SMALL, Packing, Part
from kopt.optimizers.refusals import checked, refuse_twice, refuse_without_head
from kopt.rules import Rule
from kopt.rules.in_float32 import wide
from kopt.values.checks import require
from kopt.values.field_paths import bind
from kopt.values.types import ArrayLike, Config, DType, Json, Nest, Scalar, Tensor, Variable

__all__ = ["Optimizer"]

Formula: TypeAlias = Callable[[Nest, Sequence[Tensor]], Sequence[Tensor]]  # of a rule's state and parameters

log = logging.getLogger("kopt")


@keras.saving.register_keras_serializable(package="kopt")
class Optimizer(ListOptimizer):
    """A `keras.optimizers.Optimizer` that updates by a rule.

    parameter + rule.update(gradients, state, parameters, rate, count). It takes the arguments of Keras' optimizers
    (clipping, averaging, accumulation, loss scaling). `.keras` and `.weights.h5` files hold the rule, and its state by
    name. A parameter begins at its first gradient: the rule counts its updates from there. Parameters of half precision
    have a state of float32, and are rounded after the update.

    Args:
        rule: The update rule.
        learning_rate: A number >= 0, or a schedule over updates; `callbacks.LearningRate` can set a number.
        **arguments: As for `keras.optimizers.Optimizer`.

    Raises:
        ValueError: When the rule is not a rule, the learning rate is negative, or an argument of Keras is of the wrong
            kind, or asks for a weight decay or an average that the rule has itself.

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

    bound: Rule  # the rule for the built variables
    packing: Packing  # the tensors that the rule updates
    structure: Nest  # of the rule's state
    state_paths: Sequence[tuple[str | int, ...]] = ()
    state_places: Sequence[int | None] = ()  # the position of the tensor that a state variable belongs to
    began: Variable  # for each parameter the number of updates before its first gradient, or before now
    # 1 more than the number of updates after which the model was given the rule's evaluation weights; 0 without them
    evaluation_shown: Variable | None = None

    def __init__(self, rule: Rule, learning_rate: Scalar = 0.001, **arguments: Json):
        require(isinstance(rule, Rule), "rule", "must be a kopt rule", rule)
        config = isinstance(learning_rate, dict) and "class_name" in learning_rate
        if not config and (isinstance(learning_rate, type) or not callable(learning_rate)):
            number = isinstance(learning_rate, numbers.Real) and not isinstance(learning_rate, bool)
            require(number, "learning_rate", "must be a number or a schedule", learning_rate)
            learning_rate = float(learning_rate)
            require(0 <= learning_rate < float("inf"), "learning_rate", "must be finite and >= 0", learning_rate)
        super().__init__(learning_rate=learning_rate, **checked(arguments))
        self.rule, self.keeps_infinity = rule, rule.keeps_infinity
        refuse_twice(self.rule, self.weight_decay, self.use_ema)
        self.live: dict[str, Callable[[Tensor], Tensor]] = {}  # path -> a number as a function of past updates
        self.left_out: set[int] = set()  # the positions of parameters that had no gradient in a traced update

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the rule's state for these variables; later calls do nothing."""
        if self.built:
            return
        super().build(variables)
        refuse_without_head(self.rule, model_at_work(self) if self.rule.needs_model else None, variables)
        self.bound = self.rule.bind(variables)
        shapes, dtypes = [tuple(one.shape) for one in variables], [one.dtype for one in variables]
        self.packing = Packing(shapes, dtypes, self.bound.packs)
        self.left_out = set()
        with tf.init_scope():
            self.structure = self._start(variables)
            leaves = keras.tree.flatten_with_path(self.structure)
            self.state_paths = [path for path, _ in leaves]
            self.state_places = [next((step for step in path if isinstance(step, int)), None) for path, _ in leaves]
            self.state_variables = [
                self._state_variable(
                    path, leaf, None if place is None else variables[self.packing.parts[place][0].place]
                )
                for (path, leaf), place in zip(leaves, self.state_places)
            ]
            self.began = self.add_variable((len(variables),), "zeros", dtype="int64", name="began")
            self.counters = [self.began]
            if self.bound.has_evaluation_weights:
                self.evaluation_shown = self.add_variable((), "zeros", dtype="int64", name="evaluation_shown")

    def _start(self, variables: Sequence[Variable]) -> Nest:
        """Return the rule's state before the first update."""
        if all(bool(raw(variable).is_initialized()) for variable in variables):
            return self.bound.init(self.packing.pack(wide([keras.ops.convert_to_tensor(one) for one in variables])))
        # Keras builds a model without an Input while it traces the first step: its weights have no values yet.
        at_zero, at_one = (
            self.bound.init(self.packing.pack(wide([like(one.shape, one.dtype) for one in variables])))
            for like in (tf.zeros, tf.ones)
        )
        rule = f"must be built before it is fitted, for {self.rule!r} starts from its weights"
        require(equal(at_zero, at_one) or self._same_after(at_zero, at_one, variables), "model", rule, "an unbuilt one")
        return at_zero

    def _same_after(self, one: Nest, other: Nest, variables: Sequence[Variable]) -> bool:
        """Return whether the first update makes the same of two states: it takes the weights then."""
        weights = self.packing.pack(wide([tf.ones(variable.shape, variable.dtype) / 2 for variable in variables]))
        return equal(*(self.bound.update(weights, state, weights, 0.1, 1) for state in (one, other)))

    def _state_variable(self, path: Sequence[str | int], leaf: Tensor, parameter: Variable | None) -> Variable:
        """Make the variable of one tensor of the state, placed like its parameter when it has its shape and dtype."""
        name = "_".join(step for step in path if isinstance(step, str))

        def start(shape: Sequence[int], dtype: DType = None) -> Tensor:
            return keras.ops.cast(leaf, dtype)

        dtype = keras.backend.standardize_dtype(leaf.dtype)
        if parameter is not None and (tuple(parameter.shape), parameter.dtype) == (tuple(leaf.shape), dtype):
            return self.add_variable_from_reference(parameter, name=name, initializer=start)
        return self.add_variable(leaf.shape, start, dtype=dtype, name=name)

    def slots(self, position: int) -> dict[str, int]:
        """Return the places of a tensor's state variables among all, by name."""
        return {str(path[-1]): at for at, path in enumerate(self.state_paths) if self.state_places[at] == position}

    def compute(
        self,
        gradients: Sequence[Tensor | None],
        parameters: Sequence[Tensor],
        state: Sequence[Tensor],
        rate: Tensor,
        count: Tensor,
        rule: Rule | None = None,
    ) -> tuple[Sequence[Tensor | Added | InPlace | None], Sequence[Tensor | None]]:
        """Return new parameters and state by the rule; None for a parameter without a gradient and for its state.

        The rule sees half precision as float32, and a parameter's updates are counted from its first gradient. A member
        of a population has a `rule` of its own: the bound one with other numbers.
        """
        *state, began = state
        given = [gradient is not None for gradient in gradients]
        values = wide(parameters)
        dense = [
            tf.zeros_like(parameter) if gradient is None else tf.cast(gradient, parameter.dtype)
            for gradient, parameter in zip(gradients, values)
        ]
        before, tensors = self.structured(state), self.packing.pack(values)
        counts, now = self.counts(given, began, count), rule or self.rule_at(count)
        # A tensor that is alone is changed in place, unless it is to be rounded after the sum.
        places = [parts[0].place if len(parts) == 1 else None for parts in self.packing.parts]
        alone = [place is not None and parameters[place].dtype == values[place].dtype for place in places]
        # A kernel changes variables, which a member of a population has none of, and pays where there is much to do.
        slots = [
            self.slots(position) if one and rule is None and math.prod(tensor.shape) > SMALL else None
            for position, (one, tensor) in enumerate(zip(alone, tensors))
        ]
        updates, after = updated(now, slots, self.packing.pack(dense), before, tensors, rate, counts)
        changes = [
            two if isinstance(two, InPlace) else Added(two) if one else tensor + two
            for one, tensor, two in zip(alone, tensors, updates)
        ]
        new = self.packing.unpack(changes)
        whole = [there and not isinstance(one, InPlace) for there, one in zip(given, new)]
        kept = [
            leaf if place is None else self.packing.kept(whole, place, old, leaf)
            for old, leaf, place in zip(state, keras.tree.flatten(after), self.state_places)
        ]
        begun = None if all(given) else tf.where(tf.constant(given) | (began < count - 1), began, count)
        return [one if there else None for one, there in zip(new, given)], [*kept, begun]

    def counts(self, given: Sequence[bool], began: Tensor, count: Tensor) -> Scalar:
        """Return the count of an update, or a list with one for each tensor where a parameter may have begun later."""
        with tf.init_scope():
            self.left_out |= set(np.flatnonzero(tf.convert_to_tensor(self.began).numpy()))
        self.left_out |= {place for place, there in enumerate(given) if not there}
        # Of tensors side by side each number has a count, which is only worth it where one of them begins.
        late = [
            any(one.place in self.left_out and (given[one.place] or len(parts) == 1) for one in parts)
            for parts in self.packing.parts
        ]
        if not self.bound.counts_each or not any(late):
            return count
        own = count - began
        return [self.packing.of_numbers(own, position) if one else count for position, one in enumerate(late)]

    def evaluate(
        self, parameters: Sequence[Tensor], state: Sequence[Tensor], count: Tensor, rule: Rule | None = None
    ) -> Sequence[Tensor]:
        """Return the rule's evaluation weights for the parameters and the state after so many updates."""
        return self._shown((rule or self.rule_at(count)).evaluate, parameters, state)

    def restore(self, evaluated: Sequence[Tensor], state: Sequence[Tensor], count: Tensor) -> Sequence[Tensor]:
        """Return the parameters of training that have these evaluation weights after so many updates."""
        return self._shown(self.rule_at(count).restore, evaluated, state)

    def _shown(self, formula: Formula, values: Sequence[Tensor], state: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return what `evaluate` or `restore` of the rule makes of values, each in its dtype."""
        found = self.packing.unpack(list(formula(self.structured(state), self.packing.pack(wide(values)))))
        return [tf.cast(new, old.dtype) for new, old in zip(found, values)]

    @property
    def shows_evaluation(self) -> bool:
        """Whether the model has the rule's evaluation weights, and has not been trained since."""
        shown = self.evaluation_shown
        return shown is not None and int(tf.convert_to_tensor(shown)) == int(tf.convert_to_tensor(self.iterations)) + 1

    def show_evaluation(self, shown: bool) -> None:
        """Note whether the model has the rule's evaluation weights."""
        assert self.evaluation_shown is not None
        self.evaluation_shown.assign(int(tf.convert_to_tensor(self.iterations)) + 1 if shown else 0)

    @property
    def trained(self) -> Sequence[Variable]:
        """The variables that the optimizer was built for, in the order of the rule's parameters."""
        return self._trainable_variables

    def structured(self, state: Sequence[Tensor]) -> Nest:
        """Return the values of the state's variables as the rule takes them."""
        return keras.tree.pack_sequence_as(self.structure, list(state))

    def rule_at(self, count: Tensor) -> Rule:
        """Return the rule of an update; a callback schedules its numbers as functions of the count of past updates."""
        return bind(self.bound, {path: number(count - 1) for path, number in self.live.items()})

    def finalize_variable_values(self, var_list: Sequence[Variable]) -> None:
        """Do Keras' work at the end of training; warn when the model does not have the rule's evaluation weights."""
        super().finalize_variable_values(var_list)
        if self.evaluation_shown is not None and not self.shows_evaluation:
            said = "the model has the weights of training, not those for evaluation, of %r: "
            said += "fit it with kopt.fit, or with kopt.callbacks.RuleWeights() among the callbacks"
            log.warning(said, self.rule)

    def save_own_variables(self, store: MutableMapping[str, ArrayLike]) -> None:
        """Write Keras' own variables by position, and the rule's state by name, for each parameter alone."""
        if self.built and np.any(self.began.numpy()):
            store["began"] = self.began.numpy()
        for variable, parts in self._saved():
            value = variable.numpy()
            for name, part in parts.items():
                store[name] = value if part is None else value[part.numbers].reshape(part.shape)

    def load_own_variables(self, store: Mapping[str, ArrayLike]) -> None:
        """Read the variables that `save_own_variables` wrote.

        Raises:
            ValueError: When the file holds the state of another rule or another model.
        """
        if not self.built:
            super().load_own_variables(store)
            return
        saved = self._saved()
        names = {name for _, parts in saved for name in parts}
        held = set(store.keys()) - {"began"}
        if all(name.isdecimal() for name in held) and not np.any(store["0"]):  # saved before there was a state
            saved = [(variable, parts) for variable, parts in saved if held >= parts.keys()]
            names = held
        require(held == names, "file", f"must hold the state of {self.rule!r}", sorted(store.keys()))
        began = np.asarray(store["began"]) if "began" in store.keys() else np.zeros(self.began.shape)  # noqa: SIM118
        require(began.shape == self.began.shape, "began in the file", "must have a number a parameter", began.shape)
        for variable, parts in saved:
            values = [np.asarray(store[name]) for name in parts]
            for value, (name, part) in zip(values, parts.items()):
                shape = tuple(variable.shape) if part is None else part.shape
                require(value.shape == shape, f"{name} in the file", f"must have the shape {shape}", value.shape)
            packed = None not in parts.values()
            variable.assign(np.concatenate([value.reshape(-1) for value in values]) if packed else values[0])
        self.began.assign(began)

    def _saved(self) -> list[tuple[Variable, dict[str, Part | None]]]:
        """Return the variables and, by its key in a file, each part of them; None for a variable that is not packed."""
        state = {id(variable) for variable in (*self.state_variables, *self.counters)}
        others = [variable for variable in self.variables if id(variable) not in state]
        found: list[tuple[Variable, dict[str, Part | None]]] = []
        found += [(variable, {str(place): None}) for place, variable in enumerate(others)]
        for variable, path, place in zip(self.state_variables, self.state_paths, self.state_places):
            parts = [] if place is None else self.packing.parts[place]
            named = {named_at(path, part.place): part if len(parts) > 1 else None for part in parts}
            found.append((variable, named or {named_at(path, None): None}))
        return found

    def get_config(self) -> Config:
        """Return the rule and the arguments of Keras' optimizers."""
        return {**super().get_config(), "rule": keras.saving.serialize_keras_object(self.rule)}

    @classmethod
    def from_config(cls, config: Mapping[str, Json], custom_objects: Mapping[str, type] | None = None) -> "Optimizer":
        """Build the optimizer from its config."""
        rule = keras.saving.deserialize_keras_object(config["rule"], custom_objects=custom_objects)
        return super().from_config({**config, "rule": rule}, custom_objects=custom_objects)


def equal(one: Nest, other: Nest) -> bool:
    """Return whether the tensors of two nests have the same numbers."""
    return all(bool(tf.reduce_all(a == b)) for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other)))


def named_at(path: Sequence[str | int], place: int | None) -> str:
    """Return the name of a state in files: its path, with the position of a parameter in place of the tensor's."""
    steps = list(path)
    if place is not None:
        steps[next(at for at, step in enumerate(steps) if isinstance(step, int))] = place
    return ".".join(map(str, steps))
