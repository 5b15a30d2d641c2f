"""N replicas against one: how far apart the weights are after 50 steps, by TrainStep and by stock Keras.

Command   python recipes/benchmarks/replicas.py
Data      random numbers; a network of a hidden layer of 16
Target    <= 1e-6 in float32; on one device the weights of stock fit, bit by bit
Time      about 7 minutes on 2 cores (--cells all: an hour)

Measured, with AdamW and an uneven last batch: TrainStep on 2 and 4 replicas and on 2 workers within 3e-7 of one, one
device bit-identical to stock fit. Stock Keras on 2 and 4 replicas: wrong by 4e-3 to 7e-2 in most cells, 2e-1 where it
clips by value or has its own compute_loss, right for reduction "sum", crashes for EMA that overwrites weights.
"""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tyro

from kopt import distribute, rules, select
from kopt.callbacks import EMA, Average, Callback, GradientMonitor, LayerRates, LearningRate, SpikeGuard, Update
from kopt.distribute.launch import launch
from kopt.optimizers import Decayed, Optimizer
from kopt.regularizers import GroupLasso, TowardStart, attach, strength
from kopt.schedules import Cosine
from kopt.training import Loop, TrainStep, clips, sharpness
from kopt.values.types import KerasModel

EPOCHS, STEPS, BATCH = 10, 5, 32


class Cell(NamedTuple):
    """One training: an optimizer, whether the last batch is uneven, and a feature, or several joined by " + "."""

    optimizer: str
    uneven: bool
    feature: str

    @property
    def name(self) -> str:
        return f"{self.optimizer}, {'uneven' if self.uneven else 'even'}, {self.feature}"

    @property
    def tolerance(self) -> float:
        # A replica's gradient of a kernel is rounded to 8 or 11 bits before the sum, and Adam divides by its size.
        return 2e-3 if "bf16" in self.feature else 2e-4 if "fp16" in self.feature else 1e-6


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": lambda down=1.0, **more: keras.optimizers.SGD(0.05 * down, **more),
    "momentum": lambda down=1.0, **more: keras.optimizers.SGD(0.02 * down, momentum=0.9, **more),
    "adam": lambda down=1.0, **more: keras.optimizers.Adam(0.01 * down, **more),
    "adamw": lambda down=1.0, **more: keras.optimizers.AdamW(0.01 * down, weight_decay=0.05, **more),
    "kopt adam": lambda down=1.0, **more: Optimizer(rules.Adam(), 0.01 * down, **more),
}


class Slower(Callback):
    """A user's callback that shortens updates by an average of the loss."""

    needs = frozenset({"before", "loss"})
    changes_weights = True

    def build(self, model: KerasModel) -> None:
        """Make the average."""
        self.add_array("loss")

    def on_update(self, update: Update) -> None:
        """Average the loss, and shorten the update."""
        average = self.arrays["loss"]
        average.assign(0.9 * average + 0.1 * tf.cast(update.loss, "float32"))
        for weight, old in zip(update.weights, update.before):
            weight.assign(old + (weight - old) / (1.0 + tf.cast(average, old.dtype)))


