"""Gradient descent from the textbook: one parameter, a line, ridge regression, and a small network by four rules.

Command   python recipes/gradient_descent.py
Data      made here: y = 2 x, y = 2 x + 1, and a random 10-5-1 ReLU network's outputs
Baseline  the closed forms, where there are any
Target    the closed forms to 1e-3, as its result is
Time      about 20 s on 2 cores
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kopt
from kopt.models import MLP
from kopt.regularizers import L2
from kopt.report.gallery import curves_figure
from kopt.rules import Adam, GradientDescent, Momentum, Nesterov
from kopt.schedules import Step
from kopt.training import minimize

X, POINTS = np.array([1.0, 2.0, 3.0, 4.0], "float32"), np.linspace(-1, 3, 100, dtype="float32")
LINE, SLOPE = 2 * POINTS + 1, float(POINTS @ (2 * POINTS + 1) / (POINTS @ POINTS))
MOMENTS = [[POINTS @ POINTS / 100 + 0.01, POINTS.mean()], [POINTS.mean(), 1.0]]
RIDGE = tuple(np.linalg.solve(MOMENTS, [POINTS @ LINE / 100, LINE.mean()]))
TRAININGS: dict[str, tuple[kopt.rules.Rule, float, Any]] = {
    "full batch, gradient descent": (GradientDescent(), 0.1, "full"),
    "batches of 64, momentum 0.9": (Momentum(0.9), 0.01, 64),
    "single examples, Nesterov": (Nesterov(0.9), 0.001, 1),
    "batches of 64, Adam": (Adam(), 0.01, 64),
}


def squares(theta: tf.Tensor, b: tf.Tensor = 0.0) -> tf.Tensor:
    """Return the mean squared distance of a line from y = 2 x + 1."""
    return tf.reduce_mean((theta * POINTS + b - LINE) ** 2)


# The loss, the start, the rate, and the closed form.
EXERCISES: dict[str, tuple[Any, Any, Any, Any]] = {
    "y = 2 x, one parameter": (lambda theta: tf.reduce_mean((theta * X - 2 * X) ** 2), 0, 0.01, 2.0),
    "y = 2 x + 1, slope alone": (squares, 0, 0.05, SLOPE),
    "y = 2 x + 1, slope and intercept": (squares, (0, 0), 0.05, (2.0, 1.0)),
    "the same, rate x 0.9 every 100": (squares, (0, 0), Step(0.05, 0.9, every=100), (2.0, 1.0)),
    "the same, L2 of 0.01 (ridge)": (lambda theta, b: squares(theta, b) + L2(0.01)(theta), (0, 0), 0.05, RIDGE),
}


@kopt.exit_codes()
def main(args: Sequence[str] | None = None) -> Path:
    """Run the exercises and draw their losses in one picture."""
    quick, folder = kopt.experiment.script_line(args, description=__doc__)
    with kopt.report.run_folder(folder, "gradient_descent") as (unfinished, final):
        lines, network = {}, {}
        for name, (loss, start, rate, closed_form) in EXERCISES.items():
            found = minimize(loss, start, GradientDescent(), rate=rate, steps=100 if quick else 1000)
            print(f"{name:34} {np.round(found.parameters, 4)}, closed form {np.round(closed_form, 4)}")
            lines[name] = found.losses
        keras.utils.set_random_seed(1)
        x = np.random.default_rng(0).normal(size=(1000, 10)).astype("float32")
        y = MLP((10,), 1, units=(5,), task="regression").build()(x).numpy()
        for name, (rule, rate, batch_size) in TRAININGS.items():
            keras.utils.set_random_seed(2)
            model = MLP((10,), 1, units=(5,), task="regression").build()
            model.compile(kopt.optimizers.Optimizer(rule, rate), "mse")
            how: dict[str, Any] = {"batch_size": batch_size, "epochs": 3 if quick else 40, "verbose": 0}
            network[name] = kopt.Loop(model, seed=0).fit(x, y, **how).history["loss"]
            print(f"{name:34} {int(model.optimizer.iterations):5} updates, loss {network[name][-1]:.5f}")
        picture = curves_figure({"closed forms": lines, "a 10-5-1 network, 1,000 examples": network}, columns=2)
        picture.savefig(unfinished / "losses.png", dpi=110)
    print(f"picture: {final / 'losses.png'}")
    return final / "losses.png"


if __name__ == "__main__":
    main()
