"""Gradient descent from the textbook: one parameter, a line, ridge regression, and a small network by four rules.

Command   python recipes/gradient_descent.py
Data      made here: y = 2 x, y = 2 x + 1, and a random 10-5-1 ReLU network's outputs
Baseline  the closed forms, where there are any
Target    the closed forms to 1e-3
Time      about 20 s on 2 cores
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import matplotlib.figure
import numpy as np
import tensorflow as tf
import tyro

import kopt
from kopt import rules
from kopt.models import MLP
from kopt.regularizers import L2
from kopt.schedules import Step
from kopt.training import minimize


def line_exercises(steps: int) -> dict[str, np.ndarray]:
    """One parameter, a slope, a line, a decayed rate and ridge regression: what they find, and their losses."""
    x = np.array([1.0, 2.0, 3.0, 4.0], "float32")
    points = np.linspace(-1, 3, 100, dtype="float32")
    line, descent = 2 * points + 1, rules.GradientDescent()
    slope = float(points @ line / (points @ points))
    ridge = np.linalg.solve(
        [[points @ points / 100 + 0.01, points.mean()], [points.mean(), 1.0]], [points @ line / 100, line.mean()]
    )

    def squares(theta: tf.Tensor, b: tf.Tensor = 0.0) -> tf.Tensor:
        return tf.reduce_mean((theta * points + b - line) ** 2)

    def penalized(theta: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return squares(theta, b) + L2(0.01)(theta)

    decayed = Step(0.05, 0.9, every=100)
    exercises: dict[str, tuple[Any, Any, Any, Any]] = {
        "y = 2 x, one parameter": (lambda theta: tf.reduce_mean((theta * x - 2 * x) ** 2), 0, 0.01, 2.0),
        "y = 2 x + 1, slope alone": (squares, 0, 0.05, slope),
        "y = 2 x + 1, slope and intercept": (squares, (0, 0), 0.05, (2.0, 1.0)),
        "the same, rate x 0.9 every 100": (squares, (0, 0), decayed, (2.0, 1.0)),
        "the same, L2 of 0.01 (ridge)": (penalized, (0, 0), 0.05, tuple(ridge)),
    }
    losses = {}
    for name, (loss, start, rate, closed_form) in exercises.items():
        found = minimize(loss, start, descent, rate=rate, steps=steps)
        print(f"{name:34} {np.round(found.parameters, 4)}, closed form {np.round(closed_form, 4)}")
        losses[name] = found.losses
    return losses


def network_exercises(epochs: int) -> dict[str, list[float]]:
    """A 10-5-1 network by the batch, by mini-batches and one by one: the loss after each epoch."""
    generator, network = np.random.default_rng(0), MLP((10,), 1, units=(5,), task="regression")
    keras.utils.set_random_seed(1)
    x = generator.normal(size=(1000, 10)).astype("float32")
    y = network.build()(x).numpy()
    losses = {}
    trainings: tuple[tuple[str, rules.Rule, float, int | Literal["full"]], ...] = (
        ("full batch, gradient descent", rules.GradientDescent(), 0.1, "full"),
        ("batches of 64, momentum 0.9", rules.Momentum(0.9), 0.01, 64),
        ("single examples, Nesterov", rules.Nesterov(0.9), 0.001, 1),
        ("batches of 64, Adam", rules.Adam(), 0.01, 64),
    )
    for name, rule, rate, batch_size in trainings:
        keras.utils.set_random_seed(2)
        model = network.build()
        model.compile(kopt.optimizers.Optimizer(rule, rate), "mse")
        history = kopt.Loop(model, seed=0).fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)
        losses[name] = history.history["loss"]
        updates = int(model.optimizer.iterations) // epochs
        print(f"{name:34} {updates:4} updates an epoch, loss {losses[name][-1]:.5f}")
    return losses


def main(args: Sequence[str] | None = None) -> Path:
    """Run the exercises and draw their losses in one picture."""

    def options(quick: bool = False, folder: str = "saved_models") -> tuple[bool, str]:
        return quick, folder

    quick, folder = tyro.cli(options, args=args, description=__doc__)
    figure = matplotlib.figure.Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    with kopt.report.run_folder(folder, "gradient_descent") as (unfinished, final):
        for axes, losses in (
            (left, line_exercises(100 if quick else 1000)),
            (right, network_exercises(3 if quick else 40)),
        ):
            for name, values in losses.items():
                axes.plot(np.maximum(values, 1e-12), label=name, linewidth=2)
            axes.set(yscale="log", ylabel="loss")
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=9)
        left.set(xlabel="step", title="closed forms")
        right.set(xlabel="epoch", title="a 10-5-1 network, 1,000 examples")
        figure.savefig(unfinished / "losses.png", dpi=110)
    print(f"picture: {final / 'losses.png'}")
    return final / "losses.png"


if __name__ == "__main__":
    main()