# Feature -> settings of the network, the optimizer and the step.
FEATURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "l2": {"regularizer": keras.regularizers.L2(0.01)},
    "activity": {"activity": keras.regularizers.L2(0.01)},
    "sample weights": {"weights": True},
    "mean with sample weights": {"weights": True, "reduction": "mean_with_sample_weight"},
    "sum": {"reduction": "sum"},
    "class weights": {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}},
    "mask": {"kind": "mask"},
    "ignored class": {"ignore": 2},
    "several outputs": {"kind": "outputs"},
    "compute_loss": {"kind": "compute_loss"},
    "embeddings": {"kind": "embeddings"},
    "loss of a batch": {"kind": "batch loss", "rows": BATCH * 4 + 1},
    "one example left": {"normalized": True, "activity": keras.regularizers.L2(0.01), "rows": BATCH * 4 + 1},
    "clipnorm": {"optimizer": {"clipnorm": 0.05}},
    "global clipnorm": {"optimizer": {"global_clipnorm": 0.1}},
    "clipvalue": {"optimizer": {"clipvalue": 0.01}},
    "step: norm": {"step": {"clip": clips.Norm(0.05)}},
    "step: global norm": {"step": {"clip": clips.GlobalNorm(0.1)}},
    "step: value": {"step": {"clip": clips.ClipValue(0.01)}},
    "step: adaptive": {"step": {"clip": clips.Adaptive(0.1)}},
    "step: micro 4": {"step": {"micro_batches": 4}},
    "step: micro 4, loss of a batch": {
        "kind": "batch loss",
        "rows": BATCH * 4 + 1,
        "step": {"micro_batches": 4},
    },
    "step: micro 4, mask": {"kind": "mask", "step": {"micro_batches": 4}},
    "step: sam": {"step": {"sharpness": sharpness.SAM(0.05)}},
    "step: asam": {"step": {"sharpness": sharpness.ASAM(0.5)}},
    "ema": {"optimizer": {"use_ema": True, "ema_momentum": 0.9}},
    "ema overwriting": {"optimizer": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 7}},
    "batch normalization": {"normalized": True},
    "attached penalties": {"attached": True},
    "scheduled rate": {"callbacks": lambda: [LearningRate(Cosine(0.02).warmup(1), unit="epoch")]},
    "average, layer rates": {"callbacks": lambda: [Average(EMA(0.9)), LayerRates(depth_decay=0.5, unfreeze=2)]},
    "monitor, guard": {"callbacks": lambda: [GradientMonitor(5, noise=True), SpikeGuard(10), Slower()]},
    "decayed, scaled": {"decayed": True},
    "bf16": {"policy": "mixed_bfloat16"},
    "fp16": {"policy": "mixed_float16"},
    "fp16, one overflow": {"policy": "mixed_float16", "overflow": True},
}


def settings(feature: str) -> dict[str, Any]:
    """Return the settings of features joined by " + "; two that set the same are refused."""
    found: dict[str, Any] = {}
    for name in feature.split(" + "):
        for key, value in FEATURES[name].items():
            if key in ("optimizer", "step"):
                value = {**found.pop(key, {}), **value}
            if found.setdefault(key, value) is not value and found[key] != value:
                raise ValueError(f"features must set {key} once, got {feature!r}.")
    return found


