"""One style for all pictures: texts that can be read, colors that all can tell apart, no legend over data."""

import io
import itertools
import pathlib
from collections.abc import Callable

import matplotlib.colors
import matplotlib.figure
import matplotlib.image
import matplotlib.text
import numpy as np
import pytest
from examples import RECIPE

import kopt
from kopt.report import Evidence, Run, compare_figure, history_figure
from kopt.report.gallery import curves_figure, schedules_figure
from kopt.report.pictures import evidence_figure, worst_images
from kopt.report.style import COLORS, SMALL, ramp, titled
from kopt.training import RateCurve
from kopt.tuning.population import Repeated

RANDOM = np.random.default_rng(0)
LOSSES = {"loss": [1.0, 0.3, 0.05], "val_loss": [1.1, 0.6, 0.5]}
HISTORY = LOSSES | {"accuracy": [0.1, 0.5, 0.9], "val_accuracy": [0.1, 0.5, 0.7], "learning_rate": [0.1, 0.05, 0.01]}
HISTORY |= {
    name: [2.0, 1.0, 0.5] for name in ("gradient_norm", *(f"gradient_norm/layer_{place}" for place in range(8)))
}
RUN = Run(pathlib.Path("run"), RECIPE, HISTORY, {"metric": "accuracy"})
CLASSES, LOGITS = RANDOM.integers(0, 10, 300), RANDOM.normal(size=(300, 10))
NUMBERS = RANDOM.normal(size=3000)
FORECAST = RANDOM.normal(size=(20, 48))
ITEMS = (RANDOM.random((30, 150)) < 0.1).astype(float)

PICTURES: dict[str, Callable[[], matplotlib.figure.Figure]] = {
    "schedules": schedules_figure,
    "schedule": lambda: kopt.plot(kopt.schedules.Cosine(0.1, duration=90).warmup(5)),
    "rates": lambda: kopt.plot(RateCurve(tuple(np.logspace(-6, 0, 60)), tuple(np.linspace(2, 1, 60)), "minimum")),
    "history": lambda: history_figure(HISTORY, "digits"),
    "run": lambda: kopt.plot(RUN),
    "compare": lambda: compare_figure([RUN, RUN]),
    "curves": lambda: curves_figure({"digits": {"train": [1.0, 0.5, 0.01], "validation": [1.1, 0.9, 0.8]}}),
    "confusion": lambda: evidence_figure(Evidence("classification", LOGITS, CLASSES, LOGITS))[1],
    "worst": lambda: worst_images(Evidence("classification", RANDOM.random((300, 8, 8, 1)), CLASSES, LOGITS)),
    "residuals": lambda: evidence_figure(Evidence("regression", NUMBERS, NUMBERS, NUMBERS[:, None] ** 3))[1],
    "few residuals": lambda: evidence_figure(Evidence("regression", NUMBERS, NUMBERS[:9], NUMBERS[:9, None]))[1],
    "forecasts": lambda: evidence_figure(Evidence("forecast", FORECAST, FORECAST, FORECAST + 0.1))[1],
    "seeds": lambda: Repeated([Run(*RUN[:3], {"metric": "accuracy", "value": one}) for one in LOSSES["loss"]]).figure(),
    "recall": lambda: evidence_figure(Evidence("ranking", ITEMS, ITEMS, ITEMS + RANDOM.normal(size=ITEMS.shape)))[1],
    "places": lambda: evidence_figure(
        Evidence("language", ITEMS, RANDOM.integers(0, 9, (5, 32)), RANDOM.normal(size=(5, 32, 9)))
    )[1],
}


def small_texts(figure: matplotlib.figure.Figure) -> list[str]:
    """Return the texts of fewer than 8 points; exponents have 0.7 of the size of their text."""
    texts = figure.findobj(lambda one: isinstance(one, matplotlib.text.Text) and one.get_visible() and one.get_text())
    size = lambda one: one.get_fontsize() * (0.7 if "^" in one.get_text() else 1)
    return [one.get_text() for one in texts if size(one) < 8]


