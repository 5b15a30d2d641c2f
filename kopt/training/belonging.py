"""Belonging: what is made for one model and must not be given to another."""

from collections.abc import Callable
from typing import Any

from kopt import keras_internals as internals
from kopt.training.steps.evaluate import EvaluateStep
from kopt.training.steps.train import TrainStep
from kopt.training.steps.update_hooks import HookedStep
from kopt.values.checks import require

STEPS = (TrainStep, EvaluateStep, HookedStep)


def require_own_step(model: Any, step: Any) -> None:
    """Refuse what is no step, and a step of another model, which would train that one."""
    function = step is None or callable(step) and not isinstance(step, type) and not internals.is_trainer(step)
    require(function, "step", "must be a function of a batch, such as TrainStep(model)", step)
    owner: Any = step.model if isinstance(step, STEPS) else getattr(step, "__self__", None)
    foreign = internals.is_trainer(owner) and owner is not model
    require(not foreign, "step", f"must be of the model that is trained, {model.name}", owner.name if foreign else step)


def require_own_optimizer(model: Any, step: Callable[[Any], Any]) -> None:
    """Refuse no optimizer, and one that was built for other weights than those that the step will have it update."""
    if not isinstance(step, TrainStep):
        return
    require(model.optimizer is not None, "model", "must be compiled with an optimizer to be trained", model.name)
    strange = internals.unknown_weights(model.optimizer, model.trainable_weights)
    rule = "must not be another model's, nor of before weights were unfrozen: compile the model with a new one"
    require(not strange, "optimizer", rule, f"one that does not know {strange[0].path}" if strange else "")
