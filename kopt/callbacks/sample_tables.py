"""Tables of sample predictions, by task."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from kopt.tasks.continuation import continuation
from kopt.tasks.task import Task
from kopt.values.texts import printable

__all__ = ["sample_table", "written_on"]

Table: TypeAlias = dict[str, list[str]]  # column -> a text a row

FEW = 5  # items or numbers that a cell names


def sample_table(
    task: Task, outputs: np.ndarray, y: np.ndarray | None, labels: Sequence[str] = (), logits: bool = True
) -> Table:
    """Return the predictions of some rows beside their truth, as a table.

    Args:
        task: The kind of the outputs: "classification", "regression", "forecast" or "ranking".
        outputs: The model's outputs, a row an example.
        y: The targets: classes, one-hot or by number; numbers; or 1 for each item that is relevant. None without truth.
        labels: Names of classes or items.
        logits: Whether the outputs of a classification are logits, not probabilities.

    Returns:
        Column -> texts: "truth", "prediction", and "probability" of the predicted class, "error", or "hits".

    Example:
        >>> sample_table("classification", np.array([[0.0, 2.0]]), np.array([0]), ("cat", "dog"))
        {'truth': ['cat'], 'prediction': ['dog'], 'probability': ['0.881']}
        >>> sample_table("regression", np.array([[1.5]]), np.array([2.0]))
        {'truth': ['2'], 'prediction': ['1.5'], 'error': ['-0.5']}
        >>> sample_table("ranking", np.array([[0.1, 3.0, 2.0]]), np.array([[0, 1, 0]]), ("a", "b", "c"))
        {'truth': ['b'], 'prediction': ['b, c, a'], 'hits': ['1']}

    Source:
        As the worst examples in a run's report.
    """
    outputs, y = np.asarray(outputs, "float64"), None if y is None else np.asarray(y)
    if task == "classification":
        return of_classes(outputs, y, labels, logits)
    return of_items(outputs, y, labels) if task == "ranking" else of_numbers(outputs, y)


def of_classes(outputs: np.ndarray, y: np.ndarray | None, labels: Sequence[str], logits: bool) -> Table:
    """Return the most probable class and its probability; one output is that of class 1."""
    outputs = outputs.reshape(len(outputs), -1)
    if outputs.shape[1] == 1:
        outputs = np.hstack([np.zeros_like(outputs), outputs] if logits else [1 - outputs, outputs])
    if logits:
        powers = np.exp(outputs - outputs.max(1, keepdims=True))
        outputs = powers / powers.sum(1, keepdims=True)
    found = outputs.argmax(1)
    table = {"prediction": called(found, labels), "probability": [f"{one:.3f}" for one in outputs.max(1)]}
    if y is None:
        return table
    truth = y.argmax(1) if y.ndim == 2 and y.shape[1] > 1 else y.ravel()
    return {"truth": called(truth, labels)} | table


def of_items(scores: np.ndarray, y: np.ndarray | None, labels: Sequence[str]) -> Table:
    """Return the best items, and how many of those that are relevant are among them."""
    best = np.argsort(-scores, 1, kind="stable")[:, :FEW]
    table = {"prediction": [", ".join(called(row, labels)) for row in best]}
    if y is None:
        return table
    truth = [", ".join(called(np.flatnonzero(row)[:FEW], labels)) for row in y]
    return {"truth": truth} | table | {"hits": [str(int(row.sum())) for row in np.take_along_axis(y, best, 1)]}


def of_numbers(outputs: np.ndarray, y: np.ndarray | None) -> Table:
    """Return numbers; the error is the difference, or the mean absolute one of several numbers."""
    outputs = outputs.reshape(len(outputs), -1)
    table = {"prediction": [numbers(row) for row in outputs]}
    if y is None:
        return table
    y = y.reshape(len(y), -1)
    missed = outputs - y if y.shape[1] == 1 else np.abs(outputs - y).mean(1, keepdims=True)
    return {"truth": [numbers(row) for row in y]} | table | {"error": [numbers(row) for row in missed]}


def numbers(values: np.ndarray) -> str:
    return " ".join(f"{one:.4g}" for one in values[:FEW]) + (" ..." if len(values) > FEW else "")


def called(places: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Return the names of classes or items."""
    return [str(labels[int(place)]) if int(place) < len(labels) else str(int(place)) for place in places]


def written_on(
    logits_of: Callable[[np.ndarray], np.ndarray], starts: np.ndarray, length: int, labels: Sequence[str], seed: int = 0
) -> Table:
    """Return texts that a language model writes on, token by token, drawn by its probabilities.

    Args:
        logits_of: (n, window) tokens -> (n, window, tokens) logits of the next one at each place.
        starts: (n, window) tokens; what is written pushes the first ones out of the window.
        length: The number of tokens to write.
        labels: The text of each token; without them tokens are bytes of UTF-8.
        seed: The seed of the draws, the same in each epoch, so that texts can be compared.

    Returns:
        "start" and "continuation".

    Example:
        >>> always_a = lambda tokens: np.eye(256)[np.full(tokens.shape, 97)] * 1e3
        >>> written_on(always_a, np.array([[72, 105]]), 3, ())
        {'start': ['Hi'], 'continuation': ['aaa']}

    Source:
        Karpathy, The Unreasonable Effectiveness of Recurrent Neural Networks, 2015.
    """
    tokens = continuation(logits_of, np.asarray(starts), starts.shape[1], seed=seed)
    written = list(itertools.islice(tokens, length))
    both = {"start": starts, "continuation": np.stack(written, 1)}
    return {name: [text_of(row, labels) for row in rows] for name, rows in both.items()}


def text_of(tokens: np.ndarray, labels: Sequence[str]) -> str:
    """Return tokens as a text on one line."""
    if labels:
        return printable("".join(called(tokens, labels)))
    return printable(bytes(tokens.astype("uint8")).decode("utf-8", "replace"))


def in_columns(table: Mapping[str, Sequence[str]], most: int = 60) -> str:
    """Return a table as text in columns; long cells keep their end."""
    columns = [
        [name, *(cell if len(cell) <= most else f"...{cell[3 - most :]}" for cell in map(printable, cells))]
        for name, cells in table.items()
    ]
    widths = [max(map(len, column)) for column in columns]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in zip(*columns))


def in_markdown_table(table: Mapping[str, Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rows = [list(table), ["---"] * len(table), *map(list, zip(*table.values()))]
    return "\n".join("| " + " | ".join(printable(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)
