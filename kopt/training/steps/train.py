"""TrainStep: the training step, with the one GradientTape over a model."""

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, TypeAlias

import keras
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.augment import Augmentation
from kopt.state.knob import Knob, held_knob
from kopt.training.execute.lookups import in_range
from kopt.training.feed.batches import rows
from kopt.training.steps.clips import GradientClip
from kopt.training.steps.portions import LossMeasurements, Portions, at_places, dense, summed
from kopt.training.steps.sharpness import Sharpness
from kopt.training.steps.update_hooks import Update, after_update, before_update, needed, working
from kopt.training.steps.whole import Computation, Whole, second_gradients
from kopt.values.checks import require
from kopt.values.types import Batch, KerasModel, Nest, Strategy, Tensor, Variable

__all__ = ["TrainStep", "skipped"]

log = logging.getLogger("kopt")

Sparse = Literal["dense", "keras"]
Quantities: TypeAlias = Mapping[str, Callable[[], Nest]]  # of an update, each computed when a hook asks for it
Gradient: TypeAlias = Tensor  # or tf.IndexedSlices, or None where the loss does not depend on a weight


class TrainStep:
    """One training step on one batch, from what `compile` was given, the same on any number of replicas.

    gradient = d loss(model(x), y) / d weights over the whole batch of every replica; it is summed over the replicas,
    then clipped, then the optimizer updates once. It is the step that `training.Loop` runs, and can be a model's
    `train_step` in plain `model.fit`. On one device, without micro-batches, it does what Keras' own step does, to the
    bit, but for the gradients of embeddings: they are made dense, because Keras' adaptive optimizers square the rows of
    an embedding before they add up duplicates, which is another algorithm; `sparse="keras"` does as Keras.

    Losses add up over micro-batches and replicas. A loss that gives one number an example is divided by the size of the
    whole batch: its examples, the elements that a mask leaves, or the sum of the weights. A loss that gives one number
    a batch is weighted by its examples if it is a mean, and added up if it is a sum. A measurement on a few made-up
    rows, before the step is traced, tells a mean from a sum; a loss that is neither, such as Dice, is refused. The same
    holds for losses that layers add. What a model's own compute_loss adds must be a mean over examples. Weight
    penalties count once. A metric that gives one number a batch counts once a part.

    An optimizer's own clipping sees the summed gradient too. A step whose gradient is not finite on any replica is
    skipped on all replicas and counted, see `skipped`; a LossScaleOptimizer then lowers its scale.

    Args:
        model: A compiled Keras model. Its BatchNormalization layers are made to share their statistics over replicas,
            with a line in the log.
        micro_batches: Number of parts, >= 1, in which a replica computes its batch, one after the other, so that the
            activations of one part are in memory at a time. The update equals the whole batch's, except for layers that
            look across examples (BatchNormalization uses each part's statistics), draw random numbers (Dropout), or
            change at each call (SpectralNormalization). A part without examples, as of a short last batch, does
            nothing.
        clip: A `training.clips` value, or None.
        augment: A `kopt.augment` value that changes each training batch in the program first, or None.
        sparse: What to do with sparse gradients, of embeddings: "dense" makes them dense, "keras" passes them to the
            optimizer as they are, on one device without micro-batches.
        sharpness: A `training.sharpness` value, such as SAM(0.05), or None. A step then takes two gradients, in twice
            the operations: the first moves the weights, and the update is by the second, taken there. Both are of the
            whole batch, so that replicas and micro-batches change nothing, and of the same examples, dropout and
            statistics; statistics, seeds, metrics and losses are those of the first. `clip` and callbacks see the
            second. Layers must hold what they change in Keras variables, and draw from Keras' seed generators.

    Raises:
        ValueError: When an argument is out of range; when called, when the optimizer accumulates gradients over steps
            (Keras' way) on several replicas or beside micro-batches, or a loss of parts does not add up.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> step = TrainStep(model, micro_batches=2)
        >>> float(step((np.eye(2, dtype="float32"), np.ones((2, 1), "float32")))["loss"])
        1.0

    Source:
        `keras.Model.train_step`.
    """

    def __init__(
        self,
        model: KerasModel,
        *,
        micro_batches: int = 1,
        clip: GradientClip | None = None,
        augment: Augmentation | None = None,
        sparse: Sparse = "dense",
        sharpness: Sharpness | None = None,
    ):
        require(internals.is_trainer(model), "model", "must be a Keras model", model)
        whole = isinstance(micro_batches, int) and not isinstance(micro_batches, bool) and micro_batches >= 1
        require(whole, "micro_batches", "must be a whole number >= 1", micro_batches)
        require(clip is None or isinstance(clip, GradientClip), "clip", "must be a clip, such as GlobalNorm(1.0)", clip)
        known = augment is None or isinstance(augment, Augmentation)
        require(known, "augment", "must be an augmentation, such as augment.Shift(0.1)", augment)
        known = sharpness is None or isinstance(sharpness, Sharpness)
        require(known, "sharpness", "must be a sharpness, such as SAM(0.05)", sharpness)
        require(sparse == "dense" or not sharpness, "sparse", "must be 'dense' beside sharpness", sparse)
        require_sparse(sparse, micro_batches == 1 and model.distribute_strategy.num_replicas_in_sync == 1)
        self.model, self.micro_batches, self.clip, self.augment = model, micro_batches, clip, augment
        self.sparse, self.sharpness, self.measured = sparse, sharpness, LossMeasurements(model)
        with model.distribute_strategy.scope(), internals.seeds_made() as made:
            self.changed = augment.make() if augment else None
        self.seeds = [internals.raw(generator.state) for generator in made]
        if model.compiled and model.optimizer is not None:
            skipped(model)  # made before a program is traced: a tf.function that makes variables is traced twice

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrainStep) and other.key() == self.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> tuple[Hashable, ...]:
        return id(self.model), self.micro_batches, self.clip, self.augment, self.sparse, self.sharpness

    @property
    def variables(self) -> list[Variable]:
        """The variables that the step changes and neither model nor optimizer holds: the `extra` of a snapshot.

        These are the seeds of the augmentation, and what the update hooks at work hold.
        """
        return [*self.seeds, *(variable for hook in working(self.model) for variable in hook.variables)]

    def __call__(self, data: Batch) -> Nest:
        """Update the weights for one batch, or skip the update where its gradient is not finite.

        Args:
            data: (x,), (x, y) or (x, y, sample_weight), this replica's part of the batch.

        Returns:
            The metrics' results so far this epoch.

        Raises:
            ValueError: When no weight has a gradient.
        """
        return self.run(data, checked=True)

    def unchecked(self, data: Batch) -> Nest:
        """Update the weights for one batch, whatever its gradient is.

        Only for a step that `needs_no_check`, in a program that looks at its end whether weights and state are finite.

        Args:
            data: As for a call of the step.

        Returns:
            As a call of the step.
        """
        return self.run(data, checked=False)

    def run(self, data: Batch, checked: bool) -> Nest:
        """Update the weights for one batch, with or without the check of its gradient."""
        model, replicas = self.model, tf.distribute.get_strategy().num_replicas_in_sync
        require(model.compiled, "model", "must be compiled", model.name)
        self.refuse_accumulation(replicas)
        if self.changed is not None:
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            data = (*self.changed(x, y), sample_weight)
        weights = model.trainable_weights
        computation = self.computation(weights, replicas)
        gradients, loss, logs = computation.of_batch(data)
        if weights and self.sharpness is not None:
            scale = tf.identity(internals.scale_of(model.optimizer))
            gradients = second_gradients(self.sharpness, computation, data, gradients, weights, scale)
        found = logs() if needed(model, "metrics") else None  # metrics are made at their first update
        if weights:
            quantities: Quantities = {
                "loss": lambda: summed(loss),
                "examples": lambda: summed(rows(data)),
                "metrics": computation.metrics,
            }
            self.update(gradients, weights, checked, quantities)
        return logs() if found is None else found

    def computation(self, weights: Sequence[Variable], replicas: int) -> Computation:
        """Return how the gradients of a batch are computed: at once, or as sums over replicas and micro-batches."""
        model, again = self.model, self.sharpness is not None
        if replicas == 1 and self.micro_batches == 1:
            return Whole(model, weights, self.sparse == "keras", again)
        if replicas > 1:
            internals.separate_losses(model)
            share_statistics(model, replicas)
        return Portions(model, self.micro_batches, weights, self.measured, again)

    def update(
        self, gradients: Sequence[Gradient], weights: Sequence[Variable], checked: bool, quantities: Quantities
    ) -> None:
        """Sum the gradients over replicas, clip them, and let the optimizer update by them.

        Args:
            gradients: A replica's, one a weight.
            weights: The trainable weights.
            checked: Whether to skip the update where a gradient is not finite.
            quantities: What update hooks may ask for besides the gradients, by name.
        """
        optimizer = self.model.optimizer
        internals.build_optimizer(optimizer, weights)
        places = [place for place, gradient in enumerate(gradients) if gradient is not None]
        require(bool(places), "model", "must have a weight that its loss depends on", self.model.name)
        reduced, before = summed([gradients[place] for place in places]), before_update(self.model)
        scale = tf.identity(internals.scale_of(optimizer)) if needed(self.model, "gradients") else None
        if checked:
            known = [tf.reduce_all(tf.math.is_finite(numbers(gradient))) for gradient in reduced]
            finite = tf.reduce_all(known) & in_range()
            count = skipped(self.model).value
            clipped = at_places(places, self.clipped(reduced, [weights[place] for place in places]), len(weights))
            internals.update(optimizer, clipped, weights, finite, lambda: count.assign(count + 1))
        else:
            finite = tf.constant(True)
            internals.update_unchecked(optimizer, gradients, weights)
        if before:
            unscaled = lambda: [dense(one) / tf.cast(scale, one.dtype) for one in reduced]
            every = lambda: at_places(places, unscaled(), len(weights))
            after_update(Update(self.model, before, finite, gradients=every, **quantities), self.model)

    def clipped(self, gradients: Sequence[Gradient], weights: Sequence[Variable]) -> Sequence[Gradient]:
        if self.clip is None:
            return gradients
        parameters, whole = [tf.convert_to_tensor(weight) for weight in weights], [dense(one) for one in gradients]
        found = self.clip(whole, parameters, internals.scale_of(self.model.optimizer))
        return [like(one, dense_one, clipped) for one, dense_one, clipped in zip(gradients, whole, found)]

    def needs_no_check(self) -> bool:
        """Return whether an infinite gradient surely makes weights or state infinite, where a later check finds it."""
        plain = tf.distribute.get_strategy().num_replicas_in_sync == 1 and self.clip is None and self.sharpness is None
        free = all(weight.constraint is None for weight in self.model.trainable_weights)
        return plain and free and internals.keeps_infinity(self.model.optimizer)

    def refuse_accumulation(self, replicas: int) -> None:
        if replicas > 1 or self.micro_batches > 1 or self.sharpness is not None:
            for optimizer in internals.rated_optimizers(self.model.optimizer):
                steps = optimizer.gradient_accumulation_steps
                rule = "must be None on several replicas and beside sharpness or micro-batches, which do the same: "
                rule += f"TrainStep(model, micro_batches={steps})"
                require(not steps, "gradient_accumulation_steps", rule, steps)


