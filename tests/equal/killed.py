"""What test_killed_worker.py runs: a training in which the last worker is killed at the first start."""

import json
import os
import pathlib
import signal
import sys
import time

import keras
import numpy as np

from kopt import Loop, distribute


class Killed(keras.callbacks.Callback):
    """Kill this process in the second epoch."""

    def __init__(self, folder: pathlib.Path):
        super().__init__()
        self.folder = folder

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            (self.folder / "killed").write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: pathlib.Path, epochs: int) -> None:
    number, begun = json.loads(os.environ["TF_CONFIG"])["task"]["index"], time.time()
    again = (folder / "killed").exists()
    name = f"{'again' if again else 'first'}{number}"
    (folder / name).write_text(json.dumps([os.getpid(), begun]))
    signal.alarm(200)  # a worker that waits for ever fails the test
    with distribute.strategy("multi-worker").scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    callbacks = [] if again or number == 0 else [Killed(folder)]
    # The first start is endless but for the kill: whoever ends it is the launcher, or TensorFlow.
    epochs = epochs if again else 10**6
    loop = Loop(model, jit=False)
    loop.fit(np.ones((16, 3)), np.ones((16, 1)), epochs=epochs, batch_size=8, verbose=0, callbacks=callbacks)
    (folder / f"trained{number}").write_text(str(int(model.optimizer.iterations.numpy())))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
