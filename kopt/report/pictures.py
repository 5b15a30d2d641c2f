"""Pictures of the outputs on the test split, one kind for each task."""

from collections.abc import Callable

import numpy as np

from kopt.report.evidence import Evidence, errors, recalls, surprise
from kopt.report.figure import Figure
from kopt.report.style import BLUE, GREY, SMALL, VERMILION, Decimals, plain, titled
from kopt.tasks.task import Task
from kopt.values.texts import in_picture

__all__ = ["evidence_figure", "worst_images"]

MOST = 30  # classes in a confusion matrix
NUMBERED = 12  # the most classes with which a matrix shows counts


def evidence_figure(evidence: Evidence) -> tuple[str, Figure]:
    """Draw the outputs on the test split against the targets, in the way that suits the task.

    It is a confusion matrix for classes, residuals for numbers, the error by time ahead and three windows for
    forecasts, recall by the number of recommendations for items, and bits by position for text.

    Args:
        evidence: The test split and the outputs.

    Returns:
        The name of the picture and a matplotlib figure.

    Example:
        >>> found = Evidence("regression", np.zeros((2, 1)), np.array([1.0, 2.0]), np.array([[1.5], [2.0]]))
        >>> evidence_figure(found)[0]
        'residuals'

    Source:
        `sklearn.metrics.ConfusionMatrixDisplay`, `PredictionErrorDisplay`.
    """
    name, draw = PICTURES[evidence.task]
    return name, draw(evidence)


