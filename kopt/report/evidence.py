"""The outputs of a model on the test split, and the error of each example."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kopt.data.base import Inputs
from kopt.tasks.task import Task

__all__ = ["Evidence", "errors", "worst"]

TEXT = 160  # characters of a text that are shown
TOP = 20  # recommendations that count
FEW = 5  # items that are named


class Evidence(NamedTuple):
    """The test split and the outputs of a model: raw inputs, targets, outputs, names of classes or items, and notes.

    The notes say what was inferred or left out when the data were read.

    Example:
        >>> found = Evidence("regression", np.array([[1.0], [2.0]]), np.array([1.0, 2.0]), np.array([[1.5], [2.0]]))
        >>> errors(found)
        array([0.5, 0. ])
    """

    task: Task
    x: Inputs
    y: np.ndarray
    outputs: np.ndarray
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Evidence of {self.task}: {len(self.y):,} examples, outputs {np.shape(self.outputs)}>"

    def called(self, number: int) -> str:
        """Return the name of a class or an item."""
        return self.labels[number] if self.labels else str(number)


def errors(evidence: Evidence) -> np.ndarray:
    """Return the error of each example.

    It is -log p(class) for classes, the absolute error for numbers, its mean for a forecast, 1 - recall at 20 for
    items, and bits a character for text.

    Args:
        evidence: The test split and the outputs.

    Returns:
        (n,) float64; larger is worse.

    Example:
        >>> logits = np.array([[0.0, 0.0], [0.0, 100.0]])
        >>> errors(Evidence("classification", np.zeros((2, 1)), np.array([0, 1]), logits)).round(3)
        array([0.693, 0.   ])

    Source:
        The tasks' losses and scores: `kopt.tasks`.
    """
    y, outputs = np.asarray(evidence.y), np.asarray(evidence.outputs, "float64")
    if evidence.task in ("classification", "language"):
        missed = surprise(y, outputs)
        return missed if evidence.task == "classification" else missed.mean(-1) / np.log(2)
    if evidence.task == "ranking":
        return 1 - recalls(y, outputs)[:, min(TOP, outputs.shape[1]) - 1]
    return np.abs(y.reshape(len(y), -1) - outputs.reshape(len(y), -1)).mean(1)


def surprise(y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return -log p(class) of each target, from logits."""
    outputs = np.asarray(outputs, "float64")
    shifted = outputs - outputs.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return 0 - np.take_along_axis(logs, np.asarray(y)[..., None].astype(int), -1)[..., 0]


def recalls(y: np.ndarray, outputs: np.ndarray, most: int = 100) -> np.ndarray:
    """Return the recall at 1, 2, ... of each example, (n, most)."""
    top = np.argsort(-outputs, 1, kind="stable")[:, :most]
    found = np.cumsum(np.take_along_axis(y, top, 1), 1)
    return found / np.clip(y.sum(1, keepdims=True), 1, np.arange(1, top.shape[1] + 1))


def worst(evidence: Evidence, count: int = 10) -> list[tuple[str, str, str, float]]:
    """Return the examples with the largest errors.

    Args:
        evidence: The test split and the outputs.
        count: Number of examples, >= 1.

    Returns:
        Input, target and output of each as short texts, and its error; the worst first.

    Example:
        >>> found = Evidence("regression", np.array([[1.0], [2.0]]), np.array([1.0, 2.0]), np.array([[1.5], [2.0]]))
        >>> worst(found, 1)
        [('1', '1', '1.5', 0.5)]

    Source:
        Karpathy, A Recipe for Training Neural Networks, 2019.
    """
    wrong = errors(evidence)
    rows = np.argsort(-wrong, kind="stable")[:count]
    return [(input_text(evidence, row), *output_texts(evidence, row), float(wrong[row])) for row in rows]


def input_text(evidence: Evidence, row: int) -> str:
    """Return an input as one line."""
    if isinstance(evidence.x, dict):
        return ", ".join(f"{name} {plain(column[row])}" for name, column in evidence.x.items())
    x = evidence.x[row]
    if isinstance(x, str):
        return x if len(x) <= TEXT else x[:TEXT] + "..."
    if evidence.task == "language":
        return bytes(np.asarray(x, "uint8")).decode("utf-8", "replace")[:TEXT].replace("\n", " ")
    if evidence.task == "ranking":
        return named(evidence, np.flatnonzero(x))
    flat = np.asarray(x).ravel()
    return " ".join(map(plain, flat)) if len(flat) <= 2 * FEW else f"row {row}"


def output_texts(evidence: Evidence, row: int) -> tuple[str, str]:
    """Return a target and an output, each as a short text."""
    y, output = evidence.y[row], evidence.outputs[row]
    if evidence.task == "classification":
        return evidence.called(int(y)), evidence.called(int(np.argmax(output)))
    if evidence.task == "ranking":
        return named(evidence, np.flatnonzero(y)), named(evidence, np.argsort(-output)[:TOP])
    if evidence.task == "language":
        return "", ""
    return numbers(np.ravel(y)), numbers(np.ravel(output))


def named(evidence: Evidence, items: Sequence[int] | np.ndarray) -> str:
    shown = ", ".join(evidence.called(int(item)) for item in items[:FEW])
    return shown + (f" and {len(items) - FEW} more" if len(items) > FEW else "")


def numbers(values: np.ndarray) -> str:
    shown = " ".join(map(plain, values[:FEW]))
    return shown + (" ..." if len(values) > FEW else "")


def plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{float(value):.4g}"