ALONE = [Cell("adamw", True, feature) for feature in FEATURES]
ALL = [Cell(optimizer, uneven, feature) for optimizer, uneven, feature in product(OPTIMIZERS, (False, True), FEATURES)]
# Each feature and each optimizer, in cells of several. A clip by norm hides a wrong scale of the gradient, so it stands
# beside features that do not scale the loss; so does half precision, whose tolerance is larger.
TESTS = [
    Cell("adamw", True, "plain"),
    Cell("adamw", True, "l2 + sample weights + ema"),
    Cell("sgd", True, "sum + class weights + activity"),
    Cell("momentum", True, "mean with sample weights + scheduled rate + activity"),
    Cell("momentum", False, "step: micro 4, mask + step: global norm"),
    Cell("adam", True, "ignored class + batch normalization + l2"),
    Cell("momentum", True, "several outputs + decayed, scaled"),
    Cell("sgd", True, "compute_loss + monitor, guard"),
    Cell("adam", False, "embeddings"),
    Cell("sgd", True, "attached penalties + mask"),
    Cell("adamw", True, "step: micro 4, loss of a batch"),
    Cell("kopt adam", True, "loss of a batch + one example left"),
    Cell("kopt adam", True, "clipnorm + scheduled rate"),
    Cell("adam", True, "global clipnorm + ema"),
    Cell("adamw", True, "clipvalue + ema overwriting"),
    Cell("sgd", True, "step: norm + average, layer rates"),
    Cell("adamw", True, "step: value + batch normalization"),
    Cell("adam", True, "step: adaptive"),
    Cell("momentum", True, "step: sam + l2 + batch normalization"),
    Cell("momentum", False, "step: asam + step: micro 4, mask"),
    Cell("adamw", True, "bf16"),
    Cell("kopt adam", True, "fp16"),
    Cell("adam", False, "fp16, one overflow"),
]
# Those that are trained on four replicas too, in several times the time of two: where a batch is divided into parts of
# several sizes or into empty ones, and where replicas must agree on what each has found in its part.
PARTED = {"plain", "sample weights", "step: micro 4, mask", "batch normalization", "one example left"}
PARTED |= {"step: micro 4, loss of a batch", "several outputs", "monitor, guard", "fp16, one overflow"}
ON_FOUR = [cell for cell in TESTS if PARTED & set(cell.feature.split(" + "))]
# Cells that stock fit can train too, on one device.
IN_KERAS = [cell for cell in TESTS if "step:" not in cell.feature and cell.feature != "embeddings"]
WHOLE = [Cell("adamw", True, feature) for feature in ("mask", "loss of a batch")]
# Cells that are compared with others on one device: micro-batches with the whole batch, features with none of them.
ONE_FEATURE: tuple[str, ...] = (
    "step: micro 4",
    "step: micro 4, mask",
    "l2",
    "sample weights",
    "clipnorm",
    "step: adaptive",
)
ONE_FEATURE += ("ema overwriting", "attached penalties")
# Cells for two processes, where a cell takes several times as long; tests/equal/cluster.py trains plain ones.
WORKERS = [Cell("adamw", True, feature) for feature in ("mask", "global clipnorm + batch normalization")]
WORKERS += [Cell("kopt adam", True, "step: micro 4"), Cell("sgd", False, "fp16, one overflow")]
CELLS = {"tests": TESTS, "on four": ON_FOUR, "workers": WORKERS, "in keras": IN_KERAS, "all": ALL, "features": ALONE}
CELLS |= {"one feature": [Cell("adamw", True, feature) for feature in ONE_FEATURE], "stock": [*IN_KERAS, *WHOLE]}


class SumOfSquares(keras.layers.Layer):
    """Adds a sum over the batch to the loss."""

    def call(self, x: Any) -> Any:
        """Return the input as it is."""
        self.add_loss(1e-3 * keras.ops.sum(keras.ops.square(x)))
        return x


