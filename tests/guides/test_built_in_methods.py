"""Keras' guide "Training & evaluation with the built-in methods": its programs, run by Keras and by kopt."""

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

layers = keras.layers
DRAWN = np.random.default_rng(0)
X = DRAWN.random((60, 6)).astype("float32")
Y = DRAWN.integers(0, 3, 60).astype("float32")
ONE_HOT = np.eye(3, dtype="float32")[Y.astype(int)]
SAMPLE_WEIGHT = np.where(Y == 2, 2.0, 1.0)
SPARSE = {"loss": "sparse_categorical_crossentropy", "metrics": ["sparse_categorical_accuracy"]}
HOW = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0}
WITHOUT_SIZE = {"epochs": 2, "shuffle": False, "verbose": 0}


def network(*between: Any, activation: str | None = "softmax", **compiled: Any) -> Any:
    inputs = keras.Input((6,), name="digits")
    hidden = layers.Dense(8, "relu")(inputs)
    for layer in between:
        hidden = layer(hidden)
    model = keras.Model(inputs, layers.Dense(3, activation, name="predictions")(layers.Dense(4, "relu")(hidden)))
    model.compile(keras.optimizers.RMSprop(1e-2), **compiled)
    return model


def test_from_end_to_end(as_in_fit) -> None:
    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        history = trainer.fit(X[:40], Y[:40], validation_data=(X[40:50], Y[40:50]), callbacks=callbacks, **HOW).history
        result = trainer.evaluate(X[50:], Y[50:], batch_size=4, verbose=0, callbacks=callbacks)
        return {"history": history, "result": result, "outputs": trainer.predict(X[:3], verbose=0, callbacks=callbacks)}

    as_in_fit(lambda: network(**SPARSE), use, xla=True)


def own_mean(y_true: Any, y_pred: Any) -> Any:
    return tf.reduce_mean(tf.square(y_true - y_pred), -1)


class TowardHalf(keras.losses.Loss):
    """Squares, and a little for outputs that are far from a half: one number a batch."""

    def __init__(self, factor: float = 0.1, name: str = "toward_half"):
        super().__init__(name=name)
        self.factor = factor

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return tf.reduce_mean(tf.square(y_true - y_pred)) + self.factor * tf.reduce_mean(tf.square(0.5 - y_pred))