def covering_legends(figure: matplotlib.figure.Figure) -> list[str]:
    """Return the titles of panels whose legend or title lies over data, the other, or beyond the picture."""
    found = []
    for axes in figure.axes:
        if legend := axes.get_legend():
            box, panel = legend.get_window_extent(), axes.patch.get_window_extent()
            title = axes.title if axes.get_title() else axes._left_title
            over_title = bool(axes.get_title("left")) and box.overlaps(title.get_window_extent())
            inside = figure.bbox.padded(1).count_contains(box.corners()) == 4
            if box.padded(-1).overlaps(panel) or over_title or not inside:
                found.append(axes.get_ylabel())
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_texts_can_be_read_and_cover_nothing_and_axes_are_named(name: str) -> None:
    figure = PICTURES[name]()
    figure.draw_without_rendering()
    assert small_texts(figure) == [] and covering_legends(figure) == []
    for axes in figure.axes:
        bare = not axes.axison or not axes.get_visible()
        named = axes.get_ylabel() or figure.get_supylabel()
        assert bare or named, "an axis has no title"
    last = [axes for axes in figure.axes if axes.axison and axes.get_visible() and axes.get_label() != "<colorbar>"]
    assert not last or last[-1].get_xlabel() or figure.get_supxlabel()


@pytest.mark.parametrize("name", PICTURES)
def test_lines_have_colors_of_the_style(name: str) -> None:
    known = {*COLORS, kopt.report.style.GREY} | {ramp(share) for share in np.linspace(0, 1, 8)}
    for axes in PICTURES[name]().axes:
        for line in axes.lines:
            assert matplotlib.colors.to_hex(line.get_color()) in known


def seen_by(color: str, kind: np.ndarray) -> np.ndarray:
    """Return a color as it is seen without one kind of cones, in linear RGB."""
    rgb = np.array(matplotlib.colors.to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.clip(kind @ linear, 0, 1)


ALL = np.eye(3)
# Machado et al., A Physiologically-based Model for Simulation of Color Vision Deficiency, 2009, severity 1.
PROTAN = np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]])
DEUTAN = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]])


def nearest(colors: tuple[str, ...], kind: np.ndarray) -> float:
    return min(float(np.abs(seen_by(a, kind) - seen_by(b, kind)).max()) for a, b in itertools.combinations(colors, 2))


@pytest.mark.parametrize("kind", [ALL, PROTAN, DEUTAN], ids=["all cones", "protan", "deutan"])
def test_colors_are_told_apart_by_the_color_blind(kind: np.ndarray) -> None:
    assert nearest(COLORS, kind) > 0.1
    if kind is not ALL:
        assert nearest(("#2ca02c", "#d62728"), kind) < 0.25 < nearest(("#2ca02c", "#d62728"), ALL)  # green, red


def test_what_is_small_or_covers_data_is_found() -> None:
    """The counter-test."""
    figure = matplotlib.figure.Figure(layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], label="a")
    axes.legend()
    axes.set_title("small", fontsize=6)
    figure.draw_without_rendering()
    assert small_texts(figure) == ["small"] and covering_legends(figure) == [""]
    axes.set_title("")
    titled(axes, "large", SMALL, columns=2)
    figure.draw_without_rendering()
    assert small_texts(figure) == covering_legends(figure) == []


def test_the_picture_of_all_schedules_is_the_one_in_the_readme() -> None:
    drawn = io.BytesIO()
    schedules_figure().savefig(drawn, dpi=90)
    drawn.seek(0)
    kept = pathlib.Path(__file__).parents[3] / "recipes" / "pictures" / "schedules.png"
    now, then = matplotlib.image.imread(drawn), matplotlib.image.imread(kept)
    assert now.shape == then.shape and np.abs(now - then).mean() < 0.01, "python recipes/learning_rates.py draws it"