class OwnLoss(keras.Model):
    """A model that adds to its loss."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None) -> Any:
        """Return the compiled loss plus a mean over examples."""
        return super().compute_loss(x, y, y_pred, sample_weight) + 0.1 * keras.ops.mean(keras.ops.square(y_pred))


def one_each(y: Any, prediction: Any) -> Any:
    """Return the loss of each example."""
    return keras.losses.sparse_categorical_crossentropy(y, prediction, from_logits=True)


def data_of(cell: Cell) -> tuple[Any, Any, Any]:
    """Return x, y and sample weights; an uneven last batch has 29 rows, or 1."""
    how, draw = settings(cell.feature), np.random.default_rng(0)
    count = how.get("rows") or BATCH * STEPS - (3 if cell.uneven else 0)
    x = draw.normal(size=(count, 12)).astype("float32")
    y = np.argmax(x @ draw.normal(size=(12, 3)) + 0.3 * draw.normal(size=(count, 3)), axis=1).astype("int32")
    weights = draw.uniform(0.1, 2, count).astype("float32") if how.get("weights") else None
    if how.get("overflow"):
        x[70] = 1e5  # a row of the third batch, on one replica
    if how.get("kind") == "mask":
        x = x.reshape(count, 4, 3)
        x[np.arange(4) >= draw.integers(1, 5, count)[:, None]] = 0
        return x, np.repeat(y[:, None], 4, axis=1), weights
    if how.get("kind") == "embeddings":
        return draw.integers(0, 20, (count, 6)), y, weights
    if how.get("kind") == "outputs":
        return x, {"a": y, "b": x[:, :1] * 2}, weights
    return x, y, weights


def model_of(cell: Cell) -> Any:
    """Return the compiled network."""
    how, layers = settings(cell.feature), keras.layers
    keras.utils.set_random_seed(7)
    kind, shape = how.get("kind"), {"mask": (4, 3), "embeddings": (6,)}.get(how.get("kind", ""), (12,))
    x = inputs = keras.Input(shape, dtype="int32" if kind == "embeddings" else "float32")
    if kind == "mask":
        x = layers.Masking()(x)
    if kind == "embeddings":
        x = layers.Flatten()(layers.Embedding(20, 4)(x))
    # Batch normalization cancels a bias: the gradient is rounding noise, which Adam turns into a full step.
    how_dense = {"kernel_regularizer": how.get("regularizer"), "activity_regularizer": how.get("activity")}
    x = layers.Dense(16, use_bias=not how.get("normalized"), **how_dense)(x)
    if how.get("normalized"):
        x = layers.BatchNormalization(synchronized=True)(x)
    x = layers.Activation("tanh")(x)
    outputs: Any = layers.Dense(3, kernel_regularizer=how.get("regularizer"), dtype="float32", name="a")(x)
    reduction = how.get("reduction", "sum_over_batch_size")
    loss: Any = keras.losses.SparseCategoricalCrossentropy(True, how.get("ignore"), reduction=reduction)
    arguments: dict[str, Any] = {}
    if kind == "batch loss":
        outputs, loss = SumOfSquares()(outputs), lambda y, p: keras.ops.mean(one_each(y, p))
    if kind == "outputs":
        outputs = {"a": outputs, "b": layers.Dense(1, name="b")(x)}
        loss, arguments = {"a": loss, "b": "mse"}, {"loss_weights": {"a": 1.0, "b": 0.3}}
    model = (OwnLoss if kind == "compute_loss" else keras.Model)(inputs, outputs)
    down = 1 / BATCH if reduction == "sum" else 1.0
    optimizer = OPTIMIZERS[cell.optimizer](down, **how.get("optimizer", {}))
    if how.get("decayed"):
        optimizer = Decayed(keras.optimizers.LossScaleOptimizer(OPTIMIZERS["adam"](), initial_scale=8.0), 0.1)
    model.compile(optimizer, loss, **arguments)
    if how.get("attached"):
        attach(model, GroupLasso(0.01), to=select.depth(0) & select.kernels)
        attach(model, TowardStart(0.1), to=select.depth(-1))
        strength(model).set(0.5)
    return model


def strategy_of(replicas: int) -> Any:
    """Return the cluster's strategy inside a cluster, else a strategy over virtual CPU devices."""
    if "TF_CONFIG" in os.environ:
        return distribute.strategy("multi-worker")
    return distribute.strategy(",".join(f"cpu:{place}" for place in range(replicas)) if replicas > 1 else "cpu")


def trained(cell: Cell, replicas: int, stock: bool) -> list[Any]:
    """Train a cell; return the measured numbers of each epoch, and the weights after 50 steps."""
    how = settings(cell.feature)
    keras.config.set_dtype_policy(how.get("policy", "float32"))
    with strategy_of(replicas).scope():
        model = model_of(cell)
    x, y, weights = data_of(cell)
    fit = model.fit if stock else Loop(model, jit=False, step=TrainStep(model, **how.get("step", {}))).fit
    arguments = {
        "sample_weight": weights,
        "callbacks": how.get("callbacks", list)(),
        "class_weight": how.get("class_weight"),
        "shuffle": False,
        "verbose": 0,
    }
    history = fit(x, y, batch_size=BATCH, epochs=EPOCHS, **arguments).history
    if "rows" in how and not stock:
        score = Loop(model, jit=False).evaluate(x, y, batch_size=BATCH, verbose=0)["loss"]
        history["loss"] = [*history["loss"][1:], score]
    measured = [history[name] for name in ("loss", "gradient_norm", "update_norm", "noise_scale") if name in history]
    return [np.array(measured), *(np.array(weight, "float64") for weight in model.get_weights())]


