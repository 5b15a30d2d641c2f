"""Small trainings that are to end with the same bits however often they are killed."""

import dataclasses
import hashlib
import os
import pathlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kopt import augment, callbacks, schedules
from kopt.state import training_variables
from kopt.training import Loop, TrainStep, sharpness
from kopt.training.checkpoint.callback import Checkpoint
from kopt.training.checkpoint.callback_states import states_of

EXAMPLES, FEATURES, BATCH = 88, 6, 16  # the last batch has 8
EPOCHS = 4
SEED = 3


@dataclasses.dataclass
class Fits:
    """Runs the fits of a training, and keeps the digests of what they end with.

    Args:
        folder: Where the checkpoints of each fit are; None for training without any.
        every: How often they are written.
        epochs: The last epoch's number plus one.
        options: Further arguments of `Checkpoint`.
    """

    folder: pathlib.Path | None = None
    every: str = "7 steps"
    epochs: int = EPOCHS
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    found: dict[str, str] = dataclasses.field(default_factory=dict)
    done: int = 0

    def __call__(self, model, *data, loop=None, callbacks=(), **arguments) -> None:
        self.done += 1
        asked = list(callbacks)
        given = {"epochs": self.epochs, "verbose": 0} | arguments
        if self.folder is not None:
            given["checkpoint"] = Checkpoint(self.folder / str(self.done), every=self.every, **self.options)
        loop = loop if isinstance(loop, Loop) else Loop(model, **(loop or {}))
        history = loop.fit(*data, callbacks=asked, **given)
        self.found |= {f"fit {self.done}, {name}": text for name, text in digests(model, history, asked).items()}


def digests(model, history, asked) -> dict[str, str]:
    """Return a digest of every variable, the text of the History, and of the callbacks' states."""
    found = {"History": str(plain([history.epoch, history.history])), "stopped": str(model.stop_training)}
    found["callbacks"] = str(plain(states_of(asked)))
    for place, variable in enumerate(training_variables(model)):
        value = np.array(tf.convert_to_tensor(variable))
        text = f"{value.dtype} {value.shape} ".encode() + value.tobytes()
        found[f"{place} {variable.name.rpartition('/')[2]}"] = hashlib.sha256(text).hexdigest()
    return found


def plain(value) -> object:
    """Return a nest with its numbers as exact texts: a NaN equals itself, 1 and 1.0 do not."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    return f"{type(value).__name__} {value.hex() if isinstance(value, float) else value}"


TRAININGS: dict[str, Callable[[Fits], None]] = {}


def training(function: Callable[[Fits], None]) -> Callable[[Fits], None]:
    """Add a training to the list, by its name in words."""
    TRAININGS[function.__name__.replace("_", " ")] = function
    return function


def points(examples: int = EXAMPLES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of numbers and whether the first is the greater one."""
    x = np.random.default_rng(seed).normal(size=(examples, FEATURES)).astype("float32")
    return x, (x[:, 0] + x[:, 1] ** 2 > 1).astype("int32")


def network(*layers, optimizer=None, kind=keras.Sequential, **how) -> keras.Model:
    """Return a compiled model with dropout between two layers."""
    first, last = keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)
    model = kind([keras.Input((FEATURES,)), *layers, first, keras.layers.Dropout(0.3), last])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.Adam(0.02), loss, metrics=["accuracy"], **how)
    return model


def stopping(**how: float) -> list[keras.callbacks.Callback]:
    """Return callbacks that remember the best epoch; the second one acts after the third epoch."""
    return [
        keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True, **({"patience": 2} | how)),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=2, min_delta=0.5),
    ]


