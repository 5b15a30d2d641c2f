"""What test_killed_worker.py runs: a training in which the last worker gets a signal at the first start."""

import json
import logging
import os
import pathlib
import signal
import sys
import time

import keras
import numpy as np

from kopt import Loop, distribute


class Killed(keras.callbacks.Callback):
    """Send this process a signal in the second epoch."""

    def __init__(self, folder: pathlib.Path, number: int):
        super().__init__()
        self.folder, self.number = folder, number

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            (self.folder / "killed").write_text(str(time.time()))
            os.kill(os.getpid(), self.number)


def model_of() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def train(model: keras.Model, epochs: int, **how) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    loop = Loop(model, jit=False, seed=0)
    loop.fit(x, x[:, :1], epochs=epochs, batch_size=8, verbose=0, **how)


def main(folder: pathlib.Path, epochs: int, sent: str = "SIGKILL") -> None:
    number, begun = json.loads(os.environ["TF_CONFIG"])["task"]["index"], time.time()
    again = (folder / "killed").exists()
    name = f"{'again' if again else 'first'}{number}"
    (folder / name).write_text(json.dumps([os.getpid(), begun]))
    signal.alarm(200)  # a worker that waits for ever fails the test
    with distribute.strategy("multi-worker").scope():
        model = model_of()
    # Of both workers, but only the chief calls it, for it writes a file: its state is in the checkpoint all the same.
    callbacks: list[keras.callbacks.Callback] = [keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True)]
    callbacks += [] if again or number == 0 else [Killed(folder, signal.Signals[sent])]
    # The first start is endless but for the kill: whoever ends it is the launcher, or TensorFlow.
    epochs = epochs if again else 10**6
    every = "1 steps" if sent == "SIGKILL" else "1h"
    try:
        train(model, epochs, callbacks=callbacks, checkpoint=folder / "checkpoints", every=every)
    except SystemExit as ended:
        (folder / f"ended{number}").write_text(json.dumps([ended.code, time.time()]))
        raise
    (folder / f"trained{number}").write_text(str(int(model.optimizer.iterations.numpy())))
    np.save(folder / f"weights{number}.npy", model.get_weights()[0])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
