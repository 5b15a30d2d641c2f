"""What checkpoints cost: the time of training with one every 10 s beside training without, and their size.

Command   python recipes/benchmarks/checkpoints.py
Data      random numbers of the shapes of MNIST, see works.py
Target    at most 1.03 times the time of training without; a file no larger than the state and 64 kB
Time      about 5 minutes on 2 cores
"""

import pathlib
import statistics
import tempfile
import time
from dataclasses import dataclass

import keras
import tensorflow as tf
import tyro
from works import WORKS, Work

from kopt.callbacks import Checkpoint
from kopt.state import training_variables
from kopt.training import Loop

MOST_TIMES, MOST_MORE = 1.03, 2**16


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    works: tuple[str, ...] = ("CNN", "MLP 784")
    every: str = "10s"
    seconds: float = 25.0  # of a training
    repetitions: int = 3


class Training:
    """A model that was compiled and trained for an epoch, which shows how many take the seconds that are asked for."""

    def __init__(self, work: Work, seconds: float):
        self.x, self.y = work.arrays()
        self.batch, self.model = work.batch, work.model()
        self.loop = Loop(self.model, seed=0)
        self.fit(epochs=2)
        taken = self.fit(epochs=2)
        self.epochs = max(1, round(seconds / (taken / 2)))

    def fit(self, epochs: int, checkpoint: Checkpoint | None = None) -> float:
        """Train; return the seconds that it took."""
        started = time.perf_counter()
        self.loop.fit(self.x, self.y, batch_size=self.batch, epochs=epochs, verbose=0, checkpoint=checkpoint)
        return time.perf_counter() - started

    def compared(self, options: Options) -> tuple[float, int]:
        """Return the median ratio of the times with and without checkpoints, and the bytes of a file."""
        ratios, size = [], 0
        for _ in range(options.repetitions):
            without = self.fit(self.epochs)
            with tempfile.TemporaryDirectory() as folder:
                with_them = self.fit(self.epochs, Checkpoint(folder, every=options.every))
                size = max(file.stat().st_size for file in pathlib.Path(folder).glob("step-*"))
            ratios.append(with_them / without)
        return statistics.median(ratios), size


def main(options: Options) -> None:
    """Print the ratio and the sizes of each work; end with code 1 when a target is missed."""
    missed = False
    print(f"{'work':20} epochs   times   file MB   state MB")
    for name in options.works:
        keras.utils.set_random_seed(0)
        training = Training(WORKS[name], options.seconds)
        ratio, size = training.compared(options)
        state = sum(one.dtype.size * one.shape.num_elements() for one in training_variables(training.model))
        print(f"{name:20} {training.epochs:6}   {ratio:5.3f}   {size / 1e6:7.2f}   {state / 1e6:8.2f}", flush=True)
        missed |= ratio > MOST_TIMES or size > state + MOST_MORE
    raise SystemExit(int(missed))


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main(tyro.cli(Options))
