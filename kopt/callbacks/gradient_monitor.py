"""GradientMonitor: how large gradients, updates and weights are, measured in the graph."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kopt.callbacks.base import Placed, registry
from kopt.keras_internals import raw
from kopt.select import parameters
from kopt.state.slots import held_slots
from kopt.training.arguments import is_count
from kopt.training.steps.installing import holder, install, remove, require_at_work
from kopt.training.steps.update_hooks import Hook, Update
from kopt.values.checks import require

__all__ = ["GradientMonitor"]

NORMS = ("gradient_norm", "update_norm", "weight_norm")


@registry.register
class GradientMonitor(Placed):
    """Log the norms of gradients, updates and weights, the ratio of the last two, and the gradient noise scale.

    In an epoch's logs stand "gradient_norm", "update_norm" and "weight_norm", L2 norms, the means over the updates that
    are looked at; "update_ratio" is the quotient of the last two: about 1e-3 is healthy, near 1 destroys what was
    learned, 1e-6 learns nothing. With `per_layer` they stand there for each layer too, as "gradient_norm/dense".
    Gradients are those of the whole batch before any clipping. All is computed in the training program; put it before
    callbacks that write logs, such as TensorBoard.

    The noise scale is tr(C) / |G|^2, the variance of one example's gradient over the squared mean gradient: a batch
    much smaller wastes updates, one much larger wastes examples. From pairs of consecutive updates, which have nearly
    the same weights, batch size B and gradients g, h: |G|^2 = E[g . h], tr(C) = B * (E[g . g] - E[g . h]). It is noisy:
    look at some hundred pairs. It keeps a copy of the gradient.

    Args:
        every: Look at one of so many updates, >= 1; with `noise` at pairs of them, >= 2.
        per_layer: Whether to log layers one by one too.
        noise: Whether to log "noise_scale", in examples.

    Raises:
        ValueError: When an argument is out of range; in fit, when the model has a train_step of its own, or is not
            built.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> model = keras.Sequential([keras.Input((1,)), layer])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> monitor = GradientMonitor(every=1)
        >>> history = model.fit(np.ones((1, 1)), np.zeros((1, 1)), callbacks=[monitor], verbose=0).history
        >>> [round(history[name][0], 3) for name in ("gradient_norm", "update_norm", "weight_norm", "update_ratio")]
        [2.0, 0.2, 0.8, 0.25]

    Source:
        McCandlish et al., An Empirical Model of Large-Batch Training, 2018, section 2.2 and appendix A.1.
    """

    spans_epochs = True

    def __init__(self, every: int = 10, *, per_layer: bool = False, noise: bool = False):
        super().__init__()
        require(is_count(every), "every", "must be a whole number >= 1", every)
        require(every > 1 or not noise, "every", "must be >= 2 where noise is measured", every)
        self.every, self.per_layer, self.noise = int(every), bool(per_layer), bool(noise)
        self.measured: Measured

    def set_model(self, model: Any) -> None:
        """Put the measurement into the training step, before the training function is made."""
        super().set_model(model)
        self.start()
        self.fresh = True

    def place(self) -> None:
        model, settings = self.model, (self.every, self.per_layer, self.noise)
        self.measured = install(model, "GradientMonitor", settings, lambda: Measured(model, *settings))

    def place_anew(self) -> None:
        """Measure the weights that are trained now, and drop the epoch's measurements of the weights before."""
        remove(self.model, self.measured)
        self.place()
        self.start()

    def start(self) -> None:
        """Drop what has been measured so far."""
        self.before = keras.ops.convert_to_numpy(self.measured.sums)

    @property
    def watched(self) -> dict[str, Any]:
        """The sums since the variables were made."""
        return {"sums": self.measured.sums.value}

    def on_train_begin(self, logs: Any = None) -> None:
        self.fresh = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.follow()
        if self.fresh:
            self.start()
            if self.from_zero(epoch) == 0:
                self.measured.forget()
        self.fresh = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        require_at_work(self.measured, self.model)
        sums = np.asarray(self.taken()[0]["sums"])
        if logs is not None:
            logs.update(self.measured.told(sums - self.before))
        self.before = sums

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Leave nothing in the model's training step."""
        remove(self.model, self.measured)


