"""Scaling: steps a second on 1, 2 and 4 devices, and what adding gradients up costs.

Command   python recipes/benchmarks/scaling.py
Data      random numbers, the shapes of MNIST; a network of 784-256-10, a global batch of 512
Target    none: says what the devices here do
Time      about 1 minute on 2 cores

Where there are no GPUs, virtual CPU devices stand in: they share the cores, so that more of them cannot be faster, and
only the overhead means something. It is Loop's time over that of a step written by hand under strategy.run: a tape, a
loss divided by the batch size, and Keras' optimizer, which adds the gradients up; it has nothing that makes uneven
batches, masks or infinite gradients right.
Measured twice: 1.05 to 1.09, 1.13 to 1.24, 1.07 to 1.13 times plain strategy.run on 1, 2 and 4 virtual devices.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tyro
from timing import alternate

from kopt import distribute
from kopt.training import Loop

EXAMPLES, BATCH = 20480, 512


def model_under(strategy: Any) -> Any:
    """Return the compiled network."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        layers = [keras.Input((784,)), keras.layers.Dense(256, "relu"), keras.layers.Dense(10)]
        model = keras.Sequential(layers)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss)
        model.optimizer.build(model.trainable_variables)
    return model


def plain(strategy: Any, model: Any, x: Any, y: Any) -> Any:
    """Return a function that runs an epoch with a hand-written step."""
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH, drop_remainder=True).repeat().prefetch(2)
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")

    def step(batch: Any) -> None:
        with tf.GradientTape() as tape:
            value = loss(batch[1], model(batch[0], training=True)) / BATCH
        model.optimizer.apply(tape.gradient(value, model.trainable_weights), model.trainable_weights)

    @tf.function
    def epoch() -> None:
        for _ in tf.range(EXAMPLES // BATCH):
            strategy.run(step, args=(next(iterator),))

    return epoch


def worker(count: int, repetitions: int) -> None:
    """Time both on a number of devices, GPUs when there are any; print the seconds of an epoch."""
    device = tf.config.list_physical_devices("CPU")[0]
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * count)
    kind = "gpu" if gpus else "cpu"
    names = ",".join(f"{kind}:{place}" for place in range(count))
    strategy = distribute.strategy(names if count > 1 else kind)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(EXAMPLES, 784)).astype("float32")
    y = draw.integers(0, 10, EXAMPLES).astype("int32")
    loop = Loop(model_under(strategy), jit=False)
    contenders = {
        "loop": lambda: loop.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0),
        "plain": plain(strategy, model_under(strategy), x, y),
    }
    print(json.dumps(alternate(contenders, repetitions)))


def main(args: Sequence[str] | None = None) -> None:
    """Time 1, 2 and 4 devices, each in a process of its own, and print the table."""

    def options(repetitions: int = 7, worker: int = 0) -> tuple[int, int]:
        return repetitions, worker

    repetitions, asked = tyro.cli(options, args=args, description=__doc__)
    if asked:
        return worker(asked, repetitions)
    gpus = len(tf.config.list_physical_devices("GPU"))
    if not gpus:
        print(f"no GPU: virtual CPU devices share {os.cpu_count()} cores, more of them cannot be faster")
    print("devices   steps/s   efficiency   times plain strategy.run")
    base = 0.0
    for count in (1, 2, 4):
        if gpus and count > gpus:
            break
        command = [sys.executable, __file__, "--worker", str(count), "--repetitions", str(repetitions)]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
        speed = EXAMPLES // BATCH / found["loop"]
        base = base or speed
        efficiency = speed / base / (count if gpus else 1)
        print(f"{count:7} {speed:9.0f} {efficiency:12.2f} {found['loop'] / found['plain']:14.2f}")
    return None


if __name__ == "__main__":
    main()