def worker(replicas: int, cells: Sequence[Cell], folder: str, stock: bool) -> None:
    """Train every cell on virtual devices and write its weights to a file; after an error, write its name."""
    if "TF_CONFIG" not in os.environ:
        device = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * replicas)
    chief = distribute.is_chief(strategy_of(replicas))
    for cell in cells:
        try:
            result = trained(cell, replicas, stock)
        except Exception as error:  # stock Keras crashes: this is a result
            if not stock:
                raise
            result = [np.array(f"crashes: {type(error).__name__}")]
        if chief:
            np.savez(Path(folder) / f"{cell.name} {replicas} {'stock' if stock else 'kopt'}.npz", *result)


def start(replicas: int, cells: str, folder: str, stock: bool = False) -> subprocess.Popen[bytes]:
    """Start `worker` in a new process: strategies of different size in one process disturb each other."""
    command = [sys.executable, __file__, "--worker", str(replicas), "--cells", cells, "--folder", folder]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen([*command, *(["--stock"] if stock else [])], env=environment)


def results(cell: Cell, replicas: int, folder: str, stock: bool = False) -> list[np.ndarray]:
    """Read what a worker wrote: losses, then weights."""
    with np.load(Path(folder) / f"{cell.name} {replicas} {'stock' if stock else 'kopt'}.npz") as file:
        return [file[name] for name in file.files]


def distance(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float | str:
    """Return the largest difference of weights, or the error when a cell has failed."""
    for side in (one, other):
        if side[0].dtype.kind == "U":
            return str(side[0])
    return max(float(np.abs(left - right).max()) for left, right in zip(one[1:], other[1:]))


def said(found: float | str, cell: Cell, stock: bool) -> str:
    if isinstance(found, str):
        return found[:22]
    return f"{'wrong by ' if stock and not found <= 10 * cell.tolerance else ''}{found:.1e}"


def main(args: Sequence[str] | None = None) -> None:
    """Train the cells on 1, 2 and 4 replicas and 2 workers, by TrainStep and by stock fit; print how far from one."""

    def options(cells: str = "features", worker: int = 0, folder: str = "", stock: bool = False) -> tuple[Any, ...]:
        return cells, worker, folder, stock

    cells, replicas, given, stock = tyro.cli(options, args=args, description=__doc__)
    if replicas:
        return worker(replicas, CELLS[cells], given, stock)
    with tempfile.TemporaryDirectory() as folder:
        for by_keras, count in product((False, True), (1, 2, 4)):
            if start(count, cells, folder, by_keras).wait():
                raise SystemExit(f"the worker of {count} replicas failed")
        cluster = Path(folder) / "cluster"
        cluster.mkdir()
        launch([__file__, "--worker", "2", "--cells", cells, "--folder", str(cluster)], workers=2, out=io.StringIO())
        print(f"{'max |dw| after 50 steps':38}" + "".join(f"{title:>18}" for title in TITLES))
        for cell in CELLS[cells]:
            one, keras_one = results(cell, 1, folder), results(cell, 1, folder, True)
            found = [said(distance(one, keras_one), cell, False)]
            found += [said(distance(one, results(cell, count, folder)), cell, False) for count in (2, 4)]
            found += [said(distance(one, results(cell, 2, str(cluster))), cell, False)]
            found += [said(distance(keras_one, results(cell, count, folder, True)), cell, True) for count in (2, 4)]
            print(f"{cell.name:38}" + "".join(f"{value:>18}" for value in found))
    return None


TITLES = ("1 from Keras", "kopt 2", "kopt 4", "kopt 2 workers", "Keras 2", "Keras 4")

if __name__ == "__main__":
    main()
