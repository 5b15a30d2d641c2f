"""Private parts of one training step: the loss of a batch, and updates by gradients that are reduced."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import tensorflow as tf
from keras.src.losses.loss import unscale_loss_for_distribution
from tensorflow.python.distribute.distribute_lib import _DefaultDistributionStrategy

from kopt.keras_internals.numbers import optimizers_within, rated_optimizers
from kopt.keras_internals.optimizers import ListOptimizer
from kopt.keras_internals.types import KerasMetric, PrivateModel, PrivateOptimizer
from kopt.values.types import Batch, Nest, Scalar, Step, Strategy, Tensor, Variable

MERGING = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)


def forward(model: PrivateModel, x: Nest, training: bool) -> Nest:
    """Call a model, with `training` if its call method takes that."""
    return model(x, training=training) if model._call_has_training_arg else model(x)


def compute_loss(model: PrivateModel, x: Nest, y: Nest, y_pred: Nest, sample_weight: Nest, training: bool) -> Tensor:
    """Return a model's whole loss, penalties included, divided by the number of replicas."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)


def track_loss(model: PrivateModel, loss: Tensor, examples: Tensor) -> None:
    """Update the metric "loss" with a batch's loss."""
    model._loss_tracker.update_state(unscale_loss_for_distribution(loss), sample_weight=examples)


def metrics_alone(
    model: PrivateModel,
    x: Nest,
    y: Nest,
    y_pred: Nest,
    sample_weight: Nest,
    summed: Callable[[Tensor], Tensor] = tf.identity,
) -> dict[str, Tensor]:
    """Return a model's metrics of one batch alone, but for its losses and metrics of several numbers.

    The metrics' variables, which must have been made, stay as they are.

    Args:
        model: The compiled model.
        x: Inputs.
        y: Targets.
        y_pred: The model's outputs.
        sample_weight: Weights of the examples, or None.
        summed: Sums what a replica has counted over the replicas.
    """
    variables = model.metrics_variables
    with keras.StatelessScope(state_mapping=[(one, tf.zeros(one.shape, one.dtype)) for one in variables]) as scope:
        model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
        counted = [(one, summed(scope.get_current_value(one))) for one in variables]
    with keras.StatelessScope(state_mapping=counted):
        return of_one_number(model, model.get_metrics_result())


def names_of_metrics(model: PrivateModel) -> list[str]:
    """Return the names of what `metrics_alone` returns, in its order, when the metrics were made."""
    return list(of_one_number(model, model.get_metrics_result()))


