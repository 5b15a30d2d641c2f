"""Putting the work of callbacks into a model's training steps, and taking it out."""

from collections.abc import Callable, Hashable
from typing import Any

from kopt import keras_internals as internals
from kopt.training.execute.program import Program
from kopt.training.steps.train import TrainStep
from kopt.training.steps.update_hooks import Hook, HookedStep, refuse_reading, working
from kopt.values.checks import require


def install(model: Any, name: str, settings: Hashable, make: Callable[[], Any]) -> Any:
    """Put a hook into a model's training steps, in `model.fit` and in `Loop`, until it is removed.

    Args:
        model: The compiled model, built.
        name: What errors call it.
        settings: What tells it from others of that name; the one that was made before, with the same settings,
            optimizer and weights, is taken.
        make: Makes it.

    Returns:
        The hook.

    Raises:
        ValueError: When it reads gradients or losses, and the model has a train_step of its own.
    """
    made = vars(model).setdefault("kopt_hooks_made", {})
    whole = name, settings, holder(model), tuple(map(id, model.trainable_weights))
    if whole not in made:
        with model.distribute_strategy.scope():
            made[whole] = make()
        made[whole].name, made[whole].at_work = name, False
    hook = made[whole]
    if hook not in working(model):
        place(model, hook)
        vars(model)["kopt_hooks"] = tuple(sorted([*working(model), hook], key=lambda one: not one.changes_weights))
        trace_anew(model)
    return hook


def place(model: Any, hook: Hook) -> None:
    """Make the model's train_step call hooks, where it does not yet."""
    current = model.train_step
    calls = isinstance(current, (TrainStep, HookedStep))
    own = isinstance(current, HookedStep) if calls else internals.has_own_train_step(model)
    if own:
        refuse_reading(model, hook)
    if not calls:
        vars(model)["kopt_set_step"] = vars(model).get("train_step")  # what somebody has set there
        alone = model.distribute_strategy.num_replicas_in_sync == 1
        # A callback that only watches must not train otherwise than fit without it.
        vars(model)["train_step"] = (
            hooked(model, current) if own else TrainStep(model, sparse="keras" if alone else "dense")
        )


def require_at_work(hook: Hook, model: Any) -> None:
    """Refuse a training that has not called a hook."""
    rule = f"must train by its train_step, in fit, kopt.fit or a loop that calls it, for {hook.name} to act"
    require(hook.at_work or not model.trainable_weights, "model", rule, model.name)


def holder(model: Any) -> Any:
    """Return the optimizer that holds what callbacks save: the first of those that a model may train by."""
    return next(iter(internals.optimizers_of(model, own_step(model)).values()))


def own_step(model: Any) -> bool:
    """Return whether the step that trains a model is neither Keras' own nor a TrainStep."""
    step = model.train_function.step if isinstance(model.train_function, Program) else vars(model).get("train_step")
    step = step.step if isinstance(step, HookedStep) else step
    return internals.has_own_train_step(model) if step is None else not isinstance(step, TrainStep)


def remove(model: Any, hook: Hook) -> None:
    """Take a hook out of a model's training steps; nothing where it is not there."""
    if hook not in working(model):
        return
    vars(model)["kopt_hooks"] = tuple(one for one in working(model) if one is not hook)
    if not working(model) and "kopt_set_step" in vars(model):
        del vars(model)["train_step"]
        before = vars(model).pop("kopt_set_step")
        if before is not None:
            vars(model)["train_step"] = before
    trace_anew(model)


def hooked(model: Any, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A training step that calls hooks."""
    return step if isinstance(step, (TrainStep, HookedStep)) else HookedStep(model, step)


def trace_anew(model: Any) -> None:
    """Drop a training function that Keras has traced; Loop's programs look at the hooks themselves."""
    if not getattr(model.train_function, "sees_hooks", False):
        model.train_function = None
