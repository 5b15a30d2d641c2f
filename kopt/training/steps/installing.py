"""Installing update hooks in a model's training steps, and removing them."""

from collections.abc import Callable, Hashable

from kopt import keras_internals as internals
from kopt.training.execute.program import Program
from kopt.training.steps.train import TrainStep
from kopt.training.steps.update_hooks import HookedStep, ModelHooks, UpdateHook, Updating, refuse_reading, working
from kopt.values.checks import require
from kopt.values.types import KerasModel, KerasOptimizer, Step


def install(model: KerasModel, name: str, key: Hashable, make: Callable[[], Updating]) -> UpdateHook:
    """Install an update hook in a model's training steps, in `model.fit` and in `Loop`, until it is removed.

    Args:
        model: The compiled model, built.
        name: The hook's name in errors.
        key: Distinguishes the hook from others of that name; an earlier hook of the same key, optimizer and weights is
            used again, with the programs that were traced with it.
        make: Returns the object whose `on_update` is called.

    Returns:
        The hook.

    Raises:
        ValueError: When the hook reads gradients or losses, and the model has a train_step of its own; when another
            hook of that name changes the same arrays.
    """
    hooks, weights = ModelHooks.of(model), list(model.trainable_weights)

    def made() -> UpdateHook:
        with model.distribute_strategy.scope():
            return UpdateHook(name, make(), weights)

    hook = hooks.make_once(("hook", name, key, holder(model), tuple(map(id, weights))), made)
    if hook not in hooks.working:
        changed = set(map(id, hook.variables))
        others = [one for one in hooks.working if one.name == name]
        alone = all(changed.isdisjoint(map(id, one.variables)) for one in others)
        require(alone, "callbacks", "must not hold two of a class that change the same arrays", name)
        place(model, hook)
        hooks.working = tuple(sorted([*hooks.working, hook], key=lambda one: not one.changes_weights))
        trace_anew(model)
    hook.begun = False
    return hook


def place(model: KerasModel, hook: UpdateHook) -> None:
    """Make the model's train_step call update hooks, unless it does."""
    current = model.train_step
    calls = isinstance(current, (TrainStep, HookedStep))
    own = isinstance(current, HookedStep) if calls else internals.has_own_train_step(model)
    if own:
        refuse_reading(model, hook)
    if not calls:
        ModelHooks.of(model).replaced = (vars(model).get("train_step"),)
        alone = model.distribute_strategy.num_replicas_in_sync == 1
        # A callback that only watches must not train otherwise than fit without it.
        vars(model)["train_step"] = (
            hooked(model, current) if own else TrainStep(model, sparse="keras" if alone else "dense")
        )


def require_at_work(hook: UpdateHook, model: KerasModel) -> None:
    """Raise ValueError when training has not called a hook."""
    rule = f"must train by its train_step, in fit, kopt.fit or a loop that calls it, for {hook.name} to act"
    require(hook.at_work or not model.trainable_weights, "model", rule, model.name)


def holder(model: KerasModel) -> KerasOptimizer:
    """Return the optimizer that holds the arrays that callbacks save: the first that a model may train by."""
    return next(iter(internals.optimizers_of(model, own_step(model)).values()))


def own_step(model: KerasModel) -> bool:
    """Return whether the step that trains a model is neither Keras' own nor a TrainStep."""
    step = model.train_function.step if isinstance(model.train_function, Program) else vars(model).get("train_step")
    step = step.step if isinstance(step, HookedStep) else step
    return internals.has_own_train_step(model) if step is None else not isinstance(step, TrainStep)


def remove(model: KerasModel, hook: UpdateHook) -> None:
    """Remove a hook from a model's training steps; do nothing when it is not there."""
    hooks = ModelHooks.of(model)
    if hook not in hooks.working:
        return
    hooks.working = tuple(one for one in hooks.working if one is not hook)
    if not hooks.working and hooks.replaced:
        del vars(model)["train_step"]
        (before,), hooks.replaced = hooks.replaced, ()
        if before is not None:
            vars(model)["train_step"] = before
    trace_anew(model)


def remove_interrupted(model: KerasModel, name: str) -> None:
    """Remove the hooks of a name that a training which was interrupted has left."""
    for hook in working(model):
        if hook.name == name and hook.begun:
            remove(model, hook)


def remove_waiting(model: KerasModel) -> None:
    """Remove the hooks of a training that has not begun."""
    for hook in working(model):
        if not hook.begun:
            remove(model, hook)


def hooked(model: KerasModel, step: Step) -> Step:
    """Return a training step that calls update hooks."""
    return step if isinstance(step, (TrainStep, HookedStep)) else HookedStep(model, step)


def trace_anew(model: KerasModel) -> None:
    """Drop a training function that Keras has traced; Loop's programs are traced by the hooks at work."""
    if not isinstance(model.train_function, Program):
        model.train_function = None
