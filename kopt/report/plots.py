"""Pictures of schedules and of runs."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, get_args

import keras
import matplotlib
import matplotlib.axes
import numpy as np

from kopt.report.figure import Figure
from kopt.report.run import Run
from kopt.report.style import (
    BLUE,
    GREEN,
    GREY,
    LARGE,
    SMALL,
    VERMILION,
    drawable,
    logarithmic,
    plain,
    ramp,
    spans_decades,
    titled,
)
from kopt.schedules import Schedule
from kopt.tasks.directions import of_name
from kopt.training import RateCurve
from kopt.training.tools.find_rate import Method
from kopt.values import paths
from kopt.values.checks import require
from kopt.values.texts import in_picture

__all__ = ["history_figure", "plot", "schedule_figure"]

Plotted: TypeAlias = Schedule | RateCurve | keras.callbacks.History | Run

TRAIN, VALIDATION, RATE = BLUE, VERMILION, GREY
MEASURED = ("gradient_norm", "update_ratio")  # by GradientMonitor
LEGEND = 12  # layers that are named in a picture
MOMENTS = 1001  # at which a schedule is drawn
ENDLESS = 100.0  # units that are drawn of a schedule without an end


def plot(value: Plotted) -> Figure:
    """Draw a schedule, a History, a run, or the curve of `find_rate`.

    Args:
        value: A schedule with a known duration, a `keras.callbacks.History`, a run, or a `RateCurve`.

    Returns:
        A matplotlib figure: `figure.savefig("curves.png")`; notebooks show it.

    Raises:
        ValueError: When it is none of these, or the schedule is open.

    Example:
        >>> from kopt.schedules import Cosine
        >>> plot(Cosine(0.1, duration=90).warmup(5)).axes[0].get_title("left")
        'Cosine(0.1, duration=90).warmup(5)'

    Source:
        matplotlib.
    """
    if isinstance(value, Schedule):
        return schedule_figure(value)
    if isinstance(value, RateCurve):
        return curve_figure(value)
    known = isinstance(value, (keras.callbacks.History, Run))
    require(known, "value", "must be a schedule, a History, a run or a RateCurve", value)
    if not isinstance(value, Run):
        return history_figure(value.history)
    # The schedule of the whole run that was planned; an interrupted run has had a part of it.
    planned = paths(value.recipe)
    schedule = planned["schedule"].resolve(float(planned["training.epochs"]))
    return history_figure(value.history, value.recipe.name, schedule)


def schedule_figure(schedule: Schedule) -> Figure:
    """Draw a schedule from 0 to its end, or over 100 units when it has no end.

    Args:
        schedule: A schedule with a known duration.
    """
    require(schedule.total is not None, "schedule", "must have a duration to be drawn", schedule)
    end = schedule.total if schedule.total and math.isfinite(schedule.total) else ENDLESS
    times = np.linspace(0, end, MOMENTS)
    figure = Figure(figsize=(6, 3))
    axes = plain(figure.subplots())
    axes.plot(times, keras.ops.convert_to_numpy(schedule(times)), color=TRAIN, linewidth=2)
    axes.set(xlabel="time (in the unit of the schedule)", ylabel="learning rate", xlim=(0, end), ylim=(0, None))
    titled(axes, in_picture(repr(schedule)))
    return figure


def curve_figure(curve: RateCurve) -> Figure:
    """Draw losses over rates, raw and smoothed, and the suggestion of each method.

    Args:
        curve: The result of `find_rate`.
    """
    figure = Figure(figsize=(6, 3.2))
    axes = plain(figure.subplots())
    axes.plot(curve.rates, curve.losses, color=TRAIN, linewidth=1, alpha=0.35)
    axes.plot(curve.rates, curve.smoothed, color=TRAIN, linewidth=2)
    for method in get_args(Method):
        rate, chosen = curve.suggest(method), method == curve.method
        height = np.interp(np.log(rate), np.log(curve.rates), curve.smoothed)
        axes.plot(rate, height, "o", color=VALIDATION if chosen else RATE, markersize=8 if chosen else 5)
        axes.annotate(f" {method} {rate:.2g}", (rate, height), va="bottom", fontsize=SMALL)
    low, high = np.min(curve.smoothed), np.max(curve.smoothed[: max(3, len(curve.smoothed) // 2)])
    axes.set(xlabel="learning rate", ylabel="loss", ylim=(low - 0.1 * (high - low), high + 0.3 * (high - low)))
    logarithmic(axes, "x")
    titled(axes, f"suggestion {curve.suggestion:.3g} ({curve.method})")
    return figure


def history_figure(history: Mapping[str, Sequence[float]], title: str = "", schedule: Schedule | None = None) -> Figure:
    """Draw a history by epoch: the loss, the first metric, and the learning rate below, on the same time axis.

    Gradient norms and update ratios that `GradientMonitor` measured are drawn too, one line a layer.

    Args:
        history: Name -> a value an epoch.
        title: The title of the figure.
        schedule: The rate over the epochs that were planned; without it only the last rate of each epoch is drawn.
    """
    validated = [name for name in history if f"val_{name}" in history and name not in ("loss", "penalty")]
    panels = [name for name in ("loss", *validated[:1], *MEASURED, "learning_rate") if name in history]
    require(any(len(history[name]) for name in panels), "history", "must hold a loss", sorted(history))
    heights = [3 if name != "learning_rate" else 1.6 for name in panels]
    figure = Figure(figsize=(7, sum(heights) + 0.6))
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, name in zip(rows, panels):
        if name == "learning_rate":
            rate_curve(plain(axes), history[name], schedule)
        elif name in MEASURED:
            layer_curves(plain(axes), name, history)
        else:
            curve(plain(axes), name, history)
    for axes in rows:
        shown = in_picture(title) if axes is rows[0] else ""
        titled(axes, shown, LARGE, columns=0 if len(axes.get_legend_handles_labels()[1]) > LEGEND + 1 else 3)
    rows[-1].set(xlabel="epoch", xlim=(0, None))
    rows[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels()
    return figure


def curve(axes: matplotlib.axes.Axes, name: str, history: Mapping[str, Sequence[float]]) -> None:
    """Draw training and validation by epoch, with their last values in the legend."""
    for label, key, color in (("training", name, TRAIN), ("validation", f"val_{name}", VALIDATION)):
        if len(values := drawable(history.get(key, ()))):
            epochs, last = np.arange(1, len(values) + 1), f"{label} {values[-1]:.4f}"
            axes.plot(epochs, values, color=color, linewidth=2, marker="o", markersize=3, label=last)
    if (best := best_epoch(name, validation := drawable(history.get(f"val_{name}", ())))) is not None:
        label = f"best {validation[best - 1]:.4f}, epoch {best}"
        (ring,) = axes.plot(best, validation[best - 1], "o", color=VALIDATION, markersize=9, label=label)
        ring.set(markerfacecolor="none", linestyle="none")
    if name == "loss" and spans_decades([*history[name], *history.get("val_loss", ())]):
        logarithmic(axes, "y")
    else:
        axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.set_ylabel(in_picture(name.replace("_", " ")))


def best_epoch(name: str, values: np.ndarray) -> int | None:
    """Return the number of the epoch with the best validation; None where nothing says what is better."""
    direction = of_name(name)
    if direction is None or not np.isfinite(values).any():
        return None
    return int(np.nanargmax(values) if direction == "max" else np.nanargmin(values)) + 1


def layer_curves(axes: matplotlib.axes.Axes, name: str, history: Mapping[str, Sequence[float]]) -> None:
    """Draw a measurement of all weights and of each layer, on a logarithmic scale."""
    layers = [key for key in history if key.startswith(f"{name}/")]
    colors = map(ramp, np.linspace(0, 1, max(1, len(layers))))
    epochs = np.arange(1, len(history[name]) + 1)
    for key, color in zip(layers, colors):
        axes.plot(epochs, drawable(history[key]), color=color, linewidth=1, label=in_picture(key.partition("/")[2]))
    axes.plot(epochs, drawable(history[name]), color=GREEN, linewidth=2, label="all")
    axes.set_ylabel(name.replace("_", " "))
    logarithmic(axes, "y")


def rate_curve(axes: matplotlib.axes.Axes, rates: Sequence[float], schedule: Schedule | None) -> None:
    """Draw the learning rate at the end of each epoch, and the schedule in between and as it was planned to go on."""
    epochs = len(rates)
    if schedule is not None:
        planned = schedule.resolve(float(epochs))
        whole = planned.total if planned.total is not None and math.isfinite(planned.total) else epochs
        for start, end, alpha in ((0.0, float(epochs), 1.0), (float(epochs), float(whole), 0.35)):
            times = np.linspace(start, end, MOMENTS) if end > start else np.empty(0)
            axes.plot(times, keras.ops.convert_to_numpy(planned(times)), color=RATE, linewidth=2, alpha=alpha)
    width = 0 if schedule else 2
    axes.plot(np.arange(1, epochs + 1), drawable(rates), color=RATE, linewidth=width, marker="o", markersize=3)
    axes.set(ylabel="learning rate", ylim=(0, None))
