"""find_rate: suggest a learning rate from one sweep over a range of rates."""

import contextlib
import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

import keras
import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.state.snapshot import Snapshot
from kopt.training.arguments import is_count
from kopt.training.execute.choices import one_line
from kopt.training.feed.placement import DataSpec
from kopt.training.loop import Loop
from kopt.training.steps.installing import install, remove
from kopt.training.steps.train import TrainStep, skipped
from kopt.training.steps.update_hooks import Need, Update
from kopt.values.checks import require
from kopt.values.html_table import html_table
from kopt.values.types import ArrayLike, Config, KerasModel, Variable

__all__ = ["RateCurve", "find_rate"]

Data: TypeAlias = ArrayLike  # or a nest of arrays, a tf.data.Dataset, a PyDataset, a generator, or None
Method = Literal["steepest", "valley", "minimum"]

DIVERGED = 3.0  # the rise of the loss since its minimum, relative to its fall before
MIN_POINTS = 3  # points that a curve must have


@dataclass(frozen=True, eq=False, repr=False)
class RateCurve:
    """The result of `find_rate`: the loss over the learning rate; `kopt.plot` draws it.

    Attributes:
        rates: Learning rates, ascending, up to the divergence of the loss.
        losses: For each rate, the loss of a batch after the update with that rate.
        method: The method of `suggestion`.

    Example:
        >>> rates = np.geomspace(1e-4, 1, 41)
        >>> curve = RateCurve(rates, (np.log10(rates) + 1.5) ** 2, "minimum")
        >>> round(curve.suggestion, 5)
        0.00316
        >>> curve
        <RateCurve of 41 rates from 0.0001 to 1: suggestion 0.00316 (minimum); go on: kopt.plot(curve)>
    """

    rates: np.ndarray
    losses: np.ndarray
    method: Method

    def __repr__(self) -> str:
        ends = f"{len(self.rates)} rates from {self.rates[0]:.3g} to {self.rates[-1]:.3g}"
        return f"<RateCurve of {ends}: suggestion {self.suggestion:.3g} ({self.method}); go on: kopt.plot(curve)>"

    def _repr_html_(self) -> str:
        rows = [(method, f"{self.suggest(method):.3g}") for method in get_args(Method)]
        ends = f"{len(self.rates)} rates from {self.rates[0]:.3g} to {self.rates[-1]:.3g}; kopt.plot(curve) draws them"
        return html_table(f"suggested rate {self.suggestion:.3g} ({self.method})", rows, ("method", "rate"), ends)

    @functools.cached_property
    def smoothed(self) -> np.ndarray:
        """The losses, smoothed by a Gaussian whose deviation is a 25th of the sweep."""
        return smoothed_by_gaussian(self.losses)

    @property
    def suggestion(self) -> float:
        """The rate to try."""
        return self.suggest(self.method)

    def suggest(self, method: Method) -> float:
        """Return the rate to try by another method.

        Args:
            method: "steepest", where the loss falls fastest over the logarithm of the rate; "valley", two thirds into
                its longest fall; "minimum", a tenth of the rate with the least loss.

        Raises:
            ValueError: When the method is unknown.
        """
        methods = get_args(Method)
        require(method in methods, "method", f"must be one of {', '.join(methods)}", method)
        least = int(np.argmin(self.smoothed))
        if method == "minimum":
            return float(self.rates[least] / 10)
        if method == "steepest":
            slopes = np.gradient(self.smoothed, np.log(self.rates))
            return float(self.rates[int(np.argmin(slopes[: max(least, 1)]))])
        start, end = longest_fall(self.smoothed)
        return float(self.rates[start + (end - start) * 2 // 3])


def find_rate(
    model: KerasModel,
    x: Data,
    y: Data = None,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    method: Method = "minimum",
    batch_size: int | Literal["full"] | None = None,
    class_weight: dict[int, float] | None = None,
    sample_weight: Data = None,
    seed: int = 0,
) -> RateCurve:
    """Train with rates from low to high, one an update, and suggest one; then put everything back, to the bit.

    rate(t) = low * (high / low) ** (t / (steps - 1)). The sweep runs inside Loop's training program. If the optimizer
    accumulates gradients, an update's loss is the mean over its batches. Afterwards weights, statistics, seeds, the
    optimizer and its rate, metrics and counters are as before the call.

    Args:
        model: A compiled Keras model whose optimizer has a number as its learning rate.
        x: Inputs, as for `Loop.fit`; the sweep passes over them repeatedly if it needs more batches.
        y: Targets.
        low: The first rate, > 0.
        high: The last rate, > low.
        steps: Number of rates, >= 10.
        method: How to suggest: "minimum", "steepest" or "valley", see `RateCurve.suggest`.
        batch_size: As for `Loop.fit`.
        class_weight: As for `Loop.fit`.
        sample_weight: As for `Loop.fit`.
        seed: The seed of the order of examples.

    Returns:
        The curve, with its suggestion.

    Raises:
        ValueError: When an argument is out of range, the optimizer has a schedule or several rates, the data end before
            the sweep, or the loss or the gradients are not finite from the first update on.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(64, 4))
        >>> curve = find_rate(model, x, x.sum(axis=1, keepdims=True))
        >>> 1e-3 < curve.suggestion < 1
        True

    Source:
        Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3; "minimum" and "valley": fastai's
        lr_find. `recipes/benchmarks/find_rate.py` compares the methods.
    """
    require(internals.is_trainer(model) and model.compiled, "model", "must be a compiled Keras model", model)
    require(0 < low < float("inf"), "low", "must be a finite number > 0", low)
    require(low < high < float("inf"), "high", f"must be finite and > low, {low!r}", high)
    require(is_count(steps) and steps >= 10, "steps", "must be a whole number >= 10", steps)
    require(method in get_args(Method), "method", f"must be one of {', '.join(get_args(Method))}", method)
    rated = internals.rated_optimizers(model.optimizer)
    require(len(rated) == 1, "optimizer", "must have one learning rate to be swept", model.optimizer.name)
    variable, rates = internals.rate_variable(rated[0]), np.geomspace(low, high, steps)
    loop, data = Loop(model, seed=seed), x.repeat() if isinstance(x, tf.data.Dataset) else x
    how = {"batch_size": batch_size or 32, "class_weight": class_weight, "sample_weight": sample_weight}
    known = None
    if not isinstance(data, Iterator):  # which would lose the batches that are drawn to see their shapes
        known = loop.source("train", DataSpec(data, y, **how)).known  # builds the model
    require(model.built, "model", "must be built where x is a generator", model.name)
    with model.distribute_strategy.scope():
        internals.build_optimizer(model.optimizer, model.trainable_weights)
    with untouched(model), one_line():
        hook = install(model, "find_rate", (low, high, steps), lambda: Sweep(variable, rates))
        sweep = cast(Sweep, hook.owner)  # of an earlier call with the same rates, where there was one
        try:
            sweep.begin()
            skipped_before = float(skipped(model))
            needed = (steps + 1) * (rated[0].gradient_accumulation_steps or 1)
            for epoch in itertools.count():
                before = sweep.batches()
                whole = min(known or needed, needed - before)
                loop.fit(data, y, initial_epoch=epoch, epochs=epoch + 1, steps_per_epoch=whole, verbose=0, **how)
                if sweep.taken() == steps + 1:
                    break
                require(sweep.batches() == before + whole, "x", f"must give {needed} batches", sweep.batches())
            losses = keras.ops.convert_to_numpy(sweep.losses)[1:]
            none_made = float(skipped(model)) - skipped_before >= sweep.batches()
        finally:
            remove(model, hook)
    kept = 0 if none_made else until_divergence(losses)
    require(kept >= MIN_POINTS, "low", "must be a rate with which the loss stays finite", low)
    return RateCurve(rates[:kept], losses[:kept].astype("float64"), method)


@contextlib.contextmanager
def untouched(model: KerasModel) -> Iterator[None]:
    """Put a model back as it was: its variables, the attributes that fit sets, and its training function."""
    left = {name: getattr(model, name, None) for name in ("history", "stop_training", "train_function")}
    step = model.train_step
    skipped(model)  # made now, so that the snapshot has it
    snapshot = Snapshot.take(model, step.variables if isinstance(step, TrainStep) else ())
    try:
        yield
    finally:
        model.reset_metrics()  # those that are made meanwhile
        snapshot.restore()
        for name, value in left.items():
            setattr(model, name, value)


def until_divergence(losses: np.ndarray) -> int:
    """Return the number of losses before the first that is not finite or, smoothed, far above the minimum."""
    finite = len(losses) if np.isfinite(losses).all() else int(np.argmin(np.isfinite(losses)))
    if finite < MIN_POINTS:
        return 0
    ceiling = 10 * np.abs(losses[: min(5, finite)]).max()  # a far higher loss must not spread
    smoothed = smoothed_by_gaussian(np.minimum(losses[:finite], ceiling))
    least = np.minimum.accumulate(smoothed)
    first = smoothed[0]
    up = np.flatnonzero(smoothed - least > np.maximum(DIVERGED * (first - least), abs(first)))
    return max(MIN_POINTS, int(up[0])) if up.size else finite


def smoothed_by_gaussian(losses: np.ndarray) -> np.ndarray:
    """Return the losses, smoothed by a Gaussian whose deviation is a 25th of their number."""
    places = np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places) / max(1.0, len(places) / 25)) ** 2)
    return (weights @ losses) / weights.sum(axis=1)


