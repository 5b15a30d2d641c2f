"""What a suggested learning rate is worth: the final validation loss there, beside those of a grid of rates.

Command   python recipes/benchmarks/find_rate.py
Data      digits of scikit-learn; hourly loads made of daily, weekly and yearly waves; the text of Python's help pages
Target    near the best of the grid on every task
Time      about 3 minutes on 2 cores

Each task is trained by Adam at a constant rate: at 12 rates from 1e-5 to 3 in equal ratios, and at what each method of
`training.find_rate` suggests from one sweep of 100 updates over 1e-6 to 10; 3 seeds, which draw weights and order. The
loss is that after the last epoch; what is not finite counts as the worst that is.

Measured, medians over the seeds (rate, loss):

                          digits            loads             text
    best of the grid      0.0031  0.159     0.0031  0.0310    0.0031  1.89
    minimum, the default  0.0039  0.157     0.0055  0.0308    0.0021  1.89
    steepest              0.013   0.165     0.0004  0.0349    0.0056  1.94
    valley                0.0013  0.228     0.0015  0.0316    0.0008  2.20
    worst of the grid     3       2.56      3       6797      3       3.90
"""

import logging
import pydoc_data.topics
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import keras
import numpy as np
import tyro

from kopt.data import Digits
from kopt.training import Loop, find_rate
from kopt.training.tools.find_rate import Method

RATES = np.geomspace(1e-5, 3, 12)


class Task(NamedTuple):
    """Examples for training and validation, and a function that builds the network."""

    train: tuple[Any, Any]
    validation: tuple[Any, Any]
    network: Callable[[], keras.Model]
    loss: Any
    epochs: int


def classes() -> Any:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def digits() -> Task:
    """Return the task of handwritten digits and a small network."""
    splits = Digits().load()

    def network() -> keras.Model:
        layers = [keras.layers.Rescaling(1 / 16), keras.layers.Flatten(), keras.layers.Dense(64, "relu")]
        return keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Dense(10)])

    return Task(splits.train[:2], splits.validation[:2], network, classes(), 15)


def loads() -> Task:
    """Return the task of predicting an electric load's next hour from the last 48."""
    random, hours = np.random.default_rng(0), np.arange(6000)
    waves = [np.sin(2 * np.pi * hours / period + phase) for period, phase in ((24, 0), (12, 1), (168, 2), (8760, 3))]
    load = np.dot([1.0, 0.4, 0.5, 0.8], waves) + 0.1 * np.cumsum(random.normal(size=hours.size)) / 10
    load = ((load + 0.15 * random.normal(size=hours.size)) / load.std()).astype("float32")
    x, y = np.lib.stride_tricks.sliding_window_view(load[:-1], 48), load[48:, None]

    def network() -> keras.Model:
        return keras.Sequential([keras.Input((48,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)])

    return Task((x[:4500], y[:4500]), (x[4600:], y[4600:]), network, "mse", 15)


def text() -> Task:
    """Return the task of predicting the next character of English from the last 16."""
    whole = "".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))[:40000].lower()
    letters = sorted(set(whole))
    numbers = np.array([letters.index(letter) for letter in whole], "int32")
    x, y = np.lib.stride_tricks.sliding_window_view(numbers[:-1], 16), numbers[16:]

    def network() -> keras.Model:
        layers = [keras.layers.Embedding(len(letters), 16), keras.layers.Flatten(), keras.layers.Dense(128, "relu")]
        return keras.Sequential([keras.Input((16,), dtype="int32"), *layers, keras.layers.Dense(len(letters))])

    return Task((x[:20000], y[:20000]), (x[30000:35000], y[30000:35000]), network, classes(), 4)


def final_loss(task: Task, rate: float, seed: int) -> float:
    """Train at a rate and return the validation loss."""
    loop = Loop(compiled(task, rate, seed), seed=seed)
    loop.fit(*task.train, epochs=task.epochs, verbose=0)
    return loop.evaluate(*task.validation, verbose=0)["loss"]


def compiled(task: Task, rate: float, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = task.network()
    model.compile(keras.optimizers.Adam(rate), task.loss)
    return model


def measure(task: Task, seeds: int) -> Mapping[str, tuple[float, float]]:
    """Return name -> the median over seeds of a rate, and of the validation loss at this rate."""
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(seeds):
        grid = {float(rate): final_loss(task, rate, seed) for rate in RATES}
        worst = max(loss for loss in grid.values() if np.isfinite(loss))
        grid = {rate: loss if np.isfinite(loss) else worst for rate, loss in grid.items()}
        for name, choose in (("best of the grid", min), ("worst of the grid", max)):
            rate = choose(grid, key=lambda rate: grid[rate])
            found.setdefault(name, []).append((rate, grid[rate]))
        curve = find_rate(compiled(task, 1e-3, seed), *task.train, seed=seed)
        for method in get_args(Method):
            rate = curve.suggest(method)
            found.setdefault(method, []).append((rate, final_loss(task, rate, seed)))
    return {name: tuple(map(statistics.median, zip(*pairs))) for name, pairs in found.items()}


def main(args: Sequence[str] | None = None) -> None:
    """Train all tasks and print a table."""

    def options(seeds: int = 3) -> int:
        return seeds

    seeds = tyro.cli(options, args=args, description=__doc__)
    logging.getLogger("kopt").setLevel(logging.ERROR)  # steps are skipped at rates that are too high
    for task in (digits, loads, text):
        print(f"{task.__name__}: {task.__doc__}")
        for name, (rate, loss) in measure(task(), seeds).items():
            print(f"  {name:18} rate {rate:8.2g}   validation loss {loss:.4g}")


if __name__ == "__main__":
    main()
