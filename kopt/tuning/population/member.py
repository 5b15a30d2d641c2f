"""MemberStep: the training step of one member of a population, as a function of its state and its numbers."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf
from keras.regularizers import Regularizer as KerasRegularizer

from kopt import keras_internals as internals
from kopt import select
from kopt.callbacks.averaging import EMA
from kopt.experiment.recipe import Recipe
from kopt.keras_internals import Added
from kopt.optimizers import Optimizer
from kopt.regularizers import Regularizer
from kopt.regularizers.places import PenaltyPlace, places
from kopt.regularizers.toward_start import Anchored
from kopt.rules import Rule
from kopt.training.feed.batches import rows
from kopt.training.steps.portions import at_places, dense
from kopt.values.field_paths import bind
from kopt.values.types import Batch, KerasModel, Nest, Scalar, Tensor, Variable

Numbers = Mapping[str, Tensor]  # the path of a number in the recipe -> a float64 scalar
Logs = dict[str, Tensor]


class Unmappable(ValueError):
    """Raised when a model's step changes something that no member could have of its own."""


class MemberState(NamedTuple):
    """All that the training of a member changes; a population stacks the states of its members, a row each.

    Attributes:
        weights: The trainable weights.
        others: Statistics, and the states of seed generators.
        metrics: The variables of metrics.
        slots: The state of the update rule.
        average: The averaged weights; empty without an average.
        anchors: The weights at the start that a penalty measures from; they do not change.
        updates: The number of updates.
        skipped: The number of updates that were skipped for a gradient that was not finite.
        averaged: The number of weights in the average.
    """

    weights: list[Tensor]
    others: list[Tensor]
    metrics: list[Tensor]
    slots: list[Tensor]
    average: list[Tensor]
    anchors: list[Tensor]
    updates: Tensor
    skipped: Tensor
    averaged: Tensor

    def but(self, **parts: Nest) -> "MemberState":
        """Return the state with other parts."""
        return MemberState(**{name: parts.get(name, old) for name, old in zip(MemberState.__annotations__, self)})


