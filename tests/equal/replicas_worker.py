"""Trains one network on a number of virtual CPU devices and prints its weights: replicas_worker.py REPLICAS"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from kopt import distribute, rules, schedules
from kopt.callbacks import LearningRate
from kopt.optimizers import Optimizer
from kopt.regularizers import L2, attach
from kopt.training import Loop

CASES = {
    "keras sgd": lambda: keras.optimizers.SGD(0.05),
    "keras adamw": lambda: keras.optimizers.AdamW(0.01),
    "momentum": lambda: Optimizer(rules.Momentum(), 0.02),
    "adam": lambda: Optimizer(rules.Adam(), 0.01),
    "adam, schedule, penalty": lambda: Optimizer(rules.Adam()),
}


def train(case: str, replicas: int) -> list:
    """The history and the weights after three epochs with a last batch of 29, which neither 2 nor 4 divide."""
    x = np.random.default_rng(0).normal(size=(93, 6)).astype("float32")
    y = x[:, :1] * 2 + np.sin(x[:, 1:2])
    names = ",".join(f"cpu:{place}" for place in range(replicas))
    with distribute.strategy(names if replicas > 1 else "cpu").scope():
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)])
        model.compile(CASES[case](), "mse")
    callbacks = []
    if "schedule" in case:
        attach(model, L2(0.01))
        callbacks = [LearningRate(schedules.Cosine(0.02).warmup(1), unit="epoch")]
    history = Loop(model, jit=False, seed=5).fit(x, y, batch_size=32, epochs=3, callbacks=callbacks, verbose=0).history
    return [history, [weight.tolist() for weight in model.get_weights()]]


if __name__ == "__main__":
    count = int(sys.argv[1])
    device = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * count)
    print(json.dumps({case: train(case, count) for case in CASES}))
