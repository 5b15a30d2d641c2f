"""What callbacks do after each update, in the graph."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from kopt import keras_internals as internals


class Update:
    """One update as hooks see it, in the graph, the same on every replica.

    Attributes:
        weights: The trainable weights, updated.
        before: Their values before, where a hook needs them.
        count: Updates that the optimizer has made.
        rate: The learning rate of the last one.
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
        optimizer = internals.rated_optimizers(model.optimizer)[0]
        self.weights, self.before, self.finite = model.trainable_weights, before.values, finite
        self.count = tf.convert_to_tensor(optimizer.iterations)
        self.rate, self.made = tf.convert_to_tensor(optimizer.learning_rate), self.count > before.count
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


class Hook(Protocol):
    """What a callback has traced into the training step.

    Attributes:
        variables: What `after_update` changes besides weights.
        needs: What of an update it reads: "before", "gradients", "loss", "examples".
        changes_weights: Whether it does; such hooks come first.
    """

    variables: Sequence[Any]
    needs: frozenset[str]
    changes_weights: bool

    def after_update(self, update: Update) -> None: ...


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
        before = before_update(self.model)
        logs = self.step(data)
        if before:
            after_update(Update(self.model, before, tf.constant(True)), self.model)
        return logs


def working(model: Any) -> tuple[Hook, ...]:
    """The hooks that are at work in a model's training steps, in the order in which they are called."""
    return vars(model).get("kopt_hooks", ())


def needed(model: Any, what: str) -> bool:
    """Whether a hook reads that of an update."""
    return any(what in hook.needs for hook in working(model))


class Before(NamedTuple):
    """What hooks want to know of a step's beginning: the updates so far and, where one needs them, the weights."""

    count: Any
    values: Sequence[Any]


def before_update(model: Any) -> Before | None:
    """Read it; None where no hook is at work."""
    if not working(model):
        return None
    count = tf.identity(internals.rated_optimizers(model.optimizer)[0].iterations)
    return Before(count, [tf.identity(weight) for weight in model.trainable_weights] if needed(model, "before") else ())


def after_update(update: Update, model: Any) -> None:
    """Call what is at work."""
    for hook in working(model):
        hook.after_update(update)
