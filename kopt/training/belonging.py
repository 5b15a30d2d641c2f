"""Checks that a step and an optimizer are the trained model's own, not another model's."""

import inspect

from kopt import keras_internals as internals
from kopt.training.steps.evaluate import EvaluateStep
from kopt.training.steps.train import TrainStep
from kopt.training.steps.update_hooks import HookedStep
from kopt.values.checks import require
from kopt.values.types import Argument, KerasModel, Step

STEPS = (TrainStep, EvaluateStep, HookedStep)


def require_own_step(model: KerasModel, step: Argument) -> None:
    """Raise ValueError when this is no step, or a step of another model, which it would train."""
    function = step is None or callable(step) and not isinstance(step, type) and not internals.is_trainer(step)
    require(function, "step", "must be a function of a batch, such as TrainStep(model)", step)
    owner: Argument = step.model if isinstance(step, STEPS) else step.__self__ if inspect.ismethod(step) else None
    foreign = internals.is_trainer(owner) and owner is not model
    require(not foreign, "step", f"must be of the model that is trained, {model.name}", owner.name if foreign else step)


def require_own_optimizer(model: KerasModel, step: Step) -> None:
    """Raise ValueError when there is no optimizer, or one built for other weights than the step updates."""
    if not isinstance(step, TrainStep):
        return
    require(model.optimizer is not None, "model", "must be compiled with an optimizer to be trained", model.name)
    strange = internals.unknown_weights(model.optimizer, model.trainable_weights)
    rule = "must not be another model's, nor of before weights were unfrozen: compile the model with a new one"
    require(not strange, "optimizer", rule, f"one that does not know {strange[0].path}" if strange else "")
