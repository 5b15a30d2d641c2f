"""The state of callbacks in a checkpoint: taken from those of a run, put back into those of the run that goes on."""

from collections.abc import Sequence

import keras
import numpy as np

from kopt.keras_internals.callback_state import has_more, keras_state, kind_of, set_keras_state
from kopt.training.callback import Callback
from kopt.training.callback_needs import unchanged
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasCallback, Nest

__all__ = ["restore_states", "states_of", "without_state"]

METHODS = tuple(name for name in dir(keras.callbacks.Callback) if name.startswith(("on_", "set_")))
# A run may go on with or without these: bars, trackers, and the file that `kopt runs --watch` reads.
ONLY_SHOW = ("ProgbarLogger", "ProgressBar", "MLflow", "WeightsAndBiases", "ProgressFile")
KERAS, OWN = "keras", "own"  # the parts of a state: of Keras' class, and of `get_state`


def states_of(callbacks: Sequence[KerasCallback]) -> list[tuple[str, CallbackState | None]]:
    """Return the class name and the state of each callback, copied.

    A state is taken between two program calls: in the middle of an epoch, or after `on_epoch_end` of every callback.

    Args:
        callbacks: The callbacks of a run, in their order, History among them.

    Returns:
        A pair a callback; the state is None where the callback declares none, see `without_state`.

    Raises:
        ValueError: When a callback's `get_state` returns what cannot be written, or it lacks `set_state`.

    Example:
        >>> states_of([keras.callbacks.ReduceLROnPlateau(), keras.callbacks.LambdaCallback()])
        [('ReduceLROnPlateau', {'keras': {'wait': 0, 'cooldown_counter': 0, 'best': None}}), ('LambdaCallback', None)]
    """
    return [(type(one).__name__, state_of(one)) for one in callbacks]


def restore_states(callbacks: Sequence[KerasCallback], states: Sequence[Nest]) -> None:
    """Put states back into callbacks of the same classes in the same order; those that only show training may differ.

    Call it together with the restoring of variables: after `on_train_begin`, and for a state of the middle of an epoch
    after that epoch's `on_epoch_begin`, for both begin anew what they count.

    Args:
        callbacks: The callbacks of the run that goes on.
        states: What `states_of` returned: pairs of a class name and a state.

    Raises:
        ValueError: When the callbacks are others than those of the states; nothing is restored then.

    Example:
        >>> before, after = keras.callbacks.History(), keras.callbacks.History()
        >>> before.epoch, before.history = [0], {"loss": [0.5]}
        >>> restore_states([after], states_of([before]))
        >>> after.epoch, after.history
        ([0], {'loss': [0.5]})
    """
    for callback, state in required_pairs(callbacks, states):
        if state is not None:
            set_state_of(callback, copied(state, type(callback).__name__))


def without_state(callbacks: Sequence[KerasCallback]) -> list[str]:
    """Return the class names of the callbacks that may remember what no checkpoint has.

    These are classes that define callback methods but no `get_state`, LambdaCallback, and subclasses of Keras'
    callbacks with attributes of their own. A `get_state` that returns {} says that there is nothing to remember.

    Args:
        callbacks: The callbacks of a run.

    Returns:
        The names, in the callbacks' order.

    Example:
        >>> class Mine(keras.callbacks.Callback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         self.last = epoch
        >>> without_state([Mine(), keras.callbacks.History()])
        ['Mine']
    """
    return [type(one).__name__ for one in callbacks if forgets(one)]


def forgets(callback: KerasCallback) -> bool:
    """Return whether a callback may remember what no checkpoint has."""
    if declares(callback):
        return False
    kind = None if isinstance(callback, Callback) else kind_of(callback)
    return has_more(callback, kind) if kind is not None else not unchanged(callback, METHODS)


def declares(callback: KerasCallback) -> bool:
    """Return whether a callback's class defines `get_state`; the one of `Callback` declares nothing."""
    kind = type(callback)  # a user's class may derive from Keras' own
    return hasattr(kind, "get_state") and kind.get_state is not Callback.get_state


