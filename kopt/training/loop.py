"""Loop: fit, with compiled stretches of steps inside."""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import keras
import numpy as np

from kopt import keras_internals as internals
from kopt.checks import require
from kopt.training.engine import Engine, Jit, Resident, Stream, source
from kopt.training.program import Program
from kopt.training.progress import ProgressBar
from kopt.training.train_step import TrainStep, skipped

__all__ = ["Loop", "fit"]

log = logging.getLogger("kopt")


@runtime_checkable
class Closing(Protocol):
    """A callback that has something to put away when training is over, even when it raised."""

    def close(self) -> None: ...


BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")


class Loop:
    """Trains a compiled model: `fit` has Keras' arguments, callbacks and History; a program call holds many steps.

    The examples' order depends on the seed and the epoch alone. Callbacks with batch hooks are called every
    `steps_per_execution` steps, as in Keras; with none, as many steps run in one call as take about 0.2 s.

    Args:
        model: A compiled Keras model; it trains under the strategy that it was built under.
        strategy: That strategy, to be sure of it; None for whatever it is.
        engine: "auto", "resident" (arrays on the device) or "stream" (Keras' iterators).
        jit: Whether to compile with XLA: "auto", True or False.
        step: What to do with one batch, returning logs; `TrainStep(model)` or the model's own train_step when None.
        seed: Of the order of examples, >= 0; drawn from NumPy's global generator at each fit when None, so that
            `keras.utils.set_random_seed` rules it.

    Raises:
        ValueError: When the model is not compiled or an argument is out of range.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> history = Loop(model, seed=0).fit(np.eye(2), np.ones((2, 1)), batch_size="full", epochs=2, verbose=0)
        >>> [round(loss, 4) for loss in history.history["loss"]]
        [1.0, 0.9409]

    Source:
        `keras.Model.fit`.
    """

    def __init__(
        self,
        model: Any,
        *,
        strategy: Any = None,
        engine: Engine = "auto",
        jit: Jit = "auto",
        step: Callable[[Any], Any] | None = None,
        seed: int | None = None,
    ):
        require(isinstance(model, keras.Model), "model", "must be a Keras model", model)
        require(model.compiled, "model", "must be compiled", model.name)
        own = model.distribute_strategy
        require(strategy in (None, own), "strategy", "must be the one that the model was built under", strategy)
        require(engine in ("auto", "resident", "stream"), "engine", "must be 'auto', 'resident' or 'stream'", engine)
        require(jit in ("auto", True, False), "jit", "must be 'auto', True or False", jit)
        alone = own.num_replicas_in_sync == 1
        require(alone or jit is not True, "jit", "must be 'auto' or False on several replicas", jit)
        whole = seed is None or seed == 0 or is_count(seed) and seed < 2**64
        require(whole, "seed", "must be a whole number in [0, 2 ** 64)", seed)
        self.model, self.engine, self.jit, self.seed = model, engine, jit, seed
        self.skipped_before = 0
        self.own_step = step is not None and not isinstance(step, TrainStep)
        self.step = step or (model.train_step if internals.has_own_train_step(model) else TrainStep(model))

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        *,
        batch_size: int | Literal["full"] | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Sequence[Any] | Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: Any = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> keras.callbacks.History:
        """Train, as `keras.Model.fit` does.

        Args:
            x: Inputs: arrays, a nest of them, a tf.data.Dataset, a PyDataset or a generator.
            y: Targets, where x does not bring them.
            batch_size: Examples an update over all devices, >= 1; "full" for all of them; 32 when None.
            epochs: The last epoch's number plus one.
            verbose: 0 for silence, "auto" or 1 for `ProgressBar`, 2 for plain lines.
            callbacks: Keras callbacks.
            validation_split: The last share of the arrays to validate on, in [0, 1).
            validation_data: (x, y), (x, y, sample_weight) or a dataset.
            shuffle: Whether to draw a new order each epoch.
            class_weight: Class -> weight in the loss.
            sample_weight: Weight of each example in the loss.
            initial_epoch: The first epoch's number.
            steps_per_epoch: Where to cut an epoch; None for all the data.
            validation_steps: Where to cut the validation; None for all the data.
            validation_batch_size: Examples a validation batch; as `batch_size` when None.
            validation_freq: Validate every so many epochs, or at these.

        Returns:
            The History, as from Keras; learning rates are in it where `callbacks.LearningRate` is among the callbacks.

        Raises:
            ValueError: When an argument is out of range.
        """
        counts = {"epochs": epochs, "initial_epoch": initial_epoch}
        sizes = {"steps_per_epoch": steps_per_epoch, "validation_steps": validation_steps}
        require_fit(x, batch_size, verbose, validation_split, validation_freq, counts)
        require_sizes(**sizes, validation_batch_size=validation_batch_size)
        model, epochs = self.model, min(epochs, keras.config.max_epochs() or epochs)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = internals.validation_split((x, y, sample_weight), validation_split)
        asked = listed(callbacks)
        seed = int(np.random.randint(2**31)) if self.seed is None else self.seed
        how = {"batch_size": batch_size, "shuffle": shuffle, "steps_per_epoch": steps_per_epoch}
        weights = {"sample_weight": sample_weight, "class_weight": class_weight}
        data = source(model, self.engine, seed, self.steps_a_call(asked), self.own_step, x, y, **how, **weights)
        if validation_data is not None:
            size = validation_batch_size or (None if batch_size == "full" else batch_size)
            validation = {"batch_size": size, "steps": validation_steps}
            internals.begin_validation(model, validation_data, **validation)
        bars = [ProgressBar(live=False if verbose == 2 else None)] if verbose in ("auto", 1, 2) else []
        steps = data.num_batches
        called = keras.callbacks.CallbackList(
            asked + bars, add_history=True, verbose=verbose, epochs=epochs, steps=steps, model=model
        )
        self.begin()
        logs: dict[str, Any] | None = None
        try:
            called.on_train_begin()
            for epoch in range(internals.initial_epoch(model, initial_epoch), epochs):
                called.on_epoch_begin(epoch)
                logs = self.epoch(data, epoch, called)
                if validation_data is not None and due(epoch, validation_freq):
                    logs |= internals.run_validation(model, validation_data, called, **validation)
                called.on_epoch_end(epoch, logs)
                if model.stop_training:
                    break
            if epochs > 0:
                model.optimizer.finalize_variable_values(model.trainable_weights)
            called.on_train_end(logs=logs)
        finally:
            self.clean_up(called)
        return model.history

    def begin(self) -> None:
        """Make the model ready to train."""
        self.model.stop_training = False
        self.install()
        self.tell_skipped()

    def clean_up(self, called: Any) -> None:
        """Leave the model as it was found, however training ended; callbacks may have a `close` for that."""
        internals.end_validation(self.model)
        if self.own_step:
            self.model.train_function = None
        for callback in called.callbacks:
            if isinstance(callback, Closing):
                callback.close()

    def epoch(self, data: Resident | Stream, epoch: int, callbacks: Any) -> dict[str, Any]:
        """Train for one epoch; its logs."""
        model, logs = self.model, {}
        model.reset_metrics()
        data.begin(epoch)
        program = self.install()
        with data.catch_stop_iteration():
            for first, last, work in data:
                callbacks.on_train_batch_begin(first)
                logs = program(work)
                callbacks.on_train_batch_end(last, logs)
                if model.stop_training:
                    break
        self.tell_skipped(epoch)
        return internals.epoch_logs(model, logs)

    def tell_skipped(self, epoch: int | None = None) -> None:
        """Say how many steps an epoch has skipped, where the step is one that can tell; without one, begin to count."""
        so_far = int(float(skipped(self.model))) if isinstance(self.step, TrainStep) else 0
        if epoch is not None and so_far > self.skipped_before:
            count = so_far - self.skipped_before
            said = "1 step was" if count == 1 else f"{count} steps were"
            log.warning("epoch %d: %s skipped, for its gradient was not finite", epoch + 1, said)
        self.skipped_before = so_far

    def install(self) -> Any:
        """The program of this loop's step; a new one where a callback or compile has thrown the last away."""
        program = self.model.train_function
        if not isinstance(program, Program) or program.step != self.step or program.jit != self.jit:
            program = self.model.train_function = Program(self.model, self.step, self.jit)
        return program

    def steps_a_call(self, callbacks: Sequence[Any]) -> int | None:
        """Steps a program call that the user or a callback needs; None for as many as is fast."""
        asked = self.model.steps_per_execution
        return asked if asked > 1 or any(map(watches_batches, callbacks)) else None


