"""Average: weights averaged over a run, for validation and saved files."""

import functools
from collections.abc import Mapping, Sequence

import tensorflow as tf
from keras import ops

from kopt.callbacks.averaging import EMA, LAWA, SWA, Averaging
from kopt.callbacks.base import registry
from kopt.keras_internals import has_weights, raw
from kopt.state.knob import held_knob
from kopt.state.slots import held_slots
from kopt.training.callback import Callback
from kopt.training.rule_weights import rule_optimizers
from kopt.training.steps.evaluation_weights import EvaluationWeights
from kopt.training.steps.installing import holder
from kopt.training.steps.update_hooks import ModelHooks, Update
from kopt.training.tools.statistics import refresh_statistics
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasModel, Logs, Nest, Tensor, Variable

__all__ = ["Average"]


@registry.register
class Average(Callback):
    """Average the weights over the run; validation, checkpoints, files and the trained model have the average.

    The average does not change training. From the end of an epoch to the beginning of the next, during validation, and
    when training has ended, the model's weights are the *evaluation weights*: the average. So put it before callbacks
    that read the weights. An exponential average is computed inside the training program, after every update, whatever
    `steps_per_execution` is; the others once an epoch.

    The average, and the weights that training goes on from, are saved with the optimizer: a run that is resumed
    (`initial_epoch`, BackupAndRestore) goes on exactly. A run from epoch 0 starts a new average from the model's
    weights. When training raises in `Loop`, the model has the average so far; in `model.fit`, after `close()`.

    Args:
        of: `EMA(decay)`, `SWA(start)` or `LAWA(window)`.
        statistics: Inputs, as for `predict`, from which the statistics of BatchNormalization layers are computed again
            for the average when training ends; None leaves those of training.

    Raises:
        ValueError: When an argument is of the wrong kind; in fit, when the model is not built, or its optimizer
            averages too (`use_ema`), or its rule, as Schedule-Free does: `RuleWeights` shows that average.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        >>> model = keras.Sequential([keras.Input((1,)), layer])
        >>> model.compile(keras.optimizers.SGD(0.25), "mse")
        >>> how = {"batch_size": 1, "epochs": 2, "verbose": 0}
        >>> _ = model.fit(np.ones((1, 1)), np.ones((1, 1)), callbacks=[Average(SWA(start=0))], **how)
        >>> float(model.get_weights()[0][0, 0])  # of 0.5 and 0.75
        0.625

    Source:
        `torch.optim.swa_utils.AveragedModel`; `keras.callbacks.SwapEMAWeights`.
    """

    def __init__(self, of: Averaging = EMA(), *, statistics: Nest = None):
        super().__init__()
        require(isinstance(of, Averaging), "of", "must be an averaging, such as EMA(0.999)", of)
        self.of, self.statistics = of, statistics
        self.trace_key = of
        self.running = False
        self.averaged: AveragedWeights

    @property
    def spans_epochs(self) -> bool:  # type: ignore[override]
        """Whether Loop may run several epochs in one program."""
        return isinstance(self.of, EMA)

    def set_model(self, model: KerasModel) -> None:
        """Install the average before the training function is made."""
        self.running, self.first, self.folded = False, True, False
        super().set_model(model)

    def build(self, model: KerasModel) -> None:
        """Make the average, or take that of an earlier fit."""
        require(has_weights(model), "model", "must be built before its weights are averaged", model.name)
        twice = any(optimizer.use_ema for optimizer in self.optimizers.values())
        require(not twice, "use_ema", "must be False in an optimizer beside Average", twice)
        for optimizer in rule_optimizers(model):
            require(False, "rule", "must keep no evaluation weights of its own beside Average", optimizer.rule)
        key = "average", self.of, holder(model), tuple(map(id, model.trainable_weights))
        self.averaged = ModelHooks.of(model).make_once(key, lambda: AveragedWeights(model, self.of))
        self.arrays = self.averaged.arrays

    def on_update(self, update: Update) -> None:
        """Take the weights into an exponential average."""
        if isinstance(self.of, EMA):
            self.averaged.take(update)

    def reinstall(self) -> None:
        """Average the weights that are trained now; a weight that is new was constant before."""
        before = self.averaged
        before.evaluation.hide()
        super().reinstall()
        self.averaged.go_on_from(before)

    def on_train_begin(self, logs: Logs = None) -> None:
        self.running, self.first = True, True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        epoch, self.running = self.epoch_index(epoch), True
        evaluation, count = self.averaged.evaluation, self.averaged.count
        if self.first and (epoch == 0 or not evaluation.untouched()):
            evaluation.forget()
            count.set(0)
        evaluation.hide()
        epochs = (self.params or {}).get("epochs")
        known = epochs is not None or not isinstance(self.of, SWA) or self.of.start == 0
        require(known, "epochs", f"must be known for {self.of!r}, from a callback's set_params", epochs)
        self.first = False
        self.folded = isinstance(self.of, EMA) or isinstance(self.of, SWA) and epoch < self.of.start * (epochs or 0)

    def get_state(self) -> CallbackState:
        """Return what the optimizer does not hold, and LAWA's window, which no step changes."""
        window = [ops.convert_to_numpy(array) for array in self.averaged.window]
        return {"running": self.running, "first": self.first, "folded": self.folded, "window": window}

    def set_state(self, state: CallbackState) -> None:
        self.running, self.first, self.folded = state["running"], state["first"], state["folded"]
        for array, value in zip(self.averaged.window, state["window"], strict=True):
            array.assign(value)

    def on_test_begin(self, logs: Logs = None) -> None:
        if self.running:
            self.show()

    def on_test_end(self, logs: Logs = None) -> None:
        if self.running:
            self.averaged.evaluation.hide()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        require(not self.first, "on_epoch_begin", "must be called before on_epoch_end for Average to act", epoch)
        self.show()

    def require_at_work(self) -> None:
        """Raise ValueError when training has not called `on_update`, which only an exponential average needs."""
        if isinstance(self.of, EMA):
            super().require_at_work()

    def on_train_end(self, logs: Logs = None) -> None:
        self.close()
        if self.statistics is not None:
            refresh_statistics(self.model, self.statistics)

    def show(self) -> None:
        """Put the average at this epoch's end into the model."""
        if not self.folded and not self.in_mid_epoch:
            self.averaged.fold()
            self.folded = True
        if float(self.averaged.count):
            self.averaged.evaluation.show()

    def close(self) -> None:
        """Leave the average in the model, and nothing in its training step."""
        if self.running and float(self.averaged.count):
            self.averaged.evaluation.show()
        self.running = False
        super().close()


