"""Private parts of one training step: the loss of a batch, and updates by gradients that are reduced."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.losses.loss import unscale_loss_for_distribution

from kopt.keras_internals.numbers import rated_optimizers


def forward(model: Any, x: Any, training: bool) -> Any:
    """Call a model, with `training` where it takes it."""
    return model(x, training=training) if model._call_has_training_arg else model(x)


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
    """A model's whole loss, penalties included, divided by the number of replicas."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)


def track_loss(model: Any, loss: Any, examples: Any) -> None:
    """Count a batch's loss in the metric "loss"."""
    model._loss_tracker.update_state(unscale_loss_for_distribution(loss), sample_weight=examples)


@contextlib.contextmanager
def sizes_unknown(model: Any) -> Iterator[None]:
    """Count the batches of an epoch alike in each output's loss, as Keras does where a traced batch has any size.

    A trace for one size would count by examples: the logs would tell how a program was compiled.
    """
    compiled = getattr(model, "_compile_loss", None)
    if compiled is None:
        yield
        return
    build, metrics = compiled.build, list[Any]()

    def patch() -> None:
        for metric in compiled.metrics:
            metrics.append(metric)
            vars(metric)["update_state"] = functools.partial(of_any_size, metric.update_state)

    def built(*arguments: Any) -> None:
        build(*arguments)
        patch()

    vars(compiled)["build"] = built
    patch()
    try:
        yield
    finally:
        del vars(compiled)["build"]
        for metric in metrics:
            vars(metric).pop("update_state", None)


def of_any_size(update: Callable[..., Any], value: Any, sample_weight: Any = None) -> Any:
    """Call a metric's update_state without a weight that is a batch's size, a number of Python's."""
    return update(value, sample_weight=None if isinstance(sample_weight, int) else sample_weight)


def make_function(model: Any, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Keras' function over iterators: runs `step` for `steps_per_execution` batches."""
    return model._make_function(step)


# Updates by reduced gradients


def scaler_of(optimizer: Any) -> Any | None:
    """The LossScaleOptimizer that an optimizer is, or wraps."""
    while optimizer is not None and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer


def scale_of(optimizer: Any) -> Any:
    """What an optimizer's gradients are multiplied by."""
    scaler = scaler_of(optimizer)
    if scaler is not None:
        return scaler.dynamic_scale.value if scaler.built else scaler.initial_scale
    factors = {one.loss_scale_factor for one in rated_optimizers(optimizer)} - {None}
    return factors.pop() if factors else 1.0


def build_optimizer(optimizer: Any, weights: Sequence[Any]) -> None:
    """Make an optimizer's state, from within a program too."""
    if not optimizer.built:
        with tf.init_scope(), keras.name_scope(optimizer.name):
            optimizer.build(weights)


def keeps_infinity(optimizer: Any) -> bool:
    """Whether an infinite gradient leaves an optimizer's weights or state infinite: it does not clip or scale, and is
    Keras' or kopt's, of which tests know it."""
    if scaler_of(optimizer) is not None or not type(optimizer).__module__.startswith(("keras.src.", "kopt.")):
        return False
    rated = rated_optimizers(optimizer)
    clips = any(one.clipnorm or one.clipvalue or one.global_clipnorm for one in rated)
    return not clips and all(type(one).__module__.startswith(("keras.src.", "kopt.")) for one in rated)


def update_unchecked(optimizer: Any, gradients: Sequence[Any], weights: Sequence[Any]) -> None:
    """Update on one device, whatever the gradients are."""
    optimizer.apply(list(gradients), list(weights))


def update(optimizer: Any, gradients: Sequence[Any], weights: Sequence[Any], finite: Any, skip: Any) -> None:
    """Update by gradients that are the same on every replica, or, where they are not finite, skip on every replica.

    Args:
        optimizer: A built optimizer.
        gradients: Dense tensors, or None, as many as weights.
        weights: What they are gradients of.
        finite: Whether all are finite, a scalar.
        skip: Called in a skipped step.
    """
    scaler = scaler_of(optimizer)

    def apply(gradients: Sequence[Any]) -> None:
        if scaler is not None:
            scaler._stateful_handle_finite_grads(list(gradients), list(weights))
        else:
            optimizer.apply(list(gradients), list(weights))

    def reject() -> None:
        skip()
        if scaler is not None:
            scaler._stateful_handle_non_finite_grads()

    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        either(finite, lambda: apply(gradients), reject)
        return

    def across_replicas(strategy: Any, gradients: Any, finite: Any) -> None:
        with already_reduced(optimizer) as overwrite:

            def everywhere() -> None:
                strategy.extended.call_for_each_replica(apply, args=(gradients,))
                overwrite()

            either(strategy.experimental_local_results(finite)[0], everywhere, reject)

    tf.distribute.get_replica_context().merge_call(across_replicas, args=(list(gradients), finite))


def either(condition: Any, yes: Callable[[], None], no: Callable[[], None]) -> None:
    """Run one of two functions for what they do."""

    def run(function: Callable[[], None]) -> Callable[[], Any]:
        def branch() -> Any:
            function()
            return tf.no_op()

        return branch

    tf.cond(condition, run(yes), run(no))


@contextlib.contextmanager
def already_reduced(optimizer: Any) -> Iterator[Callable[[], None]]:
    """Make an optimizer take its gradients as reduced, so that its own clipping sees what one replica would see.

    Gives a function that, after the update, writes averages into the weights where an optimizer does that every so many
    updates: its own condition does not work on replicas.
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
