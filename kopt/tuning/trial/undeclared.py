"""Undeclared: the state of a user's callbacks that declare none, as far as it is plain: the one guess."""

import inspect
import json
from collections.abc import Mapping, Sequence

import numpy as np

from kopt.training.checkpoint.callback_states import without_state
from kopt.training.checkpoint.layout import DTYPES
from kopt.training.checkpoint.packing import packed, unpacked
from kopt.values.checks import require, shown
from kopt.values.types import KerasCallback, Nest

__all__ = ["Undeclared"]


class Undeclared:
    """The plain attributes of callbacks without `get_state`, and which of them have changed since training began.

    Callbacks of a search are often a few lines, written for KerasTuner, which knows no `get_state`: a trial that goes
    on has their counts and bests all the same. Not kept: attributes that hold objects, and texts in arrays.

    Args:
        callbacks: The callbacks of a fit, after `on_train_begin`; those that declare their state are left out.

    Example:
        >>> import keras
        >>> class Counts(keras.callbacks.Callback):
        ...     epochs = 0
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         self.epochs += 1
        >>> one, other = Counts(), Counts()
        >>> undeclared = Undeclared([one])
        >>> one.on_epoch_end(0)
        >>> Undeclared([other]).restore(undeclared.changed())
        >>> other.epochs
        1
    """

    def __init__(self, callbacks: Sequence[KerasCallback]):
        self.callbacks = [one for one in callbacks if without_state([one])]
        self.start = [{name: spelled(value) for name, value in plain(one).items()} for one in self.callbacks]

    def changed(self) -> list[Nest]:
        """Return [class, JSON, arrays] of each callback, of the attributes that training has changed."""
        found: list[Nest] = []
        for callback, start in zip(self.callbacks, self.start):
            arrays: list[np.ndarray] = []
            changed = {name: one for name, one in plain(callback).items() if spelled(one) != start.get(name)}
            found.append([type(callback).__name__, json.dumps(packed(changed, arrays)), arrays])
        return found

    def restore(self, states: Sequence[Sequence[Nest]]) -> None:
        """Set the attributes that `changed` returned, on callbacks of the same classes in the same order.

        Raises:
            ValueError: When the callbacks are others, or a name is of no attribute that a callback changes.
        """
        names = [kind for kind, _, _ in states]
        now = [type(one).__name__ for one in self.callbacks]
        require(names == now, "callbacks", f"must be {names} as in the checkpoint, where they declare no state", now)
        for callback, (_, text, arrays) in zip(self.callbacks, states):
            for name, value in attributes_of(text, arrays).items():
                require(is_own(callback, name), "checkpoint", "must hold attributes that a callback changes", name)
                setattr(callback, name, value)


def attributes_of(text: str, arrays: Sequence[np.ndarray]) -> dict[str, Nest]:
    """Return the attributes from their JSON and their arrays."""
    rule = "must hold a callback's attributes in JSON"
    try:
        found = unpacked(json.loads(text), {f"arr_{1 + place}": one for place, one in enumerate(arrays)})
    except (ValueError, RecursionError) as error:
        raise ValueError(f"checkpoint {rule}, got {shown(text)}.") from error
    named = isinstance(found, dict) and all(isinstance(name, str) for name in found)
    require(named, "checkpoint", rule, found)
    return found


def is_own(callback: KerasCallback, name: str) -> bool:
    """Return whether a name may be of a callback's own attribute: none of Keras' base, of a method or a property."""
    of_class = getattr(type(callback), name, None)
    return name not in ("params", "_model") and not (
        name.startswith("__") or callable(of_class) or isinstance(of_class, property)
    )


def plain(callback: KerasCallback) -> dict[str, Nest]:
    """Return the attributes of a callback that hold only numbers, texts, arrays and nests of these.

    Arguments of the constructor are left out: Keras' EarlyStopping changes the sign of its `min_delta` when it infers
    its direction.
    """
    given = {"params", *inspect.signature(type(callback).__init__).parameters}
    return {name: value for name, value in vars(callback).items() if name not in given and is_plain(value)}


def is_plain(value: object) -> bool:
    """Return whether a value is a number, a text, None, an array of numbers or a nest of these."""
    if isinstance(value, Mapping):
        return type(value) is dict and all(is_plain(key) and is_plain(one) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return type(value) in (list, tuple) and all(map(is_plain, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.name in DTYPES
    return value is None or isinstance(value, (bool, int, float, str))


def spelled(value: Nest) -> tuple[str, list[bytes]]:
    """Return a plain value as JSON and the bytes of its arrays, which are equal where values are."""
    arrays: list[np.ndarray] = []
    text = json.dumps(packed(value, arrays))
    return text, [one.tobytes() + str(one.shape).encode() for one in arrays]
