"""Update hooks: the in-graph work that follows each update of a training step."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.values.checks import require
from kopt.values.types import Batch, KerasModel, KerasOptimizer, Nest, Step, Tensor, Variable

__all__ = ["Need", "Update"]

Need = Literal["before", "gradients", "loss", "examples", "metrics"]
NEEDS = ("before", "examples", "gradients", "loss", "metrics")
MADE = 16  # objects that a model keeps for another training

Made = TypeVar("Made")


class Update:
    """One update of the weights, as `Callback.on_update` reads it in the graph; the same on every replica.

    `before`, `gradients`, `loss`, `examples` and `metrics` are there for callbacks whose `needs` name them.

    Attributes:
        weights: The trainable weights, after the update.
        count: How many updates the optimizer has made; the first optimizer's where there are several.
        made: Whether the weights were updated: not where gradients are accumulated, or not finite.
        finite: Whether the gradient was finite.

    Example:
        >>> import keras, numpy as np
        >>> from kopt.training.callback import Callback
        >>> class Losses(Callback):
        ...     needs = frozenset({"loss"})
        ...
        ...     def on_update(self, update):
        ...         tf.print(update.count, update.loss)
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse", run_eagerly=True)
        >>> _ = model.fit(np.eye(2), np.ones((2, 1)), callbacks=[Losses()], verbose=0)
    """

    def __init__(self, model: KerasModel, before: "Before", finite: Tensor, **measured: Callable[[], Nest]):
        self.weights: Sequence[Variable] = model.trainable_weights
        self.finite = finite
        counts = [tf.convert_to_tensor(optimizer.iterations) for optimizer in before.optimizers]
        moved = [count > old for count, old in zip(counts, before.counts)]
        # A step that updates by none of the model's optimizers has a way of its own, and is an update.
        self.count: Tensor = counts[0]
        self.made: Tensor = tf.reduce_any(moved) if before.updating() else finite
        self._measured: dict[str, Callable[[], Nest]] = {"before": lambda: before.values, **measured}
        self._found: dict[str, Nest] = {}
        self._needs: frozenset[str] = frozenset()

    @property
    def before(self) -> Sequence[Tensor]:
        """The trainable weights before the update."""
        return self._needed("before")

    @property
    def gradients(self) -> Sequence[Tensor | None]:
        """The whole batch's gradients before any clipping, None where a weight has none."""
        return self._needed("gradients")

    @property
    def loss(self) -> Tensor:
        """The whole batch's loss, penalties included."""
        return self._needed("loss")

    @property
    def examples(self) -> Tensor:
        """The number of examples in the whole batch."""
        return self._needed("examples")

    @property
    def metrics(self) -> Mapping[str, Tensor]:
        """The metrics of the whole batch alone, by name; without the losses."""
        return self._needed("metrics")

    def read_by(self, needs: frozenset[str]) -> "Update":
        """Compute what a hook needs, outside the branches that it may trace, and let it read nothing else."""
        for name in sorted(needs):  # in the same order in every worker, for the sums over replicas are collectives
            if name not in self._found:
                self._found[name] = self._measured[name]()
        self._needs = needs
        return self

    def _needed(self, name: Need) -> Nest:
        require(name in self._needs, "needs", f"must hold {name!r} for on_update to read it", sorted(self._needs))
        return self._found[name]


class Updating(Protocol):
    """An object with in-graph work to do after each update; see `kopt.callbacks.Callback`."""

    needs: frozenset[Need]
    changes_weights: bool
    arrays: Mapping[str, Variable]

    def on_update(self, update: Update) -> None: ...


class UpdateHook:
    """The in-graph work of a callback, as training steps call it after an update.

    Args:
        name: The callback's name in errors.
        owner: The object whose `on_update` is called.
        weights: The trainable weights that it is for.

    Attributes:
        variables: The variables that `on_update` changes besides weights.
        at_work: Whether a training step that calls the hook has been traced, or run eagerly.
        begun: Whether the training that installed the hook has begun: it has set all its callbacks.
    """

    def __init__(self, name: str, owner: Updating, weights: Sequence[Variable]):
        require(not isinstance(owner.needs, str), "needs", "must be a set of texts", owner.needs)
        unknown = sorted(set(owner.needs) - set(NEEDS))
        require(not unknown, "needs", f"must hold none but {', '.join(map(repr, NEEDS))}", unknown)
        self.name, self.owner, self.weights = name, owner, weights
        self.needs, self.changes_weights = frozenset(owner.needs), owner.changes_weights
        self.variables: Sequence[Variable] = [internals.raw(array) for array in owner.arrays.values()]
        self.at_work = self.begun = False

    def after_update(self, update: Update) -> None:
        """Do the work after an update, in the graph."""
        self.at_work = True
        self.owner.on_update(update.read_by(self.needs))


