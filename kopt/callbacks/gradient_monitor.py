"""GradientMonitor: norms of gradients, updates and weights, measured in the graph."""

import numpy as np
import tensorflow as tf

from kopt.callbacks.base import registry
from kopt.select import parameters
from kopt.state.slots import held_slots
from kopt.training.arguments import is_count
from kopt.training.callback import Callback
from kopt.training.steps.installing import holder
from kopt.training.steps.update_hooks import Need, Update
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasModel, Logs, Tensor, Variable

__all__ = ["GradientMonitor"]

NORMS = ("gradient_norm", "update_norm", "weight_norm")
PAIR = 3  # sums over pairs of updates


@registry.register
class GradientMonitor(Callback):
    """Log the norms of gradients, updates and weights, the ratio of the last two, and the gradient noise scale.

    An epoch's logs hold "gradient_norm", "update_norm" and "weight_norm", L2 norms, the means over the updates that
    are measured; "update_ratio" is the quotient of the last two: about 1e-3 is healthy, near 1 destroys what was
    learned, 1e-6 learns nothing. With `per_layer` the logs hold them for each layer too, as "gradient_norm/dense".
    Gradients are those of the whole batch before any clipping. Put it before callbacks that write logs, such as
    TensorBoard.

    The noise scale is tr(C) / |G|^2, the variance of one example's gradient over the squared mean gradient: a batch
    much smaller wastes updates, one much larger wastes examples. From pairs of consecutive updates, which have nearly
    the same weights, batch size B and gradients g, h: |G|^2 = E[g . h], tr(C) = B * (E[g . g] - E[g . h]). The
    estimate is noisy: it takes some hundred pairs. A copy of the gradient is kept in memory.

    Args:
        every: Measure one of `every` updates, >= 1; with `noise` a pair of them, >= 2.
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
    needs: frozenset[Need] = frozenset({"before", "gradients"})

    def __init__(self, every: int = 10, *, per_layer: bool = False, noise: bool = False):
        super().__init__()
        require(is_count(every), "every", "must be a whole number >= 1", every)
        require(every > 1 or not noise, "every", "must be >= 2 where noise is measured", every)
        self.every, self.per_layer, self.noise = int(every), bool(per_layer), bool(noise)
        self.trace_key = self.every, self.per_layer, self.noise
        if noise:
            self.needs = self.needs | {"examples"}

    def set_model(self, model: KerasModel) -> None:
        """Install the measurement before the training function is made."""
        super().set_model(model)
        self.start()
        self.fresh = True

    def build(self, model: KerasModel) -> None:
        """Make the sums and, for the noise scale, the copy of a gradient.

        The sums are the number of updates measured; for all weights, then for each layer, the norms in the order of
        `NORMS`; then, over all pairs, their number, B * (g . g - g . h), and g . h.
        """
        weights, held_by = model.trainable_weights, holder(model)
        self.groups = {"": list(range(len(weights)))} | (layers(model) if self.per_layer else {})
        kept = [tf.TensorSpec([self.norm_count + PAIR], "float64")]
        (sums,) = held_slots(held_by, "kopt_gradient_sums", kept).arrays
        copied = [*weights, tf.TensorSpec([], "int64")]  # a gradient, and the count of its update
        self.last = held_slots(held_by, "kopt_gradient_last", copied).arrays if self.noise else []
        self.arrays = {"sums": sums} | {f"last_{place}": array for place, array in enumerate(self.last)}

    def reinstall(self) -> None:
        """Measure the weights that are trained now, and drop the epoch's measurements of the weights before."""
        super().reinstall()
        self.start()

    def start(self) -> None:
        """Drop the measurements so far."""
        self.before = self.read_array("sums")

    @property
    def watched(self) -> dict[str, Variable]:
        """Return the sums since the variables were made."""
        return {"sums": self.arrays["sums"].value}

    def on_train_begin(self, logs: Logs = None) -> None:
        self.fresh = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self.fresh:
            self.start()
            if self.epoch_index(epoch) == 0 and self.noise:
                self.last[-1].assign(-1)  # make no pair with an update of another run
        self.fresh = False

    def get_state(self) -> CallbackState:
        return {"before": self.before, "fresh": self.fresh}

    def set_state(self, state: CallbackState) -> None:
        self.before, self.fresh = state["before"], state["fresh"]

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        sums = np.asarray(self.epoch_values()["sums"])
        if logs is not None:
            logs.update(self.logs_of(sums - self.before))
        self.before = sums

    def on_update(self, update: Update) -> None:
        """Add to the sums, at one of `every` updates and, for pairs, at the one after it."""
        place, sums = update.count % self.every, self.arrays["sums"]
        norms = tf.cond(update.made & (place == 0), lambda: self.norms(update), lambda: tf.zeros(self.norm_count))
        pair = self.pair(update, place) if self.noise else tf.zeros(PAIR)
        sums.assign(sums + tf.cast(tf.concat([norms, pair], 0), "float64"))

    @property
    def norm_count(self) -> int:
        """The number of sums that hold norms, and the number of updates."""
        return 1 + len(NORMS) * len(self.groups)

    def norms(self, update: Update) -> Tensor:
        """Return one, then the norms."""
        moved = [new - old for new, old in zip(map(tf.convert_to_tensor, update.weights), update.before)]
        found = [tf.constant(1.0)]
        for values in (update.gradients, moved, update.weights):
            squares = [tf.constant(0.0) if value is None else product(value, value) for value in values]
            found += [tf.sqrt(tf.add_n([squares[one] for one in places])) for places in self.groups.values()]
        return tf.stack(found)

    def pair(self, update: Update, place: Tensor) -> Tensor:
        """Keep the gradient of an update; at the next update return one, its noise, and the squared mean gradient."""
        *copies, kept = self.last
        given = [(last, one) for last, one in zip(copies, update.gradients) if one is not None]
        count = tf.cast(update.count, "int64")
        second = update.made & (place == 1) & (tf.convert_to_tensor(kept) == count - 1)
        keep = update.made & (place == 0)
        examples = tf.cast(update.examples, "float32")

        def products() -> Tensor:
            both = tf.add_n([product(tf.convert_to_tensor(last), one) for last, one in given])
            own = tf.add_n([product(one, one) for _, one in given])
            first = tf.add_n([product(last, last) for last in map(tf.convert_to_tensor, (last for last, _ in given))])
            return tf.stack([1.0, examples * ((own + first) / 2 - both), both])

        found = tf.cond(second, products, lambda: tf.zeros(PAIR))
        with tf.control_dependencies([found]):
            for last, one in given:
                last.assign(tf.where(keep, tf.cast(one, last.dtype), tf.convert_to_tensor(last)))
            kept.assign(tf.where(keep, count, tf.convert_to_tensor(kept)))
        return found

    def logs_of(self, sums: np.ndarray) -> dict[str, float]:
        """Return an epoch's sums as logs; nan where no update was measured."""
        count, pairs = sums[0], sums[-PAIR:]
        if not count:
            sums = np.full_like(sums, np.nan)
        by_norm = sums[1:-PAIR].reshape(len(NORMS), len(self.groups)) / (count or 1.0)
        logs = {}
        for column, group in enumerate(self.groups):
            for name, row in [*zip(NORMS, by_norm), ("update_ratio", by_norm[1] / np.maximum(by_norm[2], 1e-30))]:
                logs[f"{name}/{group}" if group else name] = float(row[column])
        if self.noise:
            logs["noise_scale"] = float(pairs[1] / pairs[2]) if pairs[2] > 0 else float("nan")
        return logs


def layers(model: KerasModel) -> dict[str, list[int]]:
    """Return the places of each layer's trainable weights, by the layer's path."""
    places = {id(weight): place for place, weight in enumerate(model.trainable_weights)}
    found: dict[str, list[int]] = {}
    for parameter in parameters(model):
        if id(parameter.variable) in places:
            found.setdefault(parameter.path.rpartition("/")[0], []).append(places[id(parameter.variable)])
    return found


def product(one: Tensor, other: Tensor) -> Tensor:
    """Return the scalar product in float32."""
    return tf.reduce_sum(tf.cast(one, "float32") * tf.cast(other, "float32"))
