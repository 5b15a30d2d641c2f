"""Every private hook of Keras and TensorFlow that kopt leans on, in one place; each has a canary test.

Nothing else in kopt may touch a private name. A hook is here because nothing public serves.
"""

from kopt.keras_internals.fitting import (
    array_adapter,
    begin_validation,
    end_validation,
    epoch_iterator,
    epoch_logs,
    initial_epoch,
    run_validation,
    tensors,
    validation_split,
)
from kopt.keras_internals.models import (
    add_metric,
    build,
    build_from,
    has_own_metrics,
    has_own_train_step,
    owned_variables,
    regularizer_place,
    remove_metric,
    retrace,
    weight_penalties,
)
from kopt.keras_internals.numbers import (
    LiveFloat,
    LiveRate,
    PlateauCallback,
    inner_optimizer,
    install_rate,
    installed_rate,
    rated_optimizers,
    set_dropout,
)
from kopt.keras_internals.optimizers import ListOptimizer, WrappingOptimizer, decay_before_updates, raw
from kopt.keras_internals.step import (
    compute_loss,
    forward,
    make_function,
    track_loss,
)

__all__ = [
    "ListOptimizer",
    "LiveFloat",
    "LiveRate",
    "PlateauCallback",
    "add_metric",
    "array_adapter",
    "begin_validation",
    "WrappingOptimizer",
    "build",
    "build_from",
    "compute_loss",
    "decay_before_updates",
    "end_validation",
    "epoch_iterator",
    "epoch_logs",
    "forward",
    "has_own_metrics",
    "has_own_train_step",
    "initial_epoch",
    "inner_optimizer",
    "install_rate",
    "installed_rate",
    "make_function",
    "owned_variables",
    "rated_optimizers",
    "raw",
    "regularizer_place",
    "remove_metric",
    "retrace",
    "run_validation",
    "set_dropout",
    "tensors",
    "track_loss",
    "validation_split",
    "weight_penalties",
]