def worst_images(evidence: Evidence, count: int = 12) -> Figure | None:
    """Draw the images with the largest errors, with target and output.

    Args:
        evidence: The test split and the outputs of a classifier.
        count: Number of images, >= 1.

    Returns:
        A figure, or None when the inputs are not images.

    Example:
        >>> images, logits = np.zeros((3, 8, 8, 1)), np.eye(3)
        >>> len(worst_images(Evidence("classification", images, np.array([0, 1, 2]), logits), 2).axes)
        2

    Source:
        Karpathy, A Recipe for Training Neural Networks, 2019.
    """
    x = evidence.x
    pictures = isinstance(x, np.ndarray) and x.ndim == 4 and x.shape[-1] in (1, 3)
    if not pictures or evidence.task != "classification":
        return None
    rows = np.argsort(-errors(evidence), kind="stable")[:count]
    lines = -(-len(rows) // 6)
    figure = Figure(figsize=(8, 1.7 * lines))
    for axes, row in zip(figure.subplots(lines, min(6, len(rows)), squeeze=False).flat, rows):
        image = in_colors(x[row], x)
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray_r", vmin=0, vmax=1)
        said, meant = evidence.called(int(evidence.outputs[row].argmax())), evidence.called(int(evidence.y[row]))
        axes.set_title(in_picture(f"{meant}, said {said}"), fontsize=SMALL, color=GREY if said == meant else VERMILION)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def in_colors(image: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return an image with numbers in [0, 1], as matplotlib shows them: scaled as all images are, NaN as 0."""
    low, high = min(float(np.nanmin(images)), 0.0), max(float(np.nanmax(images)), 1.0)
    return np.clip(np.nan_to_num((image.astype("float64") - low) / (high - low)), 0.0, 1.0)


def confusion(evidence: Evidence) -> Figure:
    """Draw a confusion matrix: targets down, outputs across, the share in its row as color."""
    classes = min(evidence.outputs.shape[1], MOST)
    counts = np.zeros((classes, classes), int)
    said = evidence.outputs.argmax(1)
    seen = (evidence.y < classes) & (said < classes)
    np.add.at(counts, (evidence.y[seen].astype(int), said[seen]), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(6, 4.6))
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, ax=axes, label="share of the examples of the target", shrink=0.8).ax.tick_params(
        labelsize=SMALL
    )
    names = [in_picture(evidence.called(number)) for number in range(classes)]
    axes.set(xlabel="output (class)", ylabel="target (class)", xticks=range(classes), yticks=range(classes))
    axes.set_xticklabels(names, rotation=45 if max(map(len, names)) > 3 else 0)
    axes.set_yticklabels(names)
    for row, column in np.argwhere(counts) if classes <= NUMBERED else ():
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, counts[row, column], ha="center", va="center", color=color, fontsize=SMALL)
    axes.tick_params(labelsize=SMALL)
    titled(axes, f"test accuracy {np.mean(said == evidence.y):.4f}")
    return figure


def residuals(evidence: Evidence) -> Figure:
    """Draw outputs over targets, and a histogram of the differences."""
    y, outputs = evidence.y.ravel(), evidence.outputs.ravel()
    figure = Figure(figsize=(8, 3.6))
    left, right = figure.subplots(1, 2)
    ends = min(y.min(), outputs.min()), max(y.max(), outputs.max())
    if len(y) > 2000:
        cells = left.hexbin(y, outputs, gridsize=60, bins="log", cmap="Blues", mincnt=1)
        figure.colorbar(cells, ax=left, label="examples", format=Decimals()).ax.tick_params(labelsize=SMALL)
    else:
        left.plot(y, outputs, "o", color=BLUE, markersize=3, alpha=0.5)
    left.plot(ends, ends, color=VERMILION, linewidth=1)
    plain(left).set(xlabel="target (in its own unit)", ylabel="output (in the same)")
    plain(right).hist(outputs - y, bins=60, color=BLUE)
    right.set(xlabel="output - target (in the unit of the target)", ylabel="examples")
    titled(right, f"mean {np.mean(outputs - y):.3g}, rmse {np.sqrt(np.mean((outputs - y) ** 2)):.4f}")
    return figure


def forecasts(evidence: Evidence) -> Figure:
    """Draw the mean absolute error by time ahead, and the best, the median and the worst window."""
    wrong = errors(evidence)
    order = np.argsort(wrong)
    figure = Figure(figsize=(9, 5))
    top, *windows = figure.subplot_mosaic("AAA;BCD", sharex=True).values()
    ahead = np.arange(1, evidence.y.shape[1] + 1)
    plain(top).plot(ahead, np.abs(evidence.y - evidence.outputs).mean(0), color=BLUE, linewidth=2)
    top.tick_params(labelbottom=True)  # which the panels below would have alone
    top.set(xlabel="steps ahead", ylabel="mean absolute error", ylim=(0, None))
    titled(top, f"test mae {wrong.mean():.4f}")
    for axes, name, row in zip(windows, ("best", "middle", "worst"), (order[0], order[len(order) // 2], order[-1])):
        plain(axes).plot(ahead, evidence.y[row], color=GREY, linewidth=2, label="what came")
        axes.plot(ahead, evidence.outputs[row], color=VERMILION, linewidth=2, label="forecast")
        titled(axes, f"{name}, mae {wrong[row]:.3f}", columns=2)
        axes.set(xlabel="steps ahead", ylabel="value")
    return figure


def ranking(evidence: Evidence) -> Figure:
    """Draw recall by the number of recommendations: mean and middle half of the examples."""
    found = recalls(evidence.y, evidence.outputs)
    places = np.arange(1, found.shape[1] + 1)
    figure = Figure(figsize=(6, 3.4))
    axes = plain(figure.subplots())
    middle = np.percentile(found, (25, 75), axis=0)
    axes.plot(places, found.mean(0), color=BLUE, linewidth=2, label="mean")
    axes.fill_between(places, *middle, color=BLUE, alpha=0.15, linewidth=0, label="middle half of the examples")
    axes.set(xlabel="k (recommendations)", ylabel="recall at k", xlim=(1, len(places)), ylim=(0, 1))
    at = min(20, len(places))
    titled(axes, f"test recall at {at}: {found[:, at - 1].mean():.4f}", columns=2)
    return figure


def places(evidence: Evidence) -> Figure:
    """Draw bits a character by position in the window, which shows the value of more context."""
    one_by_one = surprise(evidence.y, evidence.outputs).mean(0) / np.log(2)
    figure = Figure(figsize=(6, 3.4))
    axes = plain(figure.subplots())
    axes.plot(np.arange(1, len(one_by_one) + 1), one_by_one, color=BLUE, linewidth=2)
    axes.set(xlabel="place in the window (characters)", ylabel="bits a character", ylim=(0, None))
    titled(axes, f"mean {np.mean(one_by_one):.4f} over {len(evidence.y)} windows")
    return figure


PICTURES: dict[Task, tuple[str, Callable[[Evidence], Figure]]] = {
    "classification": ("confusion", confusion),
    "regression": ("residuals", residuals),
    "forecast": ("forecasts", forecasts),
    "ranking": ("recall", ranking),
    "language": ("places", places),
}
