"""A batch in parts: the gradients of a replica's micro-batches add up to the gradient of the whole batch."""

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import keras
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.keras_internals import Kinds, Portion
from kopt.training.feed.batches import parts, rows
from kopt.values.checks import require
from kopt.values.types import Batch, DType, KerasModel, Nest, Tensor, Variable

Gradient: TypeAlias = Tensor  # or tf.IndexedSlices, or None where the loss does not depend on a weight
Gradients: TypeAlias = list[Gradient]
State: TypeAlias = list[tuple[Variable, Tensor]]
Parted = TypeVar("Parted")  # what is computed of a part


class Portions:
    """The computation of one replica's gradients and loss of a batch, as sums over its micro-batches.

    An empty part has no effect. It is left out if the number of examples is known while the step is traced, and else
    skipped in the graph. On several replicas, which must run the same reductions, it is computed and undone.

    Args:
        model: The compiled model.
        count: Number of micro-batches.
        weights: The variables to differentiate by.
        measured: The kinds of losses that were measured before; new measurements are added.
        again: Whether `at` will be called: the statistics and seeds before each part are kept for it.
    """

    def __init__(
        self,
        model: KerasModel,
        count: int,
        weights: Sequence[Variable],
        measured: "LossMeasurements",
        again: bool = False,
    ):
        self.model, self.count, self.weights, self.measured = model, count, weights, measured
        self.again, self.starts = again, list[State]()
        self.moved: Sequence[Tensor] | None = None  # the weights of a second gradient, while it is computed
        self.start: State = []
        self.several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        self.totals: Sequence[Tensor | None] | None = None
        self.last: tuple[Batch, Nest] = ((None, None, None), None)

    def of_batch(self, data: Batch) -> tuple[Gradients, Tensor, Callable[[], Nest]]:
        """Return the gradients, the loss, and a function that gives the logs."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self.all_examples = summed(rows(x))
        if self.count > 1:
            # Only masks need the model's outputs; else this call is pruned from the graph.
            predictions = internals.forward(self.model, x, training=False)
            found = internals.denominators(self.model, y, predictions, sample_weight)
            self.totals = [None if one is None else summed(one) for one in found]
        return self.of_parts(data)

    def at(self, data: Batch, moved: Sequence[Tensor]) -> Gradients:
        """Return the gradients at other weights; each part has the statistics and seeds that it had, none changes."""
        self.moved = moved
        gradients, _, _ = self.of_parts(data)
        self.moved = None
        return gradients

    def of_parts(self, data: Batch) -> tuple[Gradients, Tensor, Callable[[], Nest]]:
        """Return what `of_batch` does, after what all parts need is known."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        *first, last = parts((x, y, sample_weight), rows(x), self.count)
        sums, whole = [None] * len(self.weights), tf.constant(0.0)
        for place, part in enumerate(first):
            self.begin(place)
            gradients, loss = self.in_turn(sums, part, self.counted)
            sums, whole = [added(one, other) for one, other in zip(sums, gradients)], whole + loss
        self.begin(len(first))
        gradients, loss, predictions = self.in_turn(sums, last, self.of_part)
        self.last = last, predictions
        logs = lambda: self.logs(last, predictions)
        return [added(one, other) for one, other in zip(sums, gradients)], whole + loss, logs

    def metrics(self) -> Mapping[str, Tensor]:
        """Return the metrics of the last batch alone, over all replicas; not the losses."""
        rule = "must be 1 for the metrics of single batches: the outputs of a micro-batch are not kept"
        require(self.count == 1, "micro_batches", rule, self.count)
        (x, y, sample_weight), predictions = self.last
        there = lambda value: summed(tf.where(rows(x) > 0, value, tf.zeros_like(value)))
        return internals.metrics_alone(self.model, x, y, predictions, sample_weight, there)

    def begin(self, place: int) -> None:
        """Keep the statistics and seeds before a part, or take those that were kept."""
        if self.moved is not None:
            self.start = self.starts[place]
        elif self.again:
            self.starts.append(internals.state_of(self.model))

    def in_turn(self, sums: Gradients, part: Batch, compute: Callable[[Batch], Parted]) -> Parted:
        """Compute a part after the parts before it, so that the activations of one part are in memory at a time."""
        with tf.control_dependencies([one for one in sums if one is not None]):
            part = tf.nest.map_structure(lambda leaf: None if leaf is None else tf.identity(leaf), part)
            return compute(part)

    def counted(self, part: Batch) -> tuple[Gradients, Tensor]:
        """Return the gradients and the loss of a part other than the last, and update the metrics with it."""
        if self.several:
            gradients, loss, predictions = self.of_part(part)
            self.logs(part, predictions)
            return gradients, loss
        places = list[int]()

        def compute() -> tuple[Gradients, Tensor]:
            gradients, loss, predictions = self.of_part(part)
            self.logs(part, predictions)
            places[:] = [place for place, gradient in enumerate(gradients) if gradient is not None]
            return [gradients[place] for place in places], loss

        nothing = lambda: ([tf.zeros_like(self.weights[place]) for place in places], tf.constant(0.0))
        known = tf.get_static_value(rows(part)) is not None
        found, loss = compute() if known else tf.cond(rows(part) > 0, compute, nothing)
        return at_places(places, found, len(self.weights)), loss

    def of_part(self, part: Batch) -> tuple[Gradients, Tensor, Nest]:
        """Return the gradients of a part, zeros where it is empty, its share of the loss, and the predictions."""
        if not self.several:
            return self.of_portion(part)
        examples = rows(part)
        # A batch has examples somewhere, one of its parts may have none anywhere.
        undo = self.undoing(summed(examples) > 0) if self.count > 1 and self.moved is None else None
        gradients, loss, predictions = self.of_portion(part)
        if undo:
            undo()
        there = [gradient for gradient in gradients if gradient is not None]
        zeros = lambda: [tf.zeros_like(gradient) for gradient in there]
        left = iter(tf.cond(examples > 0, lambda: there, zeros))
        return [None if gradient is None else next(left) for gradient in gradients], loss, predictions

    def undoing(self, real: Tensor) -> Callable[[], None]:
        """Return a function that puts statistics and seeds back to their values of now, unless a part has examples."""
        variables = self.model.non_trainable_variables
        before = [tf.identity(variable) for variable in variables]

        def undo() -> None:
            for variable, old in zip(variables, before):
                variable.assign(tf.where(real, tf.convert_to_tensor(variable), old))

        return undo

    def of_portion(self, part: Batch) -> tuple[Gradients, Tensor, Nest]:
        """Return the gradients of a part, empty or not, its share of the loss, and the predictions."""
        model, (x, y, sample_weight) = self.model, part
        moved = None if self.moved is None else [tf.identity(one) for one in self.moved]
        nothing = contextlib.nullcontext()
        scope = nothing if moved is None else internals.elsewhere(self.weights, moved, self.start)
        with tf.GradientTape() as tape, scope:
            tape.watch(moved or [])
            predictions = internals.forward(model, x, training=True)
            kinds = self.measured.kinds(x, y, predictions, sample_weight, training=True)
            portion = Portion(rows(x), self.all_examples, summed, self.totals, kinds)
            loss = internals.portion_loss(model, portion, x, y, predictions, sample_weight, training=True)
            internals.track_portion(model, loss, portion)
            loss *= portion.share(loss.dtype)
            scaled = model.optimizer.scale_loss(loss)
        gradients = [dense(gradient) for gradient in tape.gradient(scaled, self.weights if moved is None else moved)]
        return gradients, total(loss, portion), predictions

    def logs(self, part: Batch, predictions: Nest) -> Nest:
        """Update the metrics with a part, but for a second gradient; return their results."""
        if self.moved is not None:
            return {}
        x, y, sample_weight = part
        if self.several:
            return counted(self.model, x, y, predictions, sample_weight)
        return self.model.compute_metrics(x, y, predictions, sample_weight=sample_weight)