class ModelHooks:
    """The update hooks of one model.

    Attributes:
        working: The hooks that the model's training steps call, in this order.
        made: Objects made for the model that another training can use again, the last used at the end.
        replaced: The `train_step` attribute that was replaced, or None when the model had none, in a tuple; an empty
            tuple when nothing was replaced.
    """

    def __init__(self) -> None:
        self.working: tuple[UpdateHook, ...] = ()
        self.made: OrderedDict[Hashable, object] = OrderedDict()
        self.replaced: tuple[Step | None, ...] = ()

    @staticmethod
    def of(model: KerasModel) -> "ModelHooks":
        """Return a model's hooks; kept where Keras neither tracks nor saves them."""
        hooks = vars(model).get("kopt_update_hooks")
        if hooks is None:
            hooks = vars(model)["kopt_update_hooks"] = ModelHooks()
        return hooks

    def make_once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return the object of a key, made at the first call; the `MADE` last used objects are kept."""
        found = self.made[key] if key in self.made else make()
        self.made[key] = found
        self.made.move_to_end(key)
        while len(self.made) > MADE:
            self.made.popitem(last=False)
        return found  # type: ignore[return-value]


class HookedStep:
    """A model's own training step, followed by the update hooks.

    Args:
        model: The model.
        step: The step on one batch.
    """

    def __init__(self, model: KerasModel, step: Step):
        self.model, self.step = model, step

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HookedStep) and (other.model, other.step) == (self.model, self.step)

    def __hash__(self) -> int:
        return hash((self.model, self.step))

    def __call__(self, data: Batch) -> Nest:
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


def refuse_reading(model: KerasModel, hook: UpdateHook) -> None:
    """Raise ValueError when a hook reads what a model's own training step does not return."""
    reads = sorted(hook.needs - {"before"})
    rule = f"must not have a train_step of its own, for {hook.name} reads the {' and the '.join(reads)}"
    require(not reads, "model", rule, model.name)


def working(model: KerasModel) -> tuple[UpdateHook, ...]:
    """Return the hooks that a model's training steps call, in this order."""
    return ModelHooks.of(model).working


def needed(model: KerasModel, what: Need) -> bool:
    """Return whether a hook reads this part of an update."""
    return any(what in hook.needs for hook in working(model))


class Before(NamedTuple):
    """The state before a step that hooks compare with: the counts of updates and, where a hook needs it, the weights.

    Attributes:
        optimizers: The optimizers that the step may update by.
        counts: How many updates each has made.
        values: The trainable weights; none when no hook needs them.
        updating: Returns after the step whether it updates by one of the optimizers.
    """

    optimizers: Sequence[KerasOptimizer]
    counts: Sequence[Tensor]
    values: Sequence[Tensor]
    updating: Callable[[], bool]


def before_update(
    model: KerasModel, optimizers: Sequence[KerasOptimizer] | None = None, updating: Callable[[], bool] = lambda: True
) -> Before | None:
    """Snapshot the state before a step, or return None when no hook is at work.

    Args:
        model: The model.
        optimizers: The optimizers that the step may update by; the model's when None.
        updating: Returns after the step whether it updates by one of them.
    """
    if not working(model):
        return None
    optimizers = internals.rated_optimizers(model.optimizer) if optimizers is None else optimizers
    counts = [tf.identity(optimizer.iterations) for optimizer in optimizers]
    values = [tf.identity(weight) for weight in model.trainable_weights] if needed(model, "before") else ()
    return Before(optimizers, counts, values, updating)


def after_update(update: Update, model: KerasModel) -> None:
    """Call the hooks of a model."""
    for hook in working(model):
        hook.after_update(update)