def fit(model: Any, x: Any = None, y: Any = None, **arguments: Any) -> keras.callbacks.History:
    """Train a compiled model by a `Loop` with its defaults.

    Args:
        model: A compiled Keras model.
        x: Inputs, as for `Loop.fit`.
        y: Targets.
        **arguments: As for `Loop.fit`.

    Returns:
        The History.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> sorted(fit(model, np.eye(2), np.ones((2, 1)), epochs=3, verbose=0).history)
        ['loss']

    Source:
        `keras.Model.fit`.
    """
    return Loop(model).fit(x, y, **arguments)


def watches_batches(callback: Any) -> bool:
    """Whether a callback has batch hooks of its own and is not content with any number of steps between their calls."""
    if getattr(callback, "any_stretch", False):
        return False
    own = [getattr(getattr(callback, hook), "__func__", None) for hook in BATCH_HOOKS]
    return any(function is not getattr(keras.callbacks.Callback, hook) for function, hook in zip(own, BATCH_HOOKS))


def due(epoch: int, frequency: Any) -> bool:
    """Whether to validate after this epoch: every so many, or the listed ones, counted from 1."""
    return epoch + 1 in frequency if isinstance(frequency, Collection) else (epoch + 1) % frequency == 0


def listed(callbacks: Any) -> list[Any]:
    """Callbacks as fit takes them, one or several, as a list."""
    return [] if callbacks is None else list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def require_fit(
    x: Any, batch_size: Any, verbose: Any, validation_split: Any, validation_freq: Any, counts: dict[str, Any]
) -> None:
    require(x is not None, "x", "must be given", x)
    require(batch_size in (None, "full") or is_count(batch_size), "batch_size", "must be >= 1 or 'full'", batch_size)
    for name, value in counts.items():
        require(value == 0 or is_count(value), name, "must be a whole number >= 0", value)
    require(verbose in ("auto", 0, 1, 2), "verbose", "must be 'auto', 0, 1 or 2", verbose)
    require(0 <= validation_split < 1, "validation_split", "must be in [0, 1)", validation_split)
    several = isinstance(validation_freq, Collection) and all(map(is_count, validation_freq))
    require(
        several or is_count(validation_freq), "validation_freq", "must be >= 1 or epochs from 1 on", validation_freq
    )


def require_sizes(**sizes: Any) -> None:
    for name, value in sizes.items():
        require(value is None or is_count(value), name, "must be a whole number >= 1", value)


def is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1
