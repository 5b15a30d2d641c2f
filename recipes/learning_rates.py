"""Learning rates: all schedules in one picture, and whether a decayed rate beats a constant one on digits.

Command   python recipes/learning_rates.py
Data      digits, as in vision.py
Baseline  a constant rate; each schedule's peak is chosen on the validation split
Target    none: the differences in test log loss over 5 seeds are printed, losses as well as wins
Time      about 2 minutes on 2 cores
Result    constant 0.087, cosine 0.060, linear 0.059, step 0.067, one cycle 0.058: each decay beats the constant rate by
          0.02 to 0.03, with a spread of 0.02 over seeds; the decays differ by less than their spread
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import matplotlib.figure
import numpy as np
import tyro

import kopt
from kopt import distribute, schedules
from kopt.fields import replace
from kopt.runs import build, train
from kopt.schedules import Constant, Cosine, Linear, OneCycle, Schedule, Step

GALLERY: tuple[Schedule, ...] = (
    Constant(1),
    Step(1, 0.5, every=25),
    schedules.Piecewise((1, 0.3, 0.6), (30, 70)),
    schedules.Piecewise((0, 1, 0.2), (0, 20, 90), interpolate=True),
    schedules.Exponential(1, 0.5, every=25),
    schedules.InverseTime(1, 1, every=25),
    schedules.InverseSqrt(1, every=15).warmup(15),
    Linear(1, duration=100),
    schedules.Polynomial(1, duration=100, power=2),
    Cosine(1, duration=100),
    schedules.REX(1, duration=100),
    schedules.Tanh(1, duration=100),
    schedules.FlatCosine(1, duration=100),
    schedules.WarmupStableDecay(1, duration=100, tail="1-sqrt"),
    OneCycle(1, duration=100),
    schedules.Triangular(1, every=40, decay=0.7),
    schedules.CosineRestarts(1, every=20, growth=1.5, decay=0.8),
    Cosine(1).warmup(5).restart(33),
    Constant(1).then(Linear(0.5, duration=40), at=50),
    (Cosine(1, duration=90) * 0.8).clip(0.2, 0.7).delay(10),
)
CONTENDERS: dict[str, Schedule] = {
    "constant": Constant(1),
    "cosine": Cosine(1).warmup(1),
    "linear": Linear(1).warmup(1),
    "step, x 0.3 every 6": Step(1, 0.3, every=6),
    "one cycle": OneCycle(1),
}
RECIPE = kopt.Recipe(
    "learning_rates",
    kopt.data.Digits(),
    model=kopt.models.MLP((8, 8, 1), 10, units=(64, 64), dropout=0.2, scale=1 / 16),
    schedule=Constant(1),
    training=kopt.Training(epochs=20),
)


def gallery() -> matplotlib.figure.Figure:
    """Every schedule of the registry, over 100 units."""
    figure = matplotlib.figure.Figure(figsize=(13, 9), layout="constrained")
    times = np.linspace(0, 100, 500, endpoint=False)
    for axes, schedule in zip(figure.subplots(5, 4, sharex=True, sharey=True).flat, GALLERY):
        axes.plot(times, keras.ops.convert_to_numpy(schedule(times)), linewidth=2, color="#1b6ca8")
        axes.set_title(repr(schedule), fontsize=6.5, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(ylim=(-0.02, 1.05), xlim=(0, 100))
    return figure


def log_losses(recipe: kopt.Recipe, schedule: Schedule, splits: kopt.data.Splits, seed: int) -> tuple[float, float]:
    """Validation and test log loss after training by a schedule."""
    keras.utils.set_random_seed(seed)
    recipe = replace(recipe, {"schedule": schedule, "seed": seed})
    model = build(recipe, splits, distribute.strategy())
    train(recipe, model, splits, verbose=False, validation_data=None)
    validation, test = (model.evaluate(*part, verbose=0)[0] for part in (splits.validation, splits.test))
    return validation, test


def told(values: np.ndarray) -> str:
    """Mean and spread over seeds."""
    return f"{values.mean():.4f} +- {values.std(ddof=min(1, len(values) - 1)):.4f}"


def main(args: Sequence[str] | None = None) -> Path:
    """Draw the gallery, train the contenders, print the differences and leave both in a run folder."""

    def options(quick: bool = False, folder: str = "saved_models") -> tuple[bool, str]:
        return quick, folder

    quick, folder = tyro.cli(options, args=args, description=__doc__)
    small = {"training.epochs": 2, "training.batch_size": "full", "data.examples": 200}
    recipe = replace(RECIPE, small if quick else {})
    contenders = list(CONTENDERS.items())[: 2 if quick else None]
    rates, seeds = ((0.01,), 1) if quick else ((0.003, 0.01, 0.03), 5)
    splits = recipe.data.load()
    with kopt.report.run_folder(folder, recipe.name) as (unfinished, final):
        gallery().savefig(unfinished / "schedules.png", dpi=90)
        lines, found = [], {}
        for name, shape in contenders:
            tried = {rate: log_losses(recipe, shape * rate, splits, 0) for rate in rates}
            rate = min(tried, key=lambda rate: tried[rate])
            others = [log_losses(recipe, shape * rate, splits, seed)[1] for seed in range(1, seeds)]
            found[name] = np.array([tried[rate][1], *others])
            lines.append(f"{name:20} peak {rate:<6g} test log loss {told(found[name])}")
            lines[-1] += f", better than constant by {told(found['constant'] - found[name])}"
            print(lines[-1], flush=True)
        (unfinished / "results.txt").write_text("\n".join(lines) + "\n")
    print(f"run folder: {final}")
    return final


if __name__ == "__main__":
    main()