class Watching(keras.callbacks.Callback):
    """Has a batch method, so that a program call is one step; adds up what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.total += float((logs or {})["loss"])

    def get_state(self) -> dict[str, float]:
        return {"total": self.total}

    def set_state(self, state: dict[str, float]) -> None:
        self.total = state["total"]


@training
def everything(fits: Fits) -> None:
    optimizer = keras.optimizers.AdamW(0.02, use_ema=True, ema_momentum=0.9)
    plateau = callbacks.ReduceOnPlateau("loss", factor=0.7, patience=2, min_delta=0.5)
    model = network(keras.layers.BatchNormalization(), optimizer=optimizer)
    step = TrainStep(model, augment=augment.Jitter(0.1))
    how = {"validation_data": points(40, 1), "batch_size": BATCH, "loop": {"step": step}}
    fits(model, *points(), callbacks=[*stopping(), plateau, Watching()], **how)


def slices(shuffle_seed: int | None = 4) -> tf.data.Dataset:
    """Return a dataset of slices that shuffles."""
    return tf.data.Dataset.from_tensor_slices(points()).shuffle(50, seed=shuffle_seed).batch(BATCH)


@training
def slices_with_a_seeded_shuffle(fits: Fits) -> None:
    asked = [*stopping(patience=3, min_delta=0.5), Watching()]  # goes back to the first epoch's weights after the last
    fits(network(), slices(), validation_data=points(40, 1), callbacks=asked)


@training
def slices_that_shuffle_without_a_seed(fits: Fits) -> None:
    fits(network(), slices(None), callbacks=[Watching()])


def pipeline(rows: tf.data.Dataset | None = None) -> tf.data.Dataset:
    """Return rows that come through a map, so that they are streamed."""
    rows = tf.data.Dataset.from_tensor_slices(points()) if rows is None else rows
    return rows.map(lambda x, y: (x * 2, y))


@training
def a_pipeline(fits: Fits) -> None:
    data = pipeline().shuffle(50, seed=4).batch(BATCH)
    held_out = tf.data.Dataset.from_tensor_slices(points(40, 1)).map(lambda x, y: (x, y)).batch(BATCH)
    fits(network(), data, validation_data=held_out, callbacks=[*stopping(), Watching()])


@training
def a_pipeline_that_repeats(fits: Fits) -> None:
    data = pipeline().shuffle(50, seed=4).repeat().batch(BATCH)
    fits(network(), data, steps_per_epoch=7, callbacks=[Watching()])


@training
def a_pipeline_of_random_numbers(fits: Fits) -> None:
    rows = tf.data.Dataset.from_tensor_slices(points())
    data = rows.map(lambda x, y: (x + tf.random.normal([FEATURES]), y)).shuffle(50).batch(BATCH)
    fits(network(), data, callbacks=[Watching()])


def drawn() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches that NumPy's global generator draws."""
    x, y = points()
    while True:
        rows = np.random.randint(0, len(x), BATCH)
        yield x[rows], y[rows]


@training
def a_generator(fits: Fits) -> None:
    fits(network(), drawn(), steps_per_epoch=6, callbacks=[Watching()])


class Turning(keras.utils.PyDataset):
    """Batches whose rows are drawn anew at each epoch's end."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.y = points()
        self.rows = np.arange(len(self.x))
        self.random = np.random.RandomState(7)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.rows[place * BATCH : (place + 1) * BATCH]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self) -> None:
        self.random.shuffle(self.rows)


@training
def a_py_dataset(fits: Fits) -> None:
    fits(network(), Turning(), validation_data=points(40, 1), callbacks=[*stopping(), Watching()])


@training
def micro_batches(fits: Fits) -> None:
    model = network(keras.layers.BatchNormalization())
    fits(model, *points(), batch_size=BATCH, loop={"step": TrainStep(model, micro_batches=2)}, callbacks=[Watching()])


@training
def sharpness_of_two_gradients(fits: Fits) -> None:
    """The dropout of both is one, drawn from seeds that a kill must not move."""
    model = network(keras.layers.BatchNormalization())
    step = TrainStep(model, sharpness=sharpness.ASAM(0.5))
    fits(model, *points(), batch_size=BATCH, loop={"step": step}, callbacks=[Watching()])


@training
def a_loss_scale(fits: Fits) -> None:
    keras.mixed_precision.set_global_policy("mixed_float16")
    inner = keras.optimizers.Adam(0.02)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**20, dynamic_growth_steps=3)
    fits(network(optimizer=optimizer), *points(), batch_size=BATCH, callbacks=[Watching()])


class Noisy(keras.Sequential):
    """Has a step of its own, with noise of its own and a loss it counts itself."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x + keras.random.normal(tf.shape(x)), training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return self.compute_metrics(x, y, self(x, training=False)) | {"last": loss}