class AveragedWeights:
    """A model's averaged weights, saved with its optimizer.

    Args:
        model: The compiled model, built.
        of: The kind of average.

    Attributes:
        arrays: The variables that `take` changes, by name.
    """

    def __init__(self, model: KerasModel, of: Averaging):
        self.of, self.evaluation = of, EvaluationWeights(model)
        self.count = held_knob(holder(model), "kopt_average_count", 0, "int64")
        averages = {f"average_{place}": array for place, array in enumerate(self.evaluation.arrays)}
        self.arrays: Mapping[str, Variable] = {**averages, "count": self.count.value}
        self.window: Sequence[Variable] = ()
        if isinstance(of, LAWA):
            rows = [tf.TensorSpec([of.window, *weight.shape], weight.dtype) for weight in self.evaluation.weights]
            self.window = held_slots(holder(model), "kopt_average_window", rows).arrays
        self.fold = tf.function(self._fold, autograph=False)

    def go_on_from(self, before: "AveragedWeights") -> None:
        """Copy an average whose weights or optimizer were replaced in the middle of a run."""
        places = {id(weight): place for place, weight in enumerate(before.evaluation.weights)}
        for new, weight in enumerate(self.evaluation.weights):
            old = places.get(id(weight))
            self.evaluation.arrays[new].assign(weight if old is None else before.evaluation.arrays[old])
            if isinstance(self.of, LAWA):
                rows = tf.broadcast_to(tf.convert_to_tensor(weight), self.window[new].shape)
                self.window[new].assign(rows if old is None else before.window[old])
        self.count.set(int(float(before.count)))
        self.evaluation.forget()

    def take(self, update: Update) -> None:
        """Take the weights of an update into the average, in the graph."""
        count = tf.convert_to_tensor(self.count.value)
        share = tf.where(update.made, tf.cast(self.of.share(count), "float32"), 0.0)
        for array, weight in zip(map(raw, self.evaluation.arrays), update.weights):
            old, new = tf.convert_to_tensor(array), tf.convert_to_tensor(weight)
            array.assign(old + (new - old) * tf.cast(share, old.dtype))
        self.count.value.assign(count + tf.cast(update.made, "int64"))

    def _fold(self) -> None:
        """Take the weights at an epoch's end into the average."""
        evaluation, count = self.evaluation, tf.convert_to_tensor(self.count.value)

        def mean(array: Variable, weight: Tensor) -> None:
            share = tf.cast(self.of.share(tf.cast(count, "float32")), array.dtype)
            array.assign(array + (weight - array) * share)

        def over_window(array: Variable, weight: Tensor, window: Variable) -> None:
            rows = window.shape[0]
            window.scatter_update(tf.IndexedSlices(weight[tf.newaxis], [count % rows]))
            array.assign(tf.reduce_mean(window[: tf.minimum(count + 1, rows)], axis=0))

        with evaluation.strategy.scope():
            update = functools.partial(evaluation.strategy.extended.update, group=False)
            for place, (array, weight) in enumerate(zip(evaluation.arrays, evaluation.weights)):
                if isinstance(self.of, LAWA):
                    update(raw(array), over_window, args=(raw(weight), raw(self.window[place])))
                else:
                    update(raw(array), mean, args=(raw(weight),))
            self.count.value.assign(count + 1)