class Measured(Hook):
    """The sums of what was measured, and the hook that measures.

    The sums are the number of updates looked at; of all weights, then of each layer, the norms, by `NORMS`; then the
    number of pairs, and B * (g . g - g . h) and g . h of all pairs.

    Args:
        model: The compiled model, built.
        every: Look at one of so many updates.
        per_layer: Whether to measure each layer.
        noise: Whether to look at pairs.
    """

    def __init__(self, model: Any, every: int, per_layer: bool, noise: bool):
        self.every, self.noise = every, noise
        self.needs = frozenset({"before", "gradients"}) | (frozenset({"examples"}) if noise else frozenset())
        weights, held_by = model.trainable_weights, holder(model)
        self.groups = {"": list(range(len(weights)))} | (layers(model) if per_layer else {})
        size = 1 + len(NORMS) * len(self.groups) + 3
        (self.sums,) = held_slots(held_by, "kopt_gradient_sums", [tf.TensorSpec([size], "float64")]).arrays
        kept = [*weights, tf.TensorSpec([], "int64")]
        arrays = held_slots(held_by, "kopt_gradient_last", kept).arrays if noise else []
        self.last, self.kept = arrays[:-1], arrays[-1:]
        self.variables: Sequence[Any] = [raw(one) for one in (self.sums, *arrays)]

    def forget(self) -> None:
        """Make no pair with an update of another run."""
        for count in self.kept:
            count.assign(-1)

    def after_update(self, update: Update) -> None:
        """Add to the sums, at one of `every` updates and, for pairs, at the one after it."""
        place, gradients = update.count % self.every, update.gradients  # which is not to be made inside a branch
        norms = tf.cond(
            update.made & (place == 0), lambda: self.norms(update, gradients), lambda: tf.zeros(self.norm_count)
        )
        pair = self.pair(update, gradients, place) if self.noise else tf.zeros(3)
        self.sums.assign(self.sums + tf.cast(tf.concat([norms, pair], 0), "float64"))

    @property
    def norm_count(self) -> int:
        return 1 + len(NORMS) * len(self.groups)

    def norms(self, update: Update, gradients: Sequence[Any]) -> Any:
        """One, and the norms."""
        moved = [new - old for new, old in zip(map(tf.convert_to_tensor, update.weights), update.before)]
        found = [tf.constant(1.0)]
        for values in (gradients, moved, update.weights):
            squares = [tf.constant(0.0) if value is None else square(value, value) for value in values]
            found += [tf.sqrt(tf.add_n([squares[one] for one in places])) for places in self.groups.values()]
        return tf.stack(found)

    def pair(self, update: Update, gradients: Sequence[Any], place: Any) -> Any:
        """Keep the gradient of an update; at the next, one, what it says of the noise, and of the mean gradient."""
        given = [(last, one) for last, one in zip(self.last, gradients) if one is not None]
        count, (kept,) = tf.cast(update.count, "int64"), self.kept
        second = update.made & (place == 1) & (tf.convert_to_tensor(kept) == count - 1)
        keep = update.made & (place == 0)
        examples = tf.cast(update.examples, "float32")

        def looked() -> Any:
            products = tf.add_n([square(tf.convert_to_tensor(last), one) for last, one in given])
            own = tf.add_n([square(one, one) for _, one in given])
            first = tf.add_n([square(last, last) for last in map(tf.convert_to_tensor, (last for last, _ in given))])
            return tf.stack([1.0, examples * ((own + first) / 2 - products), products])

        found = tf.cond(second, looked, lambda: tf.zeros(3))
        with tf.control_dependencies([found]):
            for last, one in given:
                last.assign(tf.where(keep, tf.cast(one, last.dtype), tf.convert_to_tensor(last)))
            kept.assign(tf.where(keep, count, tf.convert_to_tensor(kept)))
        return found

    def told(self, sums: np.ndarray) -> dict[str, float]:
        """An epoch's sums as logs; nan where nothing was looked at."""
        count, pairs = sums[0], sums[-3:]
        if not count:
            sums = np.full_like(sums, np.nan)
        by_norm = sums[1:-3].reshape(len(NORMS), len(self.groups)) / (count or 1.0)
        logs = {}
        for column, group in enumerate(self.groups):
            for name, row in [*zip(NORMS, by_norm), ("update_ratio", by_norm[1] / np.maximum(by_norm[2], 1e-30))]:
                logs[f"{name}/{group}" if group else name] = float(row[column])
        if self.noise:
            logs["noise_scale"] = float(pairs[1] / pairs[2]) if pairs[2] > 0 else float("nan")
        return logs


def layers(model: Any) -> dict[str, list[int]]:
    """The places of each layer's trainable weights, by the layer's path."""
    places = {id(weight): place for place, weight in enumerate(model.trainable_weights)}
    found: dict[str, list[int]] = {}
    for parameter in parameters(model):
        if id(parameter.variable) in places:
            found.setdefault(parameter.path.rpartition("/")[0], []).append(places[id(parameter.variable)])
    return found


def square(one: Any, other: Any) -> Any:
    """The scalar product in float32."""
    return tf.reduce_sum(tf.cast(one, "float32") * tf.cast(other, "float32"))
