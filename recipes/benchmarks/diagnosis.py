"""How often a diagnosis is right: on 200 synthetic curves and 30 real short runs, each made to show one thing.

Command   python recipes/benchmarks/diagnosis.py
Data      curves from formulas with drawn numbers; handwritten digits of scikit-learn
Target    precision and recall near 0.9 on synthetic curves; the real runs as they come
Time      about 2 minutes on 2 cores

A curve has one label, the thing it was made to show ("healthy": nothing), and may get several verdicts. Precision: of
the curves with a verdict, those whose label it is. Recall: of the curves with a label, those that get that verdict. A
plateau or over-fitting beside another label is often true as well: a rate too low to learn anything is flat too.

Measured (the rules were set on seed 0 and on these runs; seed 7 was drawn afterwards):

                       synthetic, seed 0     seed 7               real runs
                       precision  recall     precision  recall    precision  recall
    healthy                 0.92    0.96          1.00    0.92         0.80    1.00
    over-fitting            0.89    1.00          1.00    1.00         0.80    1.00
    under-fitting           1.00    0.92          1.00    1.00         0.80    1.00
    plateau                 0.89    0.96          0.86    1.00         1.00    1.00
    divergence              0.93    1.00          0.96    1.00         1.00    1.00
    rate too high           1.00    0.92          1.00    0.96         1.00    0.50
    rate too low            0.96    1.00          0.93    1.00         1.00    1.00
    noisy validation        1.00    0.92          1.00    1.00         0.67    0.67

A loss that still falls by a quarter of itself in the last third is no plateau: before, a plateau's precision on the
real runs was 0.50.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tyro

from kopt.callbacks import diagnose
from kopt.data import Digits
from kopt.training import Loop

Curves = Mapping[str, Sequence[float]]
LABELS = ["healthy", "over-fitting", "under-fitting", "plateau", "divergence", "rate too high", "rate too low"]
LABELS += ["noisy validation"]


# Synthetic curves


def decay(random: np.random.Generator, epochs: int, start: float, end: float, pace: float) -> np.ndarray:
    """Return a loss that falls from start towards end; with pace 1 it ends within a few percent of end."""
    time = np.arange(epochs) / (epochs - 1)
    power = random.uniform(0.7, 1.0)
    return end + (start - end) * np.exp(-3.5 * pace * time**power)


def lost(curve: np.ndarray, epochs: int) -> np.ndarray:
    """Return a curve whose last epochs are NaN."""
    return np.append(curve[:-epochs], [np.nan] * epochs)


def synthetic(label: str, random: np.random.Generator) -> Curves:
    """Return a training and a validation curve that show the problem that the label names."""
    epochs, start = int(random.integers(12, 80)), float(np.exp(random.uniform(-1, 3)))
    low, jitter = random.uniform(0.02, 0.15) * start, random.uniform(0.001, 0.01) * start
    time = np.arange(epochs) / (epochs - 1)
    shaken = lambda curve, size: np.maximum(curve + size * random.normal(size=epochs), 1e-3 * start)
    train = decay(random, epochs, start, low, random.uniform(0.8, 1.2))
    validation = train + random.uniform(0, 0.1) * start * time
    validation_jitter = 2 * jitter
    if label == "over-fitting":
        train = decay(random, epochs, start, low / 3, random.uniform(1.2, 2))
        turn = random.uniform(0.15, 0.6)
        rise = random.uniform(0.3, 2) * start
        validation = train + rise * np.maximum(time - turn, 0) ** random.uniform(1, 1.5) + 0.1 * start * time
    elif label == "under-fitting":
        train = decay(random, epochs, start, random.uniform(0.55, 0.9) * start, random.uniform(2.5, 6))
        validation = train * random.uniform(0.98, 1.1)
    elif label == "plateau":
        train = decay(random, epochs, start, low, random.uniform(4, 10))
        validation = train * random.uniform(1.0, 1.3)
    elif label == "divergence":
        turn = random.uniform(0, 0.8)
        train = train + start * np.expm1(random.uniform(3, 8) * np.maximum(time - turn, 0))
        train = validation = train if random.uniform() >= 0.3 else lost(train, int(random.integers(1, 4)))
    elif label == "rate too high":
        train = decay(random, epochs, start, random.uniform(0.3, 0.8) * start, random.uniform(1, 5))
        jitter = validation_jitter = random.uniform(0.2, 0.5) * (start - train[-1])
        validation = train
    elif label == "rate too low":
        train = start * (1 - random.uniform(0.05, 0.4) * time ** random.uniform(0.9, 1.05))
        jitter = random.uniform(0.0005, 0.003) * start
        validation, validation_jitter = train, 2 * jitter
    elif label == "noisy validation":
        validation_jitter = random.uniform(0.15, 0.4) * start
        validation = train + 0.2 * start
    curves = {"loss": shaken(train, jitter), "val_loss": shaken(validation, validation_jitter)}
    return {name: list(map(float, curve)) for name, curve in curves.items()}


# Real runs


class Setting(NamedTuple):
    """The settings of a real run; the defaults give a healthy one."""

    units: tuple[int, ...] = (32,)
    optimizer: Callable[[], Any] = lambda: keras.optimizers.SGD(0.05)
    epochs: int = 25
    train: int = 1000
    validate: int = 300
    penalty: float = 0.0
    regression: bool = False


def run(setting: Setting, seed: int) -> Curves:
    """Train on digits: predict the class or, as a regression, the digit's value from raw pixels."""
    keras.utils.set_random_seed(seed)
    splits, penalty = Digits().load(), keras.regularizers.L2(setting.penalty)
    layers = [keras.layers.Dense(size, "relu", kernel_regularizer=penalty) for size in setting.units]
    scale = keras.layers.Rescaling(1 if setting.regression else 1 / 16)
    model = keras.Sequential([keras.Input((8, 8, 1)), scale, keras.layers.Flatten(), *layers])
    model.add(keras.layers.Dense(1 if setting.regression else 10, kernel_regularizer=penalty))
    loss = "mse" if setting.regression else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(setting.optimizer(), loss)
    (x, y), held = splits.train[:2], splits.validation
    validation = held.x[: setting.validate], held.y[: setting.validate]
    how: dict[str, Any] = {"epochs": setting.epochs, "batch_size": 32, "verbose": 0, "validation_data": validation}
    history = Loop(model, seed=seed).fit(x[: setting.train], y[: setting.train], **how).history
    return dict(history)