class TruePositives(keras.metrics.Metric):
    """Counts hits; its result is the variable itself."""

    def __init__(self, name: str = "true_positives", **how: Any):
        super().__init__(name=name, **how)
        self.hits = self.add_variable(shape=(), name="hits", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        hits = tf.cast(tf.cast(tf.reshape(y_true, [-1]), "int64") == tf.argmax(y_pred, 1), "float32")
        hits = hits if sample_weight is None else hits * tf.cast(tf.reshape(sample_weight, [-1]), "float32")
        self.hits.assign_add(tf.reduce_sum(hits))

    def result(self) -> Any:
        return self.hits.value

    def reset_state(self) -> None:
        self.hits.assign(0.0)


@keras.saving.register_keras_serializable("guides")
class Activity(layers.Layer):
    """Adds its inputs' sum to the loss."""

    def call(self, inputs: Any) -> Any:
        self.add_loss(tf.reduce_sum(inputs) * 0.01)
        return inputs


class Spread(layers.Layer):
    """Has a metric of its own, which appears in the logs."""

    def __init__(self) -> None:
        super().__init__()
        self.spread = keras.metrics.Mean(name="spread")

    def call(self, inputs: Any) -> Any:
        self.spread.update_state(tf.math.reduce_std(inputs))
        return inputs


LOGITS = {"activation": None, "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
PROGRAMS = {
    "a loss function": (lambda: network(loss=own_mean), (X, ONE_HOT), HOW),
    "a loss class": (lambda: network(loss=TowardHalf()), (X, ONE_HOT), HOW),
    "a metric": (lambda: network(loss=SPARSE["loss"], metrics=[TruePositives()]), (X, Y), HOW),
    "a vector metric": (lambda: network(loss="mse", metrics=[keras.metrics.F1Score()]), (X, ONE_HOT), HOW),
    "add_loss": (lambda: network(Activity(), **LOGITS), (X, Y), HOW),
    "a layer's metric": (lambda: network(Spread(), **LOGITS), (X, Y), HOW),
    "validation_split": (lambda: network(**SPARSE), (X, Y), HOW | {"validation_split": 0.2}),
    "class_weight": (lambda: network(**SPARSE), (X, Y), HOW | {"class_weight": {0: 1.0, 1: 1.0, 2: 2.0}}),
    "sample_weight": (
        lambda: network(**SPARSE, weighted_metrics=["accuracy"]),
        (X, Y),
        HOW | {"sample_weight": SAMPLE_WEIGHT},
    ),
    "most of them in one": (
        lambda: network(Activity(), Spread(), **LOGITS, metrics=[TruePositives()], weighted_metrics=["accuracy"]),
        (X, Y),
        HOW | {"sample_weight": SAMPLE_WEIGHT},
    ),
}
IN_XLA = "a loss class", "a vector metric", "class_weight", "most of them in one"


@pytest.mark.parametrize("name", PROGRAMS)
def test_losses_metrics_and_weights(name: str, as_in_fit) -> None:
    build, data, how = PROGRAMS[name]
    use = lambda trainer, model, callbacks: trainer.fit(*data, callbacks=callbacks, **how).history
    as_in_fit(build, use, xla=name in IN_XLA)


class Endpoint(layers.Layer):
    """Makes loss and metric of logits and targets, both of which are its inputs."""

    def __init__(self, **how: Any):
        super().__init__(**how)
        self.loss_function = keras.losses.BinaryCrossentropy(from_logits=True)
        self.hits = keras.metrics.BinaryAccuracy()

    def call(self, logits: Any, targets: Any) -> Any:
        self.add_loss(self.loss_function(targets, logits))
        self.hits.update_state(targets, logits)
        return tf.nn.softmax(logits)


def test_a_model_whose_endpoint_has_the_loss(as_in_fit) -> None:
    def build() -> Any:
        inputs, targets = keras.Input((6,), name="inputs"), keras.Input((3,), name="targets")
        model = keras.Model([inputs, targets], Endpoint()(layers.Dense(3)(inputs), targets))
        model.compile("adam")
        return model

    data = {"inputs": X, "targets": ONE_HOT}
    as_in_fit(build, lambda trainer, model, callbacks: trainer.fit(data, callbacks=callbacks, **HOW).history, xla=True)


def batches(*parts: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(parts).shuffle(60, seed=3).batch(16)


class Sequence(keras.utils.PyDataset):
    """Twelve rows a batch; another order after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn, self.rows = np.random.default_rng(0), np.arange(60)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.rows[12 * place : 12 * place + 12]
        return X[rows], Y[rows]

    def on_epoch_end(self) -> None:
        self.drawn.shuffle(self.rows)


SOURCES = {
    "a dataset": lambda: {"x": batches(X, Y)},
    "a dataset, cut": lambda: {"x": batches(X, Y).repeat(), "steps_per_epoch": 3},
    "a dataset, validated": lambda: {"x": batches(X, Y), "validation_data": batches(X, Y), "validation_steps": 2},
    "a dataset with weights": lambda: {"x": batches(X, Y, SAMPLE_WEIGHT)},
    "a PyDataset": lambda: {"x": Sequence(), "validation_data": Sequence()},
    "a generator": lambda: {"x": (Sequence()[place % 5] for place in range(100)), "steps_per_epoch": 4},
}


@pytest.mark.parametrize("name", SOURCES)
def test_datasets(name: str, as_in_fit) -> None:
    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        return trainer.fit(**SOURCES[name](), callbacks=callbacks, **WITHOUT_SIZE | {"epochs": 3}).history

    as_in_fit(lambda: network(**SPARSE), use, xla=name == "a dataset, validated")


def several() -> Any:
    image, series = keras.Input((4, 4, 3), name="image"), keras.Input((None, 10), name="series")
    seen = layers.GlobalMaxPooling2D()(layers.Conv2D(3, 3)(image))
    both = layers.concatenate([seen, layers.GlobalMaxPooling1D()(layers.Conv1D(3, 3)(series))])
    return keras.Model([image, series], [layers.Dense(1, name="score")(both), layers.Dense(5, name="kind")(both)])


COMPILED = {
    "lists": {"loss": ["mse", "categorical_crossentropy"], "metrics": [["mape", "mae"], ["categorical_accuracy"]]},
    "dicts": {
        "loss": {"score": "mse", "kind": keras.losses.CategoricalCrossentropy(from_logits=True)},
        "metrics": {"score": ["mae"], "kind": ["categorical_accuracy"]},
        "loss_weights": {"score": 2.0, "kind": 1.0},
    },
}


@pytest.mark.parametrize("kind", ["lists", "dicts", "a dataset"])
def test_several_inputs_and_outputs(kind: str, as_in_fit) -> None:
    drawn = np.random.default_rng(0)
    inputs = {name: drawn.random(shape) for name, shape in {"image": (30, 4, 4, 3), "series": (30, 6, 10)}.items()}
    targets = {"score": drawn.random((30, 1)), "kind": np.eye(5)[drawn.integers(0, 5, 30)]}

    def build() -> Any:
        model = several()
        model.compile(keras.optimizers.RMSprop(1e-3), **COMPILED["lists" if kind == "lists" else "dicts"])
        return model

    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        if kind == "a dataset":
            data = tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(8)
            return trainer.fit(data, callbacks=callbacks, **WITHOUT_SIZE).history
        lists = list(inputs.values()), list(targets.values())
        return trainer.fit(*(lists if kind == "lists" else (inputs, targets)), callbacks=callbacks, **HOW).history

    as_in_fit(build, use)


def test_checkpoints_early_stopping_schedules_and_tensorboard(as_in_fit, tmp_path) -> None:
    def build() -> Any:
        model = network(**SPARSE)
        schedule = keras.optimizers.schedules.ExponentialDecay(0.05, decay_steps=4, decay_rate=0.9, staircase=True)
        model.compile(keras.optimizers.RMSprop(schedule), **SPARSE)
        return model

    files = []

    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        folder = tmp_path / str(len(files))
        files.append(folder)
        asked = [
            keras.callbacks.EarlyStopping("val_loss", min_delta=1e-2, patience=1),
            keras.callbacks.ModelCheckpoint(folder / "model_{epoch}.keras", "val_loss", save_best_only=True),
            keras.callbacks.TensorBoard(folder / "logs", update_freq="epoch"),
            keras.callbacks.CSVLogger(folder / "log.csv"),
        ]
        folder.mkdir()
        how = HOW | {"epochs": 6, "validation_split": 0.2, "callbacks": [*asked, *callbacks]}
        return trainer.fit(X, Y, **how).history

    as_in_fit(build, use)
    names = [sorted(left(folder)) for folder in files]
    assert names[0] == names[1] == names[2] and len(names[0]) >= 4
    assert files[0].joinpath("log.csv").read_text() == files[1].joinpath("log.csv").read_text()


def left(folder: pathlib.Path) -> list[str]:
    return [path.parent.name if "events" in path.name else path.name for path in folder.rglob("*.*")]
