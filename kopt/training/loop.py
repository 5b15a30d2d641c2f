"""Loop: fit, evaluate and predict, with many steps in one program call."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import keras

from kopt import keras_internals as internals
from kopt.distribute import is_chief
from kopt.training.arguments import (
    callback_list,
    require_fit,
    require_loop,
    require_one_rate,
    require_shuffle,
    require_sizes,
)
from kopt.training.belonging import require_own_optimizer, require_own_step
from kopt.training.callback import Callback
from kopt.training.callback_needs import for_worker, spans_epochs, steps_a_call
from kopt.training.checkpoint.callback import Checkpointed, saver_of
from kopt.training.checkpoint.saver import Unsaved
from kopt.training.determinism import make_deterministic, named_refusals
from kopt.training.epochs import UNSAVED, Epochs, Frequency, times_due
from kopt.training.execute.base import Executor
from kopt.training.feed.class_weights import ClassWeight, require_class_weight
from kopt.training.feed.order import seed_of_run
from kopt.training.feed.placement import DataSpec, Engine, Jit, Shuffle, place
from kopt.training.feed.sources import Source
from kopt.training.feed.validation import parts_of, require_data
from kopt.training.progress import ProgressBar
from kopt.training.rule_weights import showing_rules
from kopt.training.steps.evaluate import EvaluateStep
from kopt.training.steps.installing import hooked
from kopt.training.steps.train import Sparse, TrainStep, require_sparse
from kopt.values.checks import require
from kopt.values.moved_names import moved_names
from kopt.values.types import KerasCallback, KerasModel, Nest, Phase, Step, Strategy

__all__ = ["Loop"]
__getattr__ = moved_names(__name__, {"fit": "kopt.training.fitting.fit"})

PARTS: dict[Phase, str] = {"train": "train", "test": "validation", "predict": "predict"}  # names in checkpoints

Verbose = Literal["auto"] | int
Callbacks = Sequence[KerasCallback] | KerasCallback | None


class Loop:
    """Trains a compiled model: `fit` has Keras' arguments, callbacks and History; a program call holds many steps.

    The examples' order depends on the seed and the epoch alone. Callbacks with batch methods are called every
    `steps_per_execution` steps, as in Keras. Without such callbacks, a call runs as many steps as take about 0.2 s, and
    several epochs where every callback with epoch methods is Keras' logger or declares `spans_epochs`.

    Args:
        model: A Keras model, compiled for all but `predict`; it trains under the strategy that it was built under.
        strategy: That strategy, to be sure of it; None for whatever it is.
        engine: "auto", "resident" (arrays on the device; a dataset is read once, in its order) or "stream" (tf.data).
        jit: Whether to compile with XLA: "auto" (the value of `compile(jit_compile=)`, else where XLA does the same
            and the steps that fit is to make save more time than it takes to compile; elsewhere Adam and AdamW and
            BatchNormalization of images take TensorFlow's kernels, which round otherwise than Keras), True (it leaves
            out assertions) or False (Keras' numbers, to the bit). Indices out of range raise in XLA too.
        step: The step on one batch, returning logs; `TrainStep(model)` or the model's own train_step when None.
        seed: The seed of the order of examples, >= 0; drawn from NumPy's global generator at each fit when None, so
            that `keras.utils.set_random_seed` rules it.
        budget: Bytes of arrays that may lie on the device, >= 0; None for a quarter of the free memory.
        sparse: Gradients of embeddings: "dense" adds up those of a row first, "keras" does as Keras' own step, whose
            adaptive optimizers square them first; a model with a train_step of its own does as Keras.
        deterministic: Whether TensorFlow's operations are to be deterministic, from then on in the whole process;
            needs a seed here, and `keras.utils.set_random_seed` before the model is built. "auto" takes no XLA then.
        executors: Kinds of executors that are asked to run a chunk before kopt's own, see docs/extending/executor.md.

    Raises:
        ValueError: When an argument is out of range, or the step is another model's.

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
        model: KerasModel,
        *,
        strategy: Strategy = None,
        engine: Engine = "auto",
        jit: Jit = "auto",
        step: Step | None = None,
        seed: int | None = None,
        budget: int | None = None,
        sparse: Sparse = "dense",
        deterministic: bool = False,
        executors: Sequence[type[Executor]] = (),
    ):
        require(internals.is_trainer(model), "model", "must be a Keras model", model)
        own = model.distribute_strategy
        require(strategy in (None, own), "strategy", "must be the one that the model was built under", strategy)
        alone = own.num_replicas_in_sync == 1
        require_loop(engine, jit, seed, budget, executors, alone=alone, deterministic=deterministic)
        require_sparse(sparse, alone)
        rule = "must be given to the step where one is given: TrainStep(model, sparse='keras')"
        require(sparse == "dense" or step is None, "sparse", rule, sparse)
        require_own_step(model, model.train_step if step is None else step)
        if deterministic:
            make_deterministic(model, seed)
        self.model, self.engine, self.seed, self.budget = model, engine, seed, budget
        self.deterministic = deterministic
        self.own_step = step is not None and not isinstance(step, TrainStep)
        own_step, own_test = internals.has_own_train_step(model), internals.has_own_test_step(model)
        self.buildable = not own_step
        steps: dict[Phase, Step] = {
            "train": hooked(model, step or (model.train_step if own_step else TrainStep(model, sparse=sparse))),
            "test": model.test_step if own_test else EvaluateStep(model),
        }
        self.epochs, self.chief = Epochs(model, steps, jit, executors), is_chief(own)

    def fit(
        self,
        x: Nest = None,
        y: Nest = None,
        *,
        batch_size: int | Literal["full"] | None = None,
        epochs: int = 1,
        verbose: Verbose = "auto",
        callbacks: Callbacks = None,
        validation_split: float | None = 0.0,
        validation_data: Nest = None,
        shuffle: Shuffle = True,
        class_weight: ClassWeight = None,
        sample_weight: Nest = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Frequency = 1,
        checkpoint: Checkpointed = None,
        every: str | None = None,
    ) -> keras.callbacks.History:
        """Train, as `keras.Model.fit` does; embeddings under adaptive optimizers only with `Loop(sparse="keras")`.

        Args:
            x: Inputs: arrays, a nest of them, a tf.data.Dataset, a PyDataset or a generator.
            y: Targets, where x does not bring them.
            batch_size: Examples an update over all devices, >= 1; "full" for all of them; when None 32, or as many as
                `steps_per_epoch` shares arrays out into.
            epochs: The last epoch's number plus one.
            verbose: 0 for silence, "auto" or 1 for `ProgressBar` (bar, notebook's output or lines), 2 for lines alone.
            callbacks: Keras callbacks.
            validation_split: The last share of the arrays to validate on, in [0, 1); None for none.
            validation_data: (x, y), (x, y, sample_weight) or a dataset.
            shuffle: Whether to draw a new order of arrays, or of a PyDataset's batches, each epoch; "batch" for arrays
                within their batches. A dataset has its own order, the same as in Keras' fit.
            class_weight: {class: weight in the loss}; for several outputs {output: {class: weight}} or a list of them.
            sample_weight: Weight of each example in the loss; beside class weights, the product counts.
            initial_epoch: The first epoch's number.
            steps_per_epoch: Where to cut an epoch; None for all the data.
            validation_steps: Where to cut the validation; None for all the data.
            validation_batch_size: Examples a validation batch; as `batch_size` when None.
            validation_freq: Validate every so many epochs, or at these.
            checkpoint: A folder of checkpoints: a run that was stopped goes on from the last one, when the same fit of
                the same script is run again, and ends with the same bits; a run that was complete is not trained again.
                `Checkpoint(folder)` has more to set.
            every: How often a checkpoint is written: "30s" (when None), "1000 steps", "1 epoch"; at the next end of a
                program call.

        Returns:
            The History, as from Keras; learning rates are in it where `callbacks.LearningRate` is among the callbacks.

        Raises:
            ValueError: When an argument is out of range, the model is not compiled, or data are empty, have no end,
                masked values, weights that are no numbers, or labels that are no class; when a checkpoint is of another
                model, optimizer or data, or another process trains in its folder.
            Damaged: When no checkpoint in the folder is whole.
            SystemExit: When a signal such as SIGTERM has ended training; after Ctrl-C KeyboardInterrupt.
        """
        counts = {"epochs": epochs, "initial_epoch": initial_epoch}
        cuts = {"steps_per_epoch": steps_per_epoch, "validation_steps": validation_steps}
        require_fit(x, batch_size, verbose, validation_split, validation_freq, counts)
        require_sizes(**cuts, validation_batch_size=validation_batch_size)
        require_shuffle(shuffle)
        require_class_weight(class_weight)
        require(self.model.compiled, "model", "must be compiled", self.model.name)
        asked, held_out = showing_rules(self.model, callback_list(callbacks)), parts_of(validation_data)
        require_one_rate(asked)
        epochs = min(epochs, keras.config.max_epochs() or epochs)
        if validation_split and held_out is None:
            require_data("x", x, y, sample_weight)
            (x, y, sample_weight), held_out = internals.validation_split((x, y, sample_weight), validation_split)
        together = epochs if held_out is None and all(map(spans_epochs, asked)) else 1
        training = DataSpec(x, y, sample_weight, batch_size=batch_size, shuffle=shuffle, class_weight=class_weight)
        training = training.planned(epochs - initial_epoch, together).cut("steps_per_epoch", steps_per_epoch)
        validation = None
        if held_out is not None:
            size = validation_batch_size or (None if batch_size == "full" else batch_size)
            validation = DataSpec(*held_out, batch_size=size, name="validation_data")
            validation = validation.planned(times_due(initial_epoch, epochs, validation_freq))
            validation = validation.cut("validation_steps", validation_steps)
        saver = saver_of(self.model, checkpoint, every, asked)
        with saver.opened():
            data = self.source("train", training, asked, saver)
            require_own_optimizer(self.model, self.epochs.steps["train"])
            held = None if validation is None else self.source("test", validation, asked, saver)
            sizes = {"steps": data.num_batches, "examples": data.examples}
            called = self.callbacks(asked, verbose, epochs=epochs, **sizes, add_history=True)
            self.begin()
            try:
                with named_refusals(self.deterministic):
                    self.epochs.train(initial_epoch, epochs, data, called, held, validation_freq, saver)
            finally:
                self.clean_up(called)
        return self.model.history

    def evaluate(
        self,
        x: Nest = None,
        y: Nest = None,
        *,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        sample_weight: Nest = None,
        steps: int | None = None,
        callbacks: Callbacks = None,
    ) -> dict[str, float]:
        """Evaluate, as `keras.Model.evaluate` does, by the engine; on several replicas or workers too.

        Args:
            x: Inputs, as for `fit`.
            y: Targets.
            batch_size: Examples a step over all devices, >= 1; 32 when None.
            verbose: 0 for silence, "auto", 1 or 2 for a line.
            sample_weight: Weight of each example.
            steps: Where to cut the data; None for all.
            callbacks: Keras callbacks.

        Returns:
            Metric -> value, the loss among them.

        Raises:
            ValueError: As for `fit`.
        """
        require_fit(x, batch_size, verbose, 0.0, 1, {})
        require_sizes(steps=steps)
        require(self.model.compiled, "model", "must be compiled", self.model.name)
        asked = callback_list(callbacks)
        data = self.source("test", DataSpec(x, y, sample_weight, batch_size=batch_size).cut("steps", steps), asked)
        return self.epochs.evaluate(data, self.callbacks(asked, verbose, epochs=1, steps=data.num_batches))

    def predict(
        self,
        x: Nest,
        *,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        steps: int | None = None,
        callbacks: Callbacks = None,
    ) -> Nest:
        """Compute the outputs for all inputs, as `keras.Model.predict` does, many batches a program call.

        Args:
            x: Inputs, as for `fit`.
            batch_size: Examples a step, >= 1; 32 when None.
            verbose: As for `fit`; predictions have nothing to show.
            steps: Where to cut the data; None for all.
            callbacks: Keras callbacks.

        Returns:
            NumPy arrays in the structure of the model's outputs, a row an example.

        Raises:
            ValueError: When an argument is out of range, an output is ragged or sparse, or data are empty or endless.
        """
        require_fit(x, batch_size, verbose, 0.0, 1, {})
        require_sizes(steps=steps)
        asked = callback_list(callbacks)
        data = self.source("predict", DataSpec(x, batch_size=batch_size).cut("steps", steps), asked)
        return self.epochs.predict(data, self.callbacks(asked, 0, epochs=1, steps=data.num_batches))

    def source(
        self, phase: Phase, spec: DataSpec, asked: Sequence[KerasCallback] = (), saver: Unsaved = UNSAVED
    ) -> Source:
        """Return the source of a phase's data, placed as the callbacks need it."""
        drawn = phase == "train" and spec.shuffle and internals.are_arrays(spec.x, spec.y, spec.sample_weight)
        spec = dataclasses.replace(
            spec,
            seed=saver.seed(seed_of_run(self.seed, self.model.distribute_strategy)) if drawn else 0,
            engine=self.engine if phase == "train" else "auto",
            budget=saver.budget(PARTS[phase], self.budget),
            chunk_steps=steps_a_call(self.model, asked, phase),
            buildable=self.buildable and phase != "predict",
            phase=phase,
        )
        return place(self.model, spec)

    def callbacks(self, asked: Sequence[KerasCallback], verbose: Verbose, **how: Any) -> keras.callbacks.CallbackList:
        """Return the list of callbacks that this worker calls, with a progress bar where one is wanted."""
        bars = [ProgressBar(live=False if verbose == 2 else None)] if verbose in ("auto", 1, 2) else []
        own = for_worker([*asked, *bars], self.chief)
        return keras.callbacks.CallbackList(own, verbose=verbose, model=self.model, **how)

    def begin(self) -> None:
        """Make the model ready to train."""
        self.model.stop_training = False
        self.epochs.install("train")

    def clean_up(self, called: keras.callbacks.CallbackList) -> None:
        """Leave the model as it was found, however training ended; callbacks may have a `close` for that."""
        if self.own_step:
            self.model.train_function = None
        for callback in called.callbacks:
            if isinstance(callback, Callback):
                callback.close()
