"""Snapshot: what resumed training needs besides weights: seeds, random states and counters of callbacks."""

import inspect
import json
import pathlib
import pickle
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import TypedDict

import keras
import numpy as np

from kopt.keras_internals.resuming import (
    build_optimizers,
    optimized_places,
    random_states,
    seed_states,
    set_random_states,
)
from kopt.keras_internals.types import RandomState
from kopt.training.checkpoint.packing import FLOATS, packed, unpacked
from kopt.values.types import Json, KerasCallback, KerasModel, Nest

__all__ = ["StartAnew", "Watched", "read_snapshot", "restore", "take_snapshot", "write_snapshot"]

# Errors that a damaged file raises in `zipfile`, in NumPy's reader, and where a nest has another form.
BROKEN: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)
BROKEN += (MemoryError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)


class StartAnew(BaseException):
    """Ends an execution that cannot be resumed; a BaseException, so that no `except Exception` of a user catches it.

    Args:
        why: The reason, as the end of a sentence.
        whole: Whether the earlier executions of the trial must begin anew too.

    Example:
        >>> StartAnew("its weights are others").whole
        False
    """

    def __init__(self, why: str, *, whole: bool = False):
        super().__init__(why)
        self.whole = whole


class Snapshot(TypedDict):
    """The state of training besides the weights."""

    callbacks: list[list[Nest]]  # [class, {attribute: value}] of each callback
    places: dict[str, list[int] | None]  # the variables that each optimizer updates
    random: dict[str, RandomState]
    seeds: list[np.ndarray]
    weights: list[list[Json]]  # [shape, dtype] of each weight


class Watched:
    """The plain attributes of callbacks, and which of them have changed since training began.

    Args:
        callbacks: The callbacks of a fit, after `on_train_begin`.

    Example:
        >>> import keras
        >>> stopping = keras.callbacks.EarlyStopping("loss", patience=3)
        >>> watched = Watched([stopping])
        >>> stopping.wait = 2
        >>> watched.changed()
        [['EarlyStopping', {'wait': 2}]]
    """

    def __init__(self, callbacks: Sequence[KerasCallback]):
        self.callbacks = list(callbacks)
        self.start = [{name: pickle.dumps(one) for name, one in plain(callback)} for callback in self.callbacks]

    def changed(self) -> list[list[Nest]]:
        """Return [class, {attribute: value}] of each callback, for the attributes that training has changed."""
        return [
            [
                type(callback).__name__,
                {name: one for name, one in plain(callback) if pickle.dumps(one) != start.get(name)},
            ]
            for callback, start in zip(self.callbacks, self.start)
        ]

    def restore(self, states: Sequence[Sequence[Nest]]) -> None:
        """Set the attributes that `changed` returned, on callbacks of the same classes in the same order."""
        left = list(self.callbacks)
        for kind, attributes in states:
            callback = next((one for one in left if type(one).__name__ == kind), None)
            if callback is not None:
                left.remove(callback)
                for name, value in attributes.items():
                    of_class = getattr(type(callback), name, None)
                    if name.startswith("__") or callable(of_class) or isinstance(of_class, property):
                        raise StartAnew(f"its snapshot is broken, {name!r} is no attribute that a callback changes")
                    setattr(callback, name, value)


def plain(callback: KerasCallback) -> list[tuple[str, Nest]]:
    """Return the attributes of a callback that hold only numbers, texts, arrays and nests of these.

    Arguments of the constructor are left out: Keras' EarlyStopping changes the sign of its `min_delta` when it infers
    its direction.
    """
    given = {"params", *inspect.signature(type(callback).__init__).parameters}
    return [(name, value) for name, value in vars(callback).items() if name not in given and is_plain(value)]


def is_plain(value: object) -> bool:
    """Return whether a value is a number, a text, None, an array or a nest of these."""
    if isinstance(value, Mapping):
        return type(value) is dict and all(is_plain(key) and is_plain(one) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return type(value) in (list, tuple) and all(map(is_plain, value))
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufcSU" or value.dtype.name in FLOATS
    return value is None or isinstance(value, (bool, int, float, str, np.generic))


def take_snapshot(model: KerasModel, made: Sequence[keras.random.SeedGenerator], watched: Watched) -> Snapshot:
    """Return the state of training besides the weights.

    Args:
        model: The model that is trained.
        made: Seed generators that the model does not hold.
        watched: The callbacks of the fit.

    Returns:
        A nest of plain values.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5)])
        >>> sorted(take_snapshot(model, [], Watched([])))
        ['callbacks', 'places', 'random', 'seeds', 'weights']
    """
    return {
        "callbacks": watched.changed(),
        "places": optimized_places(model),
        "random": random_states(),
        "seeds": [np.asarray(state) for state in seed_states(model, made)],
        "weights": described_weights(model),
    }


def described_weights(model: KerasModel) -> list[list[Json]]:
    """Return the shape and the dtype of each weight."""
    return [[list(weight.shape), str(weight.dtype)] for weight in model.weights]


def restore(
    snapshot: Snapshot,
    weights: pathlib.Path,
    model: KerasModel,
    made: Sequence[keras.random.SeedGenerator],
    watched: Watched,
) -> None:
    """Restore a model, its optimizers, its callbacks and all random generators from a snapshot.

    Args:
        snapshot: The result of `take_snapshot`.
        weights: The weights file of the same epoch.
        model: A model that was built in the same way, at the beginning of its fit.
        made: Seed generators that the model does not hold.
        watched: The callbacks of the fit.

    Raises:
        StartAnew: When the weights or the seed generators differ from those of the snapshot.

    Example:
        >>> import keras
        >>> restore({"weights": [], "seeds": [1]}, pathlib.Path("no"), keras.Sequential([keras.Input((2,))]), [], None)
        Traceback (most recent call last):
        kopt.tuning.trial.snapshot.StartAnew: its seed generators are others
    """
    states = seed_states(model, made)
    if described_weights(model) != snapshot["weights"]:
        raise StartAnew("its weights are others")
    if len(states) != len(snapshot["seeds"]):
        raise StartAnew("its seed generators are others")
    build_optimizers(model, snapshot["places"])
    model.load_weights(weights)
    for state, value in zip(states, snapshot["seeds"]):
        state.assign(value)
    watched.restore(snapshot["callbacks"])
    set_random_states(snapshot["random"])


def write_snapshot(snapshot: Nest, path: pathlib.Path) -> None:
    """Write a nest of plain values into an .npz file: its arrays, and the rest as JSON that refers to them.

    Args:
        snapshot: Dictionaries, lists, tuples, numbers, texts and arrays.
        path: The file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "snapshot.npz"
        ...     write_snapshot({"a": [1, (2.5, None)], "b": np.arange(2)}, path)
        ...     read_snapshot(path)
        {'a': [1, (2.5, None)], 'b': array([0, 1])}
    """
    arrays: list[np.ndarray] = []
    text = json.dumps(packed(snapshot, arrays))
    np.savez(path, np.array(text), *arrays)


def read_snapshot(path: pathlib.Path) -> Nest:
    """Read the file that `write_snapshot` wrote.

    Args:
        path: The file.

    Returns:
        The same nest.

    Raises:
        StartAnew: When the file is broken.

    Example:
        >>> read_snapshot(pathlib.Path("nowhere.npz"))
        Traceback (most recent call last):
        kopt.tuning.trial.snapshot.StartAnew: its snapshot is broken, [Errno 2] No such file or directory: 'nowhere.npz'
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return unpacked(json.loads(str(file["arr_0"])), file)
    except BROKEN as error:
        raise StartAnew(f"its snapshot is broken, {error}") from error
