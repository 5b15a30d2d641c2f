"""Exact values of each schedule, with the closed form or the other library that made them."""

import math

import keras
import numpy as np
import optax
import pytest

from kopt.schedules import Constant, Cosine, Exponential, Schedule, Step

STEPS = np.arange(40)
keras_schedules = keras.optimizers.schedules


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (Constant(0.1), lambda t: 0.1),
        (Exponential(0.1, 0.5, every=7), lambda t: 0.1 * 0.5 ** (t / 7)),
        (Exponential(0.1, 0.5, every=7, staircase=True), lambda t: 0.1 * 0.5 ** (t // 7)),
        (Step(0.1, 0.9, every=10), lambda t: 0.1 * 0.9 ** (t // 10)),
        (Cosine(0.1, duration=20), lambda t: 0.05 * (1 + math.cos(math.pi * min(t / 20, 1)))),
        (Cosine(0.1, duration=20, end=0.02), lambda t: 0.02 + 0.04 * (1 + math.cos(math.pi * min(t / 20, 1)))),
        (Constant(0.1).warmup(5), lambda t: 0.1 * min(t / 5, 1)),
        (
            Cosine(0.1, duration=20).warmup(5, start=0.01),
            lambda t: 0.01 + 0.09 * t / 5 if t < 5 else 0.05 * (1 + math.cos(math.pi * min((t - 5) / 20, 1))),
        ),
        (Constant(0.1).then(Step(0.01, 0.5, every=4), at=8), lambda t: 0.1 if t < 8 else 0.01 * 0.5 ** ((t - 8) // 4)),
        (Step(0.1, 0.9, every=10) * 3, lambda t: 0.3 * 0.9 ** (t // 10)),
    ],
    ids=repr,
)
def test_closed_form(schedule: Schedule, formula) -> None:
    np.testing.assert_allclose(schedule.table(40), [formula(int(t)) for t in STEPS], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        (Exponential(0.1, 0.5, every=7), keras_schedules.ExponentialDecay(0.1, 7, 0.5)),
        (Step(0.1, 0.5, every=7), keras_schedules.ExponentialDecay(0.1, 7, 0.5, staircase=True)),
        (Cosine(0.1, duration=20), keras_schedules.CosineDecay(0.1, 20)),
        (Cosine(0.1, duration=20, end=0.01), optax.cosine_decay_schedule(0.1, 20, alpha=0.1)),
        (Cosine(0.1, duration=20).warmup(5), optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 25)),
        (Exponential(0.1, 0.5, every=7), optax.exponential_decay(0.1, 7, 0.5)),
        (
            Constant(0.1).then(Constant(0.02), at=6),
            optax.join_schedules([optax.constant_schedule(0.1), optax.constant_schedule(0.02)], [6]),
        ),
    ],
    ids=repr,
)
def test_other_libraries_agree(schedule: Schedule, theirs) -> None:
    np.testing.assert_allclose(schedule.table(40), [float(theirs(int(t))) for t in STEPS], rtol=2e-6, atol=1e-8)


def test_late_steps_are_exact() -> None:
    """Beyond 2 ** 24 float32 cannot tell one step from the next; time is float64."""
    late = 2**24 + 1
    assert float(Step(0.1, 0.5, every=late)(late - 1)) == pytest.approx(0.1)
    assert float(Step(0.1, 0.5, every=late)(late)) == pytest.approx(0.05)


def test_an_open_duration_ends_with_the_run() -> None:
    opened = Cosine(0.1).warmup(2)
    assert opened.total is None
    assert opened.resolve(10.0) == Cosine(0.1, duration=8).warmup(2)
    assert Constant(0.1).then(Cosine(0.1), at=4).resolve(10.0) == Constant(0.1).then(Cosine(0.1, duration=6), at=4)
    with pytest.raises(ValueError, match="^duration must be given where there is no run to take it from, got None"):
        opened(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(-0.1), "rate must be >= 0, got -0.1."),
        (lambda: Cosine(float("nan")), "rate must be finite, got nan."),
        (lambda: Cosine(0.1, duration=0), "duration must be > 0, got 0.0."),
        (lambda: Step(0.1, 0.5, every=0), "every must be > 0, got 0.0."),
        (lambda: Exponential(0.1, 0, every=1), "decay must be > 0, got 0.0."),
        (lambda: Constant(0.1).warmup(-1), "warmup_duration must be > 0, got -1.0."),
        (lambda: Constant(0.1).then(Constant(0.2)), "at must be given where the first schedule has no end, got inf."),
        (lambda: Cosine(0.1).warmup(5).resolve(5.0), "warmup_duration must be shorter than the run of 5, got 5.0."),
        (lambda: Constant(0.1) * -1, "factor must be >= 0, got -1.0."),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
