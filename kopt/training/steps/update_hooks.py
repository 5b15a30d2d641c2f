"""What callbacks do after each update, in the graph."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.values.checks import require


class Update:
    """One update as hooks see it, in the graph, the same on every replica.

    Attributes:
        weights: The trainable weights, updated.
        before: Their values before, where a hook needs them.
        count: Updates that the first of the optimizers has made.
        made: Whether it is one: not where gradients are accumulated, or not finite.
        finite: Whether the gradient was finite.
    """

    def __init__(
        self,
        model: Any,
        before: "Before",
        finite: Any,
        **measured: Callable[[], Any],
    ):
        self.weights, self.before, self.finite = model.trainable_weights, before.values, finite
        counts = [tf.convert_to_tensor(optimizer.iterations) for optimizer in before.optimizers]
        moved = [count > old for count, old in zip(counts, before.counts)]
        # A step that updates by none of the model's optimizers has a way of its own, and is an update.
        self.count, self.made = counts[0], tf.reduce_any(moved) if before.updating() else finite
        self.measured, self.found = measured, dict[str, Any]()

    # Not cached_property: before Python 3.12 it holds a lock that replicas share while they wait for one another.

    @property
    def gradients(self) -> Sequence[Any]:
        """The whole batch's gradients before any clipping, None where a weight has none."""
        return self.once("gradients")

    @property
    def loss(self) -> Any:
        """The whole batch's loss, penalties included."""
        return self.once("loss")

    @property
    def examples(self) -> Any:
        """How many examples the whole batch has."""
        return self.once("examples")

    def once(self, name: str) -> Any:
        if name not in self.found:
            self.found[name] = self.measured[name]()
        return self.found[name]


class Hook(abc.ABC):
    """What a callback has traced into the training step.

    Attributes:
        name: What errors call it.
        at_work: Whether a training step has been traced, or run eagerly, that calls it.
        variables: What `after_update` changes besides weights.
        needs: What of an update it reads: "before", "gradients", "loss", "examples".
        changes_weights: Whether it does; such hooks come first.
    """

    name = ""
    at_work = False
    variables: Sequence[Any] = ()
    needs: frozenset[str] = frozenset()
    changes_weights = False

    @abc.abstractmethod
    def after_update(self, update: Update) -> None:
        """Do its work after an update, in the graph."""


class HookedStep:
    """A model's own training step with hooks after it.

    Args:
        model: The model.
        step: What to do with one batch.
    """

    def __init__(self, model: Any, step: Callable[[Any], Any]):
        self.model, self.step = model, step

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HookedStep) and (other.model, other.step) == (self.model, self.step)

    def __hash__(self) -> int:
        return hash((self.model, self.step))

    def __call__(self, data: Any) -> Any:
        if not working(self.model):
            return self.step(data)
        for hook in working(self.model):
            refuse_reading(self.model, hook)
        optimizers = list(internals.optimizers_of(self.model, True).values())
        with internals.updates_seen(optimizers) as seen:
            before = before_update(self.model, optimizers, lambda: bool(seen))
            logs = self.step(data)
        if before:
            after_update(Update(self.model, before, tf.constant(True)), self.model)
        return logs


def refuse_reading(model: Any, hook: Hook) -> None:
    """Refuse a hook that reads what a step of the model's own does not return."""
    reads = sorted(hook.needs - {"before"})
    rule = f"must not have a train_step of its own, for {hook.name} reads the {' and the '.join(reads)}"
    require(not reads, "model", rule, model.name)


def working(model: Any) -> tuple[Hook, ...]:
    """The hooks that are at work in a model's training steps, in the order in which they are called."""
    return vars(model).get("kopt_hooks", ())


def needed(model: Any, what: str) -> bool:
    """Whether a hook reads that of an update."""
    return any(what in hook.needs for hook in working(model))


class Before(NamedTuple):
    """What hooks want to know of a step's beginning: the updates so far and, where one needs them, the weights."""

    optimizers: Sequence[Any]
    counts: Sequence[Any]
    values: Sequence[Any]
    updating: Callable[[], bool]


def before_update(
    model: Any, optimizers: Sequence[Any] | None = None, updating: Callable[[], bool] = lambda: True
) -> Before | None:
    """Read it; None where no hook is at work.

    Args:
        model: The model.
        optimizers: Those that the step may update by; the model's when None.
        updating: Tells after the step whether it updates by one of them.
    """
    if not working(model):
        return None
    optimizers = internals.rated_optimizers(model.optimizer) if optimizers is None else optimizers
    counts = [tf.identity(optimizer.iterations) for optimizer in optimizers]
    values = [tf.identity(weight) for weight in model.trainable_weights] if needed(model, "before") else ()
    return Before(optimizers, counts, values, updating)


def after_update(update: Update, model: Any) -> None:
    """Call what is at work."""
    for hook in working(model):
        hook.at_work = True
        hook.after_update(update)