def state_of(callback: KerasCallback) -> CallbackState | None:
    """Return a copy of a callback's state, None where it declares none."""
    parts: CallbackState = {}
    kind = None if isinstance(callback, Callback) else kind_of(callback)
    if kind is not None and kind.known:
        parts[KERAS] = keras_state(callback, kind)
    if isinstance(callback, Callback) or declares(callback):
        name = type(callback).__name__
        require(hasattr(callback, "set_state"), name, "must define set_state beside get_state", None)
        parts[OWN] = callback.get_state()
        require(isinstance(parts[OWN], dict), f"{name}.get_state", "must return a dict", parts[OWN])
    return copied(parts, type(callback).__name__) if parts else None


def set_state_of(callback: KerasCallback, state: CallbackState) -> None:
    """Put a state back into a callback that takes it."""
    kind = kind_of(callback)
    if KERAS in state and kind is not None:
        set_keras_state(callback, kind, state[KERAS])
    if OWN in state:
        callback.set_state(state[OWN])


def required_pairs(
    callbacks: Sequence[KerasCallback], states: Sequence[tuple[str, CallbackState | None] | list[Nest]]
) -> list[tuple[KerasCallback, CallbackState | None]]:
    """Return each callback with its state, where `restore_states` would put it; change nothing.

    Args:
        callbacks: As for `restore_states`.
        states: As for `restore_states`.

    Raises:
        ValueError: As from `restore_states`.

    Example:
        >>> required_pairs([keras.callbacks.History()], [("History", None)])[0][1] is None
        True
    """
    kept = [one for one in callbacks if type(one).__name__ not in ONLY_SHOW]
    asked = [(name, state) for name, state in states if name not in ONLY_SHOW]
    require_same([type(one).__name__ for one in kept], [name for name, _ in asked])
    shown = {name: state for name, state in states if name in ONLY_SHOW}
    pairs = [(one, state) for one, (_, state) in zip(kept, asked)]
    pairs += [(one, shown[type(one).__name__]) for one in callbacks if type(one).__name__ in shown]
    for callback, state in pairs:
        require_taken(callback, state)
    return pairs


def require_same(now: list[str], then: list[str]) -> None:
    """Raise ValueError that names what differs, unless the class names are the same in the same order."""
    longest = max(len(now), len(then))
    pairs = zip(*([*names, *["missing"] * (longest - len(names))] for names in (then, now)))
    differing = [f"[{place}] was {was}, is {one}" for place, (was, one) in enumerate(pairs) if was != one]
    require(not differing, "callbacks", f"must be those of the checkpoint: {'; '.join(differing)}", now)


def require_taken(callback: KerasCallback, state: CallbackState | None) -> None:
    """Raise ValueError unless a callback takes the parts that a state has."""
    parts = set(state or ())
    kind, own = kind_of(callback), isinstance(callback, Callback) or declares(callback)
    takes = ({KERAS} if kind is not None and kind.known else set()) | ({OWN} if own else set())
    rule = f"must declare the state that {type(callback).__name__} has in the checkpoint, by get_state and set_state"
    require(parts <= takes, "callbacks", rule, sorted(takes))
    if KERAS in parts and kind is not None and state is not None:
        rule = f"must have {list(kind.state)}, as in this version of Keras"
        there = set(kind.state) <= set(state[KERAS])
        require(there, f"the state of {type(callback).__name__}", rule, sorted(state[KERAS]))


def copied(value: Nest, place: str) -> Nest:
    """Return a deep copy of a state; raise ValueError that names the place of what a file cannot hold."""
    if isinstance(value, dict):
        rule = "must have texts as keys in a callback's state"
        for key in value:
            require(isinstance(key, str), place, rule, key)
        return {key: copied(one, f"{place}[{key!r}]") for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [copied(one, f"{place}[{number}]") for number, one in enumerate(value)]
    if isinstance(value, np.ndarray):
        require(value.dtype.kind != "O", place, "must be an array of numbers in a callback's state", value)
        return value.copy()
    value = value.item() if isinstance(value, np.generic) else value
    plain = value is None or isinstance(value, (bool, int, float, str))
    rule = "must be a number, text, None, array, list or dict of them in a callback's state"
    require(plain, place, rule, value)
    return value
