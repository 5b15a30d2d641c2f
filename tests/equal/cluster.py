"""What test_workers.py runs: every kind of data on one device, on three replicas, or on each worker of a cluster."""

import json
import os
import pathlib
import sys
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from kopt import distribute
from kopt.callbacks import LearningRate
from kopt.schedules import Cosine
from kopt.training import Loop
from kopt.training.feed import chunks

draw = np.random.default_rng(0)
X = draw.normal(size=(61, 6)).astype("float32")
Y = (X @ draw.normal(size=(6, 1)) + 0.1).astype("float32")


class Batches(keras.utils.PyDataset):
    """Batches by number, the last of 13."""

    def __len__(self):
        return 4

    def __getitem__(self, place):
        return X[16 * place : 16 * place + 16], Y[16 * place : 16 * place + 16]


class StopOnOne(keras.callbacks.Callback):
    """Only the last worker wants to stop, in the third epoch."""

    def __init__(self, wanted: bool):
        super().__init__()
        self.wanted = wanted

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = self.wanted and epoch == 2


def whole(count: int = 61):
    return tf.data.Dataset.from_tensor_slices((X[:count], Y[:count])).batch(16)


def sharded():
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return whole().with_options(options)


DATA = {
    "arrays": lambda: {"x": X, "y": Y, "batch_size": 16},
    "stream": lambda: {"x": X, "y": Y, "batch_size": 16, "sample_weight": np.linspace(0, 1, 61)},
    "dataset": lambda: {"x": whole()},
    "unknown size": lambda: {"x": whole().filter(lambda a, b: True)},
    "sharded": lambda: {"x": sharded()},
    "py_dataset": lambda: {"x": Batches(), "shuffle": False},
    "generator": lambda: {
        "x": (batch for _ in range(9) for batch in whole().as_numpy_iterator()),
        "steps_per_epoch": 3,
    },
    "stop": lambda: {"x": X, "y": Y, "batch_size": 16},
}


def trained(kind: str, strategy, number: int, folder: pathlib.Path):
    if number:
        chunks.CHUNK_SECONDS = 1e-6  # it would take a step a call where the chief takes several
    keras.utils.set_random_seed(number)  # as different as workers can be: the chief's seed and weights rule
    with strategy.scope():
        layers = [keras.Input((6,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile(keras.optimizers.AdamW(0.01), "mse", metrics=["mae"])
    callbacks = [LearningRate(Cosine(0.01, 15))]
    if kind == "stop":
        callbacks.append(StopOnOne(number > 0 or distribute.workers(strategy) == 1))
    if kind == "arrays":
        callbacks += [
            keras.callbacks.ModelCheckpoint(folder / "best.keras", save_best_only=True),
            keras.callbacks.CSVLogger(folder / "log.csv"),
            keras.callbacks.TensorBoard(folder / "logs"),
            keras.callbacks.BackupAndRestore(folder / "backup"),
            keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True),
        ]
    loop = Loop(model, jit=False, engine="stream" if kind == "stream" else "auto", seed=None if kind == "stop" else 3)
    history = loop.fit(
        **DATA[kind](), epochs=5, validation_data=(X[:21], Y[:21]), verbose=0, callbacks=callbacks
    ).history
    if kind not in ("arrays", "stream"):  # what is evaluated and predicted is the same whatever it was trained on
        return history, model.get_weights()
    last = loop.evaluate(X[:30], Y[:30], verbose=0)
    outputs = loop.predict(sharded().map(lambda x, y: x))  # every worker has all of them
    return {**history, "evaluated": list(last.values()), "outputs": outputs.tolist()}, model.get_weights()


def main(args: Sequence[str]) -> None:
    folder, how = pathlib.Path(args[0]), args[1]
    if how != "mirrored":  # the step of recipes/benchmarks/replicas.py, before devices are in use
        sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "recipes" / "benchmarks"))
        import replicas

        replicas.worker(1 if how == "alone" else 2, replicas.WORKERS, str(folder / "steps"), False)
        keras.config.set_dtype_policy("float32")
    if how == "mirrored":
        device = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 3)
    strategy = distribute.strategy({"mirrored": "cpu:0,cpu:1,cpu:2", "alone": "cpu"}.get(how, how))
    chief, several = distribute.is_chief(strategy), distribute.workers(strategy) > 1
    number = strategy.cluster_resolver.task_id if several else 0
    place = folder / (f"worker{number}" if several else how)
    place.mkdir()
    for kind in DATA:
        history, weights = trained(kind, strategy, number, folder / "files" if several else place)
        np.savez(place / f"{kind}.npz", *weights)
        (place / f"{kind}.json").write_text(json.dumps(history))
    text = distribute.text_from_chief(strategy, f"written by {number}")
    (place / "agreed.json").write_text(json.dumps([chief, distribute.workers(strategy), text, os.getpid()]))


if __name__ == "__main__":
    main(sys.argv[1:])