class LossMeasurements:
    """Measurements of how a model's losses add up over parts of a batch, see `keras_internals.additive`.

    Args:
        model: The compiled model.
    """

    def __init__(self, model: KerasModel):
        self.model, self.found = model, dict[Hashable, Kinds]()

    def kinds(self, x: Nest, y: Nest, y_pred: Nest, sample_weight: Nest, training: bool) -> Kinds:
        """Return how the losses of the call that has just been made add up.

        Raises:
            ValueError: When one is neither a number an example nor a mean or a sum over examples.
        """
        model = self.model
        shapes = tf.nest.map_structure(spec, (x, y, y_pred, sample_weight))
        key = internals.compiled_loss(model), str(shapes), training
        if key not in self.found:
            compiled = internals.kinds_of_losses(model, y, y_pred, sample_weight)
            kinds = Kinds(compiled, internals.kinds_of_added(model, x, training))
            internals.require_additive(model, x, y, sample_weight, kinds)
            self.found[key] = kinds
        return self.found[key]


def spec(leaf: Tensor | None) -> tuple[tuple[int | None, ...], DType] | None:
    """Return a tensor's shape without the number of examples, and its dtype."""
    return None if leaf is None else (tuple(leaf.shape)[1:], leaf.dtype)


def counted(model: KerasModel, x: Nest, y: Nest, y_pred: Nest, sample_weight: Nest) -> Nest:
    """Update the metrics with a replica's predictions, if it has any; return their results."""
    compute = lambda: model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
    if internals.has_own_metrics(model):
        return compute()
    internals.either(rows(x) > 0, compute, lambda: None)
    return model.get_metrics_result()


def summed(values: Nest) -> Nest:
    """Return the sum over replicas."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def total(loss: Tensor, portion: Portion) -> Tensor:
    """Return a portion's loss as one number: a loss without a reduction has one number an example."""
    return portion.if_any(tf.reduce_mean(loss)) * portion.share(loss.dtype) if loss.shape.rank else loss


def added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Return the sum of two gradients, either of which may be None."""
    return other if one is None else one if other is None else one + other


def dense(gradient: Gradient) -> Tensor | None:
    """Return a gradient as a dense tensor; None where it is None."""
    return tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient


def at_places(places: Sequence[int], values: Sequence[Gradient], size: int) -> list[Gradient]:
    """Return a list of a given size with values at some places and None at the others."""
    found: list[Gradient] = [None] * size
    for place, value in zip(places, values):
        found[place] = value
    return found