def skipped(model: KerasModel) -> Knob:
    """Return the number of steps since compile that were skipped because their gradient was not finite.

    Args:
        model: A compiled Keras model.

    Returns:
        A Knob, saved with the optimizer.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> float(skipped(model))
        0.0
    """
    holder, name = internals.rated_optimizers(model.optimizer)[0], "kopt_skipped"

    def make(strategy: Strategy) -> None:
        with tf.init_scope(), strategy.scope():
            held_knob(holder, name, 0.0, "int64")

    if not hasattr(holder, name):
        inside = tf.distribute.get_strategy() is model.distribute_strategy
        if inside and not tf.distribute.in_cross_replica_context():
            tf.distribute.get_replica_context().merge_call(make)
        else:
            make(model.distribute_strategy)
    return held_knob(holder, name, 0.0)


def share_statistics(model: KerasModel, replicas: int) -> None:
    """Make batch normalization use the whole batch's statistics, as one replica would."""
    for layer in internals.flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.synchronized:
            layer.synchronized = True
            log.info("%s: synchronized, so that %d replicas share their statistics", layer.name, replicas)


def require_sparse(sparse: str, plain: bool) -> None:
    """Raise ValueError unless sparse gradients can be treated in this way."""
    require(sparse in ("dense", "keras"), "sparse", "must be 'dense' or 'keras'", sparse)
    rule = "must be 'dense' on several replicas and beside micro-batches"
    require(sparse == "dense" or plain, "sparse", rule, sparse)


def numbers(gradient: Gradient) -> Tensor:
    """Return the numbers of a gradient; of a sparse one, those of its rows."""
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def like(gradient: Gradient, whole: Tensor, clipped: Tensor) -> Gradient:
    """Return a clipped gradient in the form of the original: sparse, with the same rows, where that one is sparse."""
    if not isinstance(gradient, tf.IndexedSlices):
        return clipped
    factors = tf.where(whole == 0, tf.ones_like(whole), clipped / whole)
    values = gradient.values * tf.gather(factors, gradient.indices)
    return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
