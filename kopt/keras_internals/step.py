"""Private parts of one training step."""

from collections.abc import Callable
from typing import Any

from keras.src.losses.loss import unscale_loss_for_distribution


def forward(model: Any, x: Any, training: bool) -> Any:
    """Call a model, with `training` where it takes it."""
    return model(x, training=training) if model._call_has_training_arg else model(x)


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
    """A model's whole loss, penalties included, divided by the number of replicas."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)


def track_loss(model: Any, loss: Any, examples: Any) -> None:
    """Count a batch's loss in the metric "loss"."""
    model._loss_tracker.update_state(unscale_loss_for_distribution(loss), sample_weight=examples)


def make_function(model: Any, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Keras' function over iterators: runs `step` for `steps_per_execution` batches."""
    return model._make_function(step)