@training
def a_step_of_its_own(fits: Fits) -> None:
    fits(network(kind=Noisy), *points(), batch_size=BATCH, validation_data=points(40, 1), callbacks=[Watching()])


@training
def a_schedule_over_two_fits(fits: Fits) -> None:
    model = network()
    steps = 2 * fits.epochs * -(-EXAMPLES // BATCH)
    rates = callbacks.LearningRate(schedules.Cosine(0.03, duration=steps), unit="step")
    for _ in range(2):
        fits(model, *points(), batch_size=BATCH, callbacks=[rates, Watching()])


@training
def averages(fits: Fits) -> None:
    asked = [callbacks.Average(callbacks.EMA(0.8)), Watching()]
    fits(network(), *points(), batch_size=BATCH, validation_data=points(40, 1), callbacks=asked)


@training
def a_spike_guard(fits: Fits) -> None:
    x, y = points()
    x[:3] *= 1e4
    guard = callbacks.SpikeGuard(3, deviations=2.0)
    fits(network(), x, y, batch_size=BATCH, callbacks=[guard, Watching()])


@training
def validations_and_batches_by_steps(fits: Fits) -> None:
    held_out = tf.data.Dataset.from_tensor_slices(points(40, 1)).map(lambda x, y: (x, y)).batch(BATCH)
    stop = callbacks.StopWhen("val_loss plateaus 3 by 9 and accuracy >= 0 or val_accuracy > 2")
    asked = [callbacks.ValidateEvery("5 steps", held_out), callbacks.BatchLogs(2), stop, Watching()]
    fits(network(steps_per_execution=3), pipeline().shuffle(50, seed=4).batch(BATCH), callbacks=asked)


@training
def several_epochs_a_call(fits: Fits) -> None:
    fits(network(), *points(), batch_size=BATCH, epochs=4 * fits.epochs)


@training
def xla(fits: Fits) -> None:
    fits(network(), *points(), batch_size=BATCH, loop={"jit": True}, callbacks=[Watching()])


@training
def steps_per_execution(fits: Fits) -> None:
    model = network(steps_per_execution=4)
    fits(model, *points(), batch_size=BATCH, validation_data=points(40, 1), callbacks=stopping())


@training
def a_stream_of_arrays(fits: Fits) -> None:
    fits(network(), *points(), batch_size=BATCH, loop={"engine": "stream"}, callbacks=[Watching()])


class Drawing(keras.callbacks.Callback):
    """Scales the weights by numbers of all global random generators."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        numbers = random.random(), np.random.rand(), float(keras.random.uniform(())), float(tf.random.uniform(()))
        self.model.layers[-1].bias.assign_add(numbers[:2])
        self.model.layers[-1].kernel.assign_add(tf.ones([8, 1]) * numbers[2:])

    def get_state(self) -> dict[str, float]:
        return {}

    def set_state(self, state: dict[str, float]) -> None:
        pass


@training
def a_callback_that_draws(fits: Fits) -> None:
    fits(network(), *points(), batch_size=BATCH, callbacks=[Drawing(), Watching()])


def train(name: str, fits: Fits, seed: int = SEED) -> dict[str, str]:
    """Run a training from its beginning, as its script does; return the digests of what it ends with."""
    os.environ["KOPT_CACHE"] = "off"
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    TRAININGS[name](fits)
    return fits.found