def of_one_number(model: PrivateModel, results: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the metrics among results that are one number and no loss, in the order of their names."""
    losses = {one.name for one in (model._loss_tracker, *(model._compile_loss.metrics if model._compile_loss else ()))}
    return {name: value for name, value in sorted(results.items()) if name not in losses and not value.shape.rank}


@contextlib.contextmanager
def sizes_unknown(model: PrivateModel) -> Iterator[None]:
    """Weight all batches of an epoch alike in each output's loss, as Keras does in a trace for batches of any size.

    A trace for one size would weight them by examples, so that the logs would depend on how a program was compiled.
    """
    compiled = model._compile_loss
    if compiled is None:
        yield
        return
    build, metrics = compiled.build, list[KerasMetric]()

    def patch() -> None:
        for metric in compiled.metrics:
            metrics.append(metric)
            metric.__dict__["update_state"] = functools.partial(of_any_size, metric.update_state)

    def built(y: Nest, y_pred: Nest) -> None:
        build(y, y_pred)
        patch()

    compiled.__dict__["build"] = built
    patch()
    try:
        yield
    finally:
        del compiled.__dict__["build"]
        for metric in metrics:
            metric.__dict__.pop("update_state", None)


def of_any_size(update: Callable[..., Tensor], value: Tensor, sample_weight: Tensor | int | None = None) -> Tensor:
    """Call a metric's update_state, without the weight when that is a batch's size as a Python number."""
    return update(value, sample_weight=None if isinstance(sample_weight, int) else sample_weight)


def make_function(model: PrivateModel, step: Step) -> Callable[[Iterator[Batch]], Nest]:
    """Return Keras' function over iterators, which runs `step` for `steps_per_execution` batches."""
    return model._make_function(step)


# Updates by reduced gradients


def scaler_of(optimizer: PrivateOptimizer) -> PrivateOptimizer | None:
    """Return the LossScaleOptimizer that an optimizer is, or wraps; None where there is none."""
    scalers = (one for one in optimizers_within(optimizer) if isinstance(one, keras.optimizers.LossScaleOptimizer))
    return next(scalers, None)


def scale_of(optimizer: PrivateOptimizer) -> Scalar:
    """Return the factor by which an optimizer scales the loss, and with it the gradients."""
    scaler = scaler_of(optimizer)
    if scaler is not None:
        return scaler.dynamic_scale.value if scaler.built else scaler.initial_scale
    factors = {one.loss_scale_factor for one in rated_optimizers(optimizer)} - {None}
    return factors.pop() if factors else 1.0


def build_optimizer(optimizer: PrivateOptimizer, weights: Sequence[Variable]) -> None:
    """Make an optimizer's state, unless it is there; a program that is being traced may call this."""
    if not optimizer.built:
        with tf.init_scope(), keras.name_scope(optimizer.name):
            optimizer.build(weights)


def keeps_infinity(optimizer: PrivateOptimizer) -> bool:
    """Return whether an infinite gradient surely makes an optimizer's weights or state infinite.

    True for optimizers of Keras, which tests cover, and for those that say so, unless they clip gradients or scale the
    loss.
    """
    if scaler_of(optimizer) is not None or not type(optimizer).__module__.startswith(("keras.src.", "kopt.")):
        return False
    rated = rated_optimizers(optimizer)
    clips = any(one.clipnorm or one.clipvalue or one.global_clipnorm for one in rated)
    return not clips and all(
        one.keeps_infinity if isinstance(one, ListOptimizer) else type(one).__module__.startswith("keras.src.")
        for one in rated
    )


def update_unchecked(optimizer: PrivateOptimizer, gradients: Sequence[Tensor], weights: Sequence[Variable]) -> None:
    """Update on one device, be the gradients finite or not."""
    optimizer.apply(list(gradients), list(weights))


def update(
    optimizer: PrivateOptimizer,
    gradients: Sequence[Tensor],
    weights: Sequence[Variable],
    finite: Tensor,
    skip: Callable[[], None],
) -> None:
    """Update by gradients that are the same on every replica; skip the update on every replica if they are not finite.

    Args:
        optimizer: A built optimizer.
        gradients: Dense tensors, or None, as many as weights.
        weights: The variables to update.
        finite: Whether all are finite, a scalar.
        skip: Called in a skipped step.
    """
    scaler = scaler_of(optimizer)

    def apply(gradients: Sequence[Tensor]) -> None:
        if scaler is not None:
            scaler._stateful_handle_finite_grads(list(gradients), list(weights))
        else:
            optimizer.apply(list(gradients), list(weights))

    def reject() -> None:
        skip()
        if scaler is not None:
            scaler._stateful_handle_non_finite_grads()

    if not merges_replicas(tf.distribute.get_strategy()):
        either(finite, lambda: apply(gradients), reject)
        return

    def across_replicas(strategy: Strategy, gradients: Sequence[Tensor], finite: Tensor) -> None:
        with already_reduced(optimizer) as overwrite:

            def everywhere() -> None:
                strategy.extended.call_for_each_replica(apply, args=(gradients,))
                overwrite()

            either(strategy.experimental_local_results(finite)[0], everywhere, reject)

    tf.distribute.get_replica_context().merge_call(across_replicas, args=(list(gradients), finite))


def merges_replicas(strategy: Strategy) -> bool:
    """Return whether optimizers reduce gradients by a merge_call, which no branch of a graph may do.

    A MirroredStrategy over one device does, as over several.
    """
    return strategy.num_replicas_in_sync > 1 or isinstance(strategy, MERGING)


def on_one_device(strategy: Strategy) -> bool:
    """Return whether a strategy is TensorFlow's default one, or that of one device, whose variables are plain ones."""
    return isinstance(strategy, (_DefaultDistributionStrategy, tf.distribute.OneDeviceStrategy))


def either(condition: Tensor, yes: Callable[[], None], no: Callable[[], None]) -> None:
    """Run one of two functions in the graph, for its side effects."""

    def run(function: Callable[[], None]) -> Callable[[], Tensor]:
        def branch() -> Tensor:
            function()
            return tf.no_op()

        return branch

    tf.cond(condition, run(yes), run(no))


@contextlib.contextmanager
def already_reduced(optimizer: PrivateOptimizer) -> Iterator[Callable[[], None]]:
    """Make an optimizer treat its gradients as reduced, so that its clipping sees what it sees on one replica.

    Yield a function that writes averages into the weights after the update, for optimizers that do so every so many
    updates: their own condition does not work on replicas.
    """
    optimizers = rated_optimizers(optimizer)
    frequencies = [one.ema_overwrite_frequency for one in optimizers]
    for one in optimizers:
        one._all_reduce_sum_gradients = list
        one.ema_overwrite_frequency = None

    def overwrite() -> None:
        for one, frequency in zip(optimizers, frequencies):
            if frequency:
                write = functools.partial(one._overwrite_model_variables_with_average_value, one._trainable_variables)
                either(one.iterations % frequency == 0, write, lambda: None)

    try:
        yield overwrite
    finally:
        for one, frequency in zip(optimizers, frequencies):
            del one._all_reduce_sum_gradients
            one.ema_overwrite_frequency = frequency