def real() -> Iterator[tuple[str, Curves]]:
    """Yield thirty runs, three or four for each label, with settings that are known to cause it."""
    adam, sgd = keras.optimizers.Adam, keras.optimizers.SGD
    settings: dict[str, Callable[[int], Setting]] = {
        "healthy": lambda seed: Setting(optimizer=lambda: sgd(0.03 + 0.01 * seed)),
        "over-fitting": lambda seed: Setting((256, 256), lambda: adam(3e-3), 60, 80 + 20 * seed),
        "under-fitting": lambda seed: Setting((1,), lambda: adam(0.02), 40),
        "plateau": lambda seed: Setting((), lambda: adam(0.01), 60, penalty=0.001 * (1 + seed)),
        "divergence": lambda seed: Setting((), lambda: sgd(1e-3 + 1e-3 * seed), 15, regression=True),
        "rate too high": lambda seed: Setting((64, 64), lambda: adam(0.08 + 0.03 * seed), 30),
        "rate too low": lambda seed: Setting(optimizer=lambda: adam(2e-5 + 1e-5 * seed), epochs=20),
        "noisy validation": lambda seed: Setting((64,), lambda: adam(0.02 + 0.005 * seed), 20, validate=8),
    }
    for place, (label, setting) in enumerate(settings.items()):
        for seed in range(4 if place < 6 else 3):
            yield label, run(setting(seed), seed)


def measure(labelled: Sequence[tuple[str, Curves]]) -> str:
    """Return a line for each label: curves, precision, recall, and the wrong verdicts."""
    found = [(label, {verdict.finding for verdict in diagnose(curves)} or {"healthy"}) for label, curves in labelled]
    lines = [f"{'':18} curves  precision  recall  also said"]
    for label in LABELS:
        of_label = [said for truth, said in found if truth == label]
        right = sum(label in said for said in of_label)
        told = sum(label in said for _, said in found)
        others = [other for other in LABELS if other != label]
        also = {other: sum(other in said for said in of_label) for other in others}
        listed = ", ".join(f"{other} {count}" for other, count in also.items() if count)
        precision = f"{right / told:9.2f}" if told else f"{'-':>9}"
        lines.append(f"{label:18} {len(of_label):6}  {precision}  {right / len(of_label):6.2f}  {listed}")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    """Diagnose all curves, and print two tables."""

    def options(seed: int = 0, curves: int = 200) -> tuple[int, int]:
        return seed, curves

    seed, curves = tyro.cli(options, args=args, description=__doc__)
    logging.getLogger("kopt").setLevel(logging.ERROR)  # steps are skipped where runs diverge, as they should
    random = np.random.default_rng(seed)
    labelled = [(label, synthetic(label, random)) for label in (LABELS[n % len(LABELS)] for n in range(curves))]
    print("Synthetic curves\n" + measure(labelled))
    print("\nReal runs\n" + measure(list(real())))


if __name__ == "__main__":
    main()