class MemberStep:
    """The training and evaluation of a member: `TrainStep` and `EvaluateStep` as pure functions.

    The model, its optimizer and its metrics are those of the first recipe; a member's values stand in for the values of
    their variables while the step is traced.

    Args:
        recipe: A recipe of the group.
        model: Its model, as `experiment.run.build` returns it, with metrics that are built.
        augment: The function that changes training batches, and its seed generators.
        steps: The number of updates of an epoch.
    """

    def __init__(
        self, recipe: Recipe, model: KerasModel, augment: tuple[Callable | None, Sequence[Variable]], steps: int
    ):
        self.recipe, self.model, self.steps = recipe, model, steps
        self.changed, seeds = augment
        self.optimizer: Optimizer = model.optimizer
        self.weights: list[Variable] = list(model.trainable_variables)
        others = {id(variable): variable for variable in [*model.non_trainable_variables, *seeds]}
        self.others: list[Variable] = list(others.values())
        self.metrics: list[Variable] = [variable for metric in model.metrics for variable in metric.variables]
        self.places = places(model, select.kernels) if recipe.regularizer is not None else []

    # The state

    def start(self, weights: list[Tensor], others: list[Tensor], numbers: Numbers) -> MemberState:
        """Return the state before the first update."""
        slots = self.rule(numbers).init(self.optimizer.packing.pack(weights))
        zero = tf.zeros((), "int64")
        return MemberState(
            weights,
            others,
            [tf.convert_to_tensor(variable) for variable in self.metrics],
            [tf.cast(one, variable.dtype) for one, variable in zip(keras.tree.flatten(slots), self.slots)],
            list(weights) if self.recipe.average is not None else [],
            [weights[place] for place in self.anchored],
            zero,
            zero,
            zero,
        )

    @property
    def slots(self) -> Sequence[Variable]:
        return self.optimizer.state_variables

    @property
    def anchored(self) -> list[int]:
        """The places of the weights that a penalty measures from."""
        known = {id(variable): place for place, variable in enumerate(self.weights)}
        held = [place for place in self.places if isinstance(place.regularizer, Anchored)]
        return [known[id(variable)] for place in held for variable in place.weights.values()]

    # Parts

    def rule(self, numbers: Numbers) -> Rule:
        """Return a member's update rule."""
        own = {path.partition(".")[2]: number for path, number in numbers.items() if path.startswith("rule.")}
        return bind(self.optimizer.bound, own)

    def rate(self, numbers: Numbers, updates: Scalar) -> Tensor:
        """Return a member's learning rate after so many updates."""
        schedule = bind(self.recipe, numbers).schedule.resolve(float(self.recipe.training.epochs))
        return tf.cast(schedule.formula(tf.cast(updates, "float64") / self.steps), keras.config.floatx())

    @contextlib.contextmanager
    def of(self, state: MemberState, numbers: Numbers) -> Iterator[keras.StatelessScope]:
        """Let the model's variables and penalties be a member's, and collect what is assigned."""
        pairs = [*zip(self.weights, state.weights), *zip(self.others, state.others), *zip(self.metrics, state.metrics)]
        own = penalties(self.places, bind(self.recipe, numbers).regularizer, state.anchors)
        with own, keras.StatelessScope(state_mapping=pairs, collect_losses=True) as scope:
            yield scope
        known = {id(variable) for variable, _ in pairs}
        others = [key for key in scope.state_mapping if key not in known]
        if others:
            raise Unmappable(f"model must change its own variables alone, got {len(others)} others that it changes.")

    def shown(self, state: MemberState, numbers: Numbers) -> list[Tensor]:
        """Return the weights by which a member is evaluated."""
        if self.recipe.average is not None:
            there = state.averaged > 0
            return [tf.where(there, mean, weight) for mean, weight in zip(state.average, state.weights)]
        rule = self.rule(numbers)
        if not rule.has_evaluation_weights:
            return state.weights
        return list(self.optimizer.evaluate(state.weights, state.slots, state.updates, rule))

    # Steps

    def fresh(self, state: MemberState, numbers: Numbers) -> MemberState:
        """Return the state with metrics that are reset."""
        with self.of(state, numbers) as scope:
            self.model.reset_metrics()
            return state.but(metrics=values(scope, self.metrics))

    def update(self, state: MemberState, numbers: Numbers, batch: Batch) -> MemberState:
        """Return the state after the update by one batch, skipped where a gradient is not finite."""
        model = self.model
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        with self.of(state, numbers) as scope:
            x, y = self.changed(x, y) if self.changed is not None else (x, y)
            with tf.GradientTape() as tape:
                tape.watch(state.weights)
                predictions = internals.forward(model, x, training=True)
                loss = internals.compute_loss(model, x, y, predictions, sample_weight, training=True)
                internals.track_loss(model, loss, rows(x))
            gradients = [dense(one) for one in tape.gradient(loss, state.weights)]
            model.compute_metrics(x, y, predictions, sample_weight=sample_weight)
            state = state.but(others=values(scope, self.others), metrics=values(scope, self.metrics))
        return self.updated(state, numbers, gradients)

    def updated(self, state: MemberState, numbers: Numbers, gradients: Sequence[Tensor | None]) -> MemberState:
        """Return the state after the update by some gradients."""
        there = [place for place, gradient in enumerate(gradients) if gradient is not None]
        given, clip = [gradients[place] for place in there], bind(self.recipe, numbers).clip
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in given])
        if clip is not None:
            given = list(clip(given, [state.weights[place] for place in there], 1.0))
        weights, slots = self.optimizer.compute(
            at_places(there, given, len(gradients)),
            state.weights,
            [*state.slots, tf.zeros([len(self.weights)], "int64")],  # each has a gradient in all updates, or in none
            self.rate(numbers, state.updates),
            state.updates + 1,
            self.rule(numbers),
        )
        *slots, _ = slots
        weights = [old + new.update if isinstance(new, Added) else new for new, old in zip(weights, state.weights)]
        weights = [
            old if new is None else tf.where(finite, constrained(variable, tf.cast(new, old.dtype)), old)
            for variable, new, old in zip(self.weights, weights, state.weights)
        ]
        slots = [
            old if new is None else tf.where(finite, tf.cast(new, old.dtype), old)
            for new, old in zip(slots, state.slots)
        ]
        made = tf.cast(finite, "int64")
        state = state.but(weights=weights, slots=slots, updates=state.updates + made, skipped=state.skipped + 1 - made)
        average = bind(self.recipe, numbers).average
        return self.averaged(state, numbers, finite) if isinstance(average, EMA) else state

    def averaged(self, state: MemberState, numbers: Numbers, wanted: Tensor) -> MemberState:
        """Return the state with its weights taken into the average, where that is wanted."""
        average = bind(self.recipe, numbers).average
        assert average is not None
        share = tf.where(wanted, tf.cast(average.share(tf.cast(state.averaged, "float32")), "float32"), 0.0)
        means = [old + (new - old) * tf.cast(share, old.dtype) for old, new in zip(state.average, state.weights)]
        return state.but(average=means, averaged=state.averaged + tf.cast(wanted, "int64"))

    def evaluate(self, state: MemberState, numbers: Numbers, batch: Batch) -> MemberState:
        """Return the state with metrics that took in one batch; `state` has the weights that are shown."""
        model = self.model
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        with self.of(state, numbers) as scope:
            predictions = internals.forward(model, x, training=False)
            loss = internals.compute_loss(model, x, y, predictions, sample_weight, training=False)
            internals.track_loss(model, loss, rows(x))
            model.compute_metrics(x, y, predictions, sample_weight=sample_weight)
            return state.but(metrics=values(scope, self.metrics))

    def results(self, state: MemberState, numbers: Numbers) -> Logs:
        """Return the logs."""
        with self.of(state, numbers):
            return self.model.get_metrics_result()


def values(scope: keras.StatelessScope, variables: Sequence[Variable]) -> list[Tensor]:
    """Return the values of variables at the end of a scope."""
    return [scope.get_current_value(variable) for variable in variables]


def constrained(variable: Variable, value: Tensor) -> Tensor:
    """Return a weight's value within its constraint."""
    return value if variable.constraint is None else variable.constraint(value)


@contextlib.contextmanager
def penalties(
    found: Sequence[PenaltyPlace], regularizer: Regularizer | None, anchors: Sequence[Tensor]
) -> Iterator[None]:
    """Put a member's regularizer in place of the attached one, with the member's starting weights."""
    before = [(one.variable, one.variable.regularizer) for place in found for one in place.parameters]
    left = iter(anchors)
    for place in found:
        attached = place.regularizer
        own: KerasRegularizer | None = regularizer
        if isinstance(attached, Anchored) and regularizer is not None:
            own = attached.started(regularizer, {name: next(left) for name in place.weights})
        for one in place.parameters:
            one.variable.regularizer = own
    try:
        yield
    finally:
        for variable, attached in before:
            variable.regularizer = attached
