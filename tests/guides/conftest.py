"""What the programs of Keras' guides have: a run by Keras beside one by kopt, and what both have left."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

from kopt.training import Loop

HOOKS = [
    *(f"on_{phase}_{edge}" for phase in ("train", "test", "predict", "epoch") for edge in ("begin", "end")),
    *(f"on_{phase}_batch_{edge}" for phase in ("train", "test", "predict") for edge in ("begin", "end")),
]


class Recorder(keras.callbacks.Callback):
    """Records each hook's name, its number, and the names in its logs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []


def recording(hook: str) -> Callable[..., None]:
    def record(self: Recorder, *arguments: Any, logs: Any = None) -> None:
        numbers = [argument for argument in arguments if isinstance(argument, int)]
        names = [sorted(argument) for argument in (*arguments, logs) if isinstance(argument, dict)]
        self.calls.append((hook, *numbers, *names))

    return record


for hook in HOOKS:
    setattr(Recorder, hook, recording(hook))


class Outcome(NamedTuple):
    """What a program has left: numbers by name, weights, calls."""

    numbers: dict[str, Any]
    weights: list[np.ndarray]
    calls: list[tuple[Any, ...]]


class Stock:
    """Keras' own fit, evaluate and predict, with results as `Loop` gives them."""

    def __init__(self, model: Any):
        self.fit, self.predict = model.fit, model.predict
        self.evaluate = lambda *data, **how: model.evaluate(*data, return_dict=True, **how)


def outcome(
    build: Callable[[], Any], use: Callable[[Any, Any, Any], dict[str, Any]], trainer: Any, recorded: bool = True
) -> Outcome:
    keras.utils.set_random_seed(1)
    model, recorder = build(), Recorder()
    numbers = use(trainer(model), model, [recorder] if recorded else [])
    return Outcome(numbers, model.get_weights(), recorder.calls)


def assert_equal(found: Any, expected: Any, tolerance: float) -> None:
    assert keras.tree.map_structure(lambda leaf: 0, found) == keras.tree.map_structure(lambda leaf: 0, expected)
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected)):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.fixture
def as_in_fit() -> Callable[..., Outcome]:
    """Run a guide's program by Keras and by kopt from the same start; all that they leave must be equal.

    `build` gives a compiled model; `use(trainer, model, callbacks)` trains it and gives numbers by name. Without XLA
    they are equal to the bit (or a tolerance), one step a call, where all calls of callbacks are equal too, and many
    steps a call. With `xla` the last is compiled by XLA, and equal to 2e-4: a second to compile, so each feature is in
    one such program and no more.
    """

    def check(
        build: Callable[[], Any],
        use: Callable[[Any, Any, Any], dict[str, Any]],
        *,
        xla: bool = False,
        tolerance: float = 0.0,
    ) -> Outcome:
        expected = outcome(build, use, Stock)
        found = outcome(build, use, lambda model: Loop(model, jit=False))
        assert found.calls == expected.calls
        assert_equal(found[:2], expected[:2], tolerance)
        free = outcome(build, use, lambda model: Loop(model, jit=xla), recorded=False)
        assert_equal(free[:2], expected[:2], 2e-4 if xla else tolerance)
        return expected

    return check
