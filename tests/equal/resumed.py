"""What test_resumed_replicas.py runs: a training with a checkpoint on some replicas, which may end at an update."""

import logging
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from kopt.training import Loop


class End(keras.callbacks.Callback):
    """End the process at an update, as a kill does."""

    def __init__(self, at: int):
        super().__init__()
        self.at = at

    def get_state(self) -> dict:
        return {}

    def set_state(self, state: dict) -> None:
        pass

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        if int(self.model.optimizer.iterations.numpy()) == self.at:
            os._exit(9)


def main(folder: pathlib.Path, replicas: int, at: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    devices = [f"CPU:{number}" for number in range(replicas)]
    with tf.distribute.MirroredStrategy(devices).scope() if replicas > 1 else tf.distribute.get_strategy().scope():
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((5,)), *layers])
        model.compile(keras.optimizers.AdamW(0.01, use_ema=True), "mse", metrics=["mae"])
    x = np.random.default_rng(0).normal(size=(75, 5)).astype("float32")
    how = {"epochs": 4, "batch_size": 16, "verbose": 0, "validation_data": (x, x[:, :1] ** 2)}
    history = Loop(model, seed=1, jit=False).fit(
        x, x[:, :1] ** 2, checkpoint=folder, every="1 steps", callbacks=[End(at)], **how
    )
    weights = np.concatenate([one.ravel() for one in model.get_weights()])
    np.savez(folder / "result.npz", weights=weights, **history.history)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