def longest_fall(losses: np.ndarray) -> tuple[int, int]:
    """Return where the longest falling subsequence begins and ends."""
    lengths, starts = np.ones(len(losses), int), np.arange(len(losses))
    for place in range(1, len(losses)):
        higher = np.flatnonzero(losses[:place] > losses[place])
        if higher.size:
            last = higher[np.argmax(lengths[higher])]
            lengths[place], starts[place] = lengths[last] + 1, starts[last]
    end = int(np.argmax(lengths))
    return int(starts[end]), end


class Sweep:
    """The work after an update that records its loss and sets the rate of the next.

    Args:
        rate: The variable of the optimizer's rate.
        rates: The rates to set, in their order.
    """

    needs: frozenset[Need] = frozenset({"loss"})
    changes_weights = False

    def __init__(self, rate: Variable, rates: np.ndarray):
        how: Config = {"trainable": False, "aggregation": "only_first_replica"}
        self.rate, self.rates = rate, tf.constant(np.append(rates, rates[-1]), rate.dtype)
        self.losses = keras.Variable(np.zeros(len(rates) + 1, "float32"), name="losses", **how)
        self.total = keras.Variable(0.0, dtype="float32", name="total", **how)  # of the next update's losses
        self.counts = keras.Variable(np.zeros(3, "int32"), dtype="int32", name="counts", **how)
        kept = {"losses": self.losses, "total": self.total, "counts": self.counts, "rate": rate}
        self.arrays: Mapping[str, Variable] = kept

    def begin(self) -> None:
        """Clear the losses, and set the lowest rate."""
        self.counts.assign(np.zeros(3, "int32"))
        self.total.assign(0.0)
        self.rate.assign(self.rates[0])

    def taken(self) -> int:
        """Return the number of losses recorded."""
        return int(keras.ops.convert_to_numpy(self.counts)[0])

    def batches(self) -> int:
        """Return the number of batches seen."""
        return int(keras.ops.convert_to_numpy(self.counts)[2])

    def on_update(self, update: Update) -> None:
        place, since, batches = tf.unstack(tf.convert_to_tensor(self.counts))  # losses; batches since an update, in all
        total = tf.convert_to_tensor(self.total) + tf.cast(update.loss, "float32")
        ended = update.made | ~update.finite  # else more batches belong to the same update
        here = (tf.range(self.losses.shape[0]) == place) & ended
        mean = total / tf.cast(since + 1, "float32")
        self.losses.assign(tf.where(here, mean, tf.convert_to_tensor(self.losses)))
        self.total.assign(tf.where(ended, 0.0, total))
        place = tf.minimum(place + tf.cast(ended, "int32"), self.losses.shape[0])
        self.counts.assign(tf.stack([place, tf.where(ended, 0, since + 1), batches + 1]))
        self.rate.assign(tf.gather(self.rates, tf.minimum(place, self.losses.shape[0] - 1)))
