"""Writes docs/pictures/overview.png, the README's picture: `python docs/overview.py`.

Left: how far two devices are from one, epoch by epoch, by stock Keras and by kopt, in a case of
recipes/benchmarks/exactness.py. Right: the time of an update, from the figures of recipes/benchmarks/training_speed.py.
"""

import ast
import importlib.util
import pathlib
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras
import matplotlib.axes
import matplotlib.figure
import numpy as np
import tensorflow as tf

import kopt
from kopt.report import style

ROOT = pathlib.Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "recipes" / "benchmarks"
PICTURE = ROOT / "docs" / "pictures" / "overview.png"
EPOCHS = 40
TEXT = 12  # points: the picture is shown at half of its size, and smaller


def load(name: str) -> ModuleType:
    """Import a benchmark."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(name: str, row: str) -> dict[str, list[str]]:
    """Return the rows of a table in a benchmark's docstring: label -> cells.

    Args:
        name: The benchmark's file, without its ending.
        row: A pattern of the label.
    """
    text = ast.get_docstring(ast.parse((BENCHMARKS / f"{name}.py").read_text())) or ""
    found = re.findall(rf"^    ({row}) {{2,}}(\S.*)$", text, re.M)
    return {label.rstrip(): cells.split() for label, cells in found}


def speeds() -> dict[str, list[float]]:
    """Return work -> microseconds of kopt's step, and how many times as much the others take: fit, PyTorch, JAX."""
    rows = measured("training_speed", r"[A-Za-z0-9][\w ,-]*?")
    return {name: [float(cell) for cell in cells] for name, cells in rows.items() if len(cells) == 4}


class Weights(keras.callbacks.Callback):
    """Keeps the weights after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[np.ndarray]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep them."""
        self.found.append(self.model.get_weights())


def distances(exactness: ModuleType, fit: Callable[..., None]) -> list[float]:
    """Return how far two devices are from one after each epoch, with batches of 16, 16 and 5 examples."""
    kept = []
    for devices in ("cpu:0", "cpu:0,cpu:1"):
        with kopt.distribute.strategy(devices).scope():
            model = exactness.network(keras.optimizers.Adam(0.01))
        kept.append(Weights())
        fit(model, exactness.X[:37], exactness.Y[:37], epochs=EPOCHS, callbacks=[kept[-1]])
    return [exactness.apart(one, two) for one, two in zip(*(weights.found for weights in kept), strict=True)]


def titled(axes: matplotlib.axes.Axes, title: str) -> None:
    """Give axes the style, larger texts, and a title at the left."""
    style.plain(axes)
    axes.set_title(title, loc="left", fontsize=TEXT + 1)
    axes.tick_params(which="both", labelsize=TEXT - 1)


def draw_distances(axes: matplotlib.axes.Axes) -> None:
    """Draw how far two devices are from one."""
    exactness = load("exactness")
    for name, fit, color in (
        ("Keras", exactness.in_keras, style.VERMILION),
        ("kopt", exactness.in_kopt, style.BLUE),
    ):
        values = np.maximum(distances(exactness, fit), 1e-9)
        axes.semilogy(range(1, EPOCHS + 1), values, color=color, linewidth=2.5)
        axes.annotate(name, (EPOCHS, values[-1] * 2.5), color=color, fontsize=TEXT, ha="right", weight="bold")
    axes.set_ylim(1e-9, 1)
    axes.set_xlabel("epoch", fontsize=TEXT)
    axes.set_ylabel("largest difference of a weight", fontsize=TEXT)
    titled(axes, "Two devices beside one, an uneven last batch")


def draw_speeds(axes: matplotlib.axes.Axes) -> None:
    """Draw how many times kopt's update takes in model.fit and in PyTorch."""
    rows = speeds()
    places = np.arange(len(rows))[::-1]
    for place, name, color, column in ((0.2, "model.fit", style.VERMILION, 1), (-0.2, "PyTorch", style.GREY, 2)):
        values = np.array([row[column] for row in rows.values()])
        axes.barh(places + place, values - 1, 0.36, left=1, color=color, label=name)
        for at, value in zip(places + place, values):
            axes.annotate(f"{value:g}", (value * 1.07, at), fontsize=TEXT - 2.5, va="center", color=style.INK)
    axes.axvline(1, color=style.BLUE, linewidth=2.5, label="kopt")
    axes.set_xscale("log")
    axes.set_xlim(0.85, 500)
    axes.set_xticks([1, 10, 100], ["1", "10", "100"])
    axes.set_yticks(places, rows)
    axes.set_xlabel("times kopt's time of an update", fontsize=TEXT)
    titled(axes, "The same updates on two cores")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right", fontsize=TEXT - 1, frameon=False)


def main() -> None:
    """Draw the picture."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    figure = matplotlib.figure.Figure(figsize=(10.4, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    draw_distances(left)
    draw_speeds(right)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
