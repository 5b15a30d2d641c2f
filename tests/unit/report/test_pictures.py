"""What pictures show, read from their axes."""

import pathlib
import warnings

import keras
import matplotlib.image
import numpy as np
import pytest
from examples import RECIPE

import kopt
from kopt.report import Evidence, Run, history_figure
from kopt.report.pictures import evidence_figure, worst_images
from kopt.values.field_paths import replace

EPOCHS, PLANNED = 12, 30
FALLING = np.linspace(0.0405, 0.0241, EPOCHS).tolist()


def stopped_early(**history: list[float]) -> Run:
    """A run of 12 epochs of 30, whose cosine is at two thirds of its height."""
    recipe = replace(RECIPE, {"training.epochs": PLANNED, "schedule": kopt.schedules.Cosine(0.01)})
    rates = keras.ops.convert_to_numpy(recipe.schedule.resolve(float(PLANNED))(np.arange(1.0, EPOCHS + 1)))
    found = {"loss": FALLING, "val_loss": FALLING, "learning_rate": rates.tolist()} | history
    return Run(pathlib.Path("run"), recipe, found, {})


def test_the_rate_of_a_run_that_stopped_early_is_drawn_as_it_was_planned() -> None:
    run = stopped_early()
    trained, planned, marks = kopt.plot(run).axes[-1].lines
    assert trained.get_xdata()[-1] == EPOCHS and planned.get_xdata()[-1] == PLANNED
    assert trained.get_ydata()[-1] == pytest.approx(run.history["learning_rate"][-1])  # by hand 0.0065, and not 0
    assert trained.get_ydata()[-1] == pytest.approx(0.005 * (1 + np.cos(np.pi * EPOCHS / PLANNED)), rel=1e-5)
    assert planned.get_ydata()[-1] == pytest.approx(0, abs=1e-8) and planned.get_alpha() < 1
    assert marks.get_ydata() == pytest.approx(run.history["learning_rate"])


def test_the_best_epoch_is_marked_in_the_direction_of_the_metric() -> None:
    accuracy = np.full(EPOCHS, 0.9)
    accuracy[8], loss = 0.95, np.full(EPOCHS, 0.5)
    loss[3] = 0.25
    history = {"val_loss": loss.tolist(), "accuracy": accuracy.tolist(), "val_accuracy": accuracy.tolist()}
    top, middle, _ = kopt.plot(stopped_early(**history)).axes
    assert top.get_legend_handles_labels()[1][-1] == "best 0.2500, epoch 4"
    assert middle.get_legend_handles_labels()[1][-1] == "best 0.9500, epoch 9"
    assert middle.lines[-1].get_xdata() == [9]


def test_no_best_epoch_is_marked_where_nothing_says_what_is_better() -> None:
    figure = history_figure({"loss": [1.0, 0.5], "taste": [1.0, 2.0], "val_taste": [1.0, 2.0]})
    assert figure.axes[1].get_legend_handles_labels()[1] == ["training 2.0000", "validation 2.0000"]
    history_figure({"loss": [1.0, 0.5], "val_loss": [float("nan")] * 2})


@pytest.mark.parametrize(("losses", "scale"), [(FALLING, "linear"), ([1.0, 0.2, 0.05], "log"), ([1.0, 0.0], "linear")])
def test_ticks_are_plain_numbers_on_narrow_ranges(losses, scale: str) -> None:
    figure = history_figure({"loss": losses, "accuracy": [0.99951, 0.99952], "val_accuracy": [0.99951, 0.99952]})
    figure.draw_without_rendering()
    top, lower = figure.axes
    assert top.get_yscale() == scale
    for axes in (top, lower) if scale == "linear" else (lower,):
        assert axes.yaxis.get_major_formatter().get_offset() == ""  # neither 1e-2 nor +9.995e-1 beside the axis
        assert len({label.get_text() for label in axes.get_yticklabels()}) >= 3


def test_images_of_any_range_are_drawn_without_a_warning(tmp_path) -> None:
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32") * 3
    x[0, 0, 0] = np.nan
    evidence = Evidence("classification", x, np.array([0, 1, 2]), np.eye(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = worst_images(evidence)
        figure.savefig(tmp_path / "worst.png")
    shown = np.stack([axes.images[0].get_array() for axes in figure.axes])
    assert shown.min() == 0 and shown.max() == 1
    assert matplotlib.image.imread(tmp_path / "worst.png").std() > 0.1


def test_axes_of_forecasts_are_labelled() -> None:
    y = np.arange(12.0).reshape(3, 4)
    _, figure = evidence_figure(Evidence("forecast", np.zeros((3, 8)), y, y + 0.5))
    assert all(axes.get_xlabel() == "steps ahead" for axes in figure.axes)
    assert [axes.get_ylabel() for axes in figure.axes] == ["mean absolute error", "value", "value", "value"]
