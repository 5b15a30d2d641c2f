"""Laws of the schedule algebra, over trees of schedules that hypothesis draws."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kopt import schedules
from kopt.schedules import Schedule
from kopt.values import from_json, replace, to_json

RATES = st.floats(0, 1)
TIMES = st.floats(0.5, 50)
SHARES = st.floats(0.05, 0.9)


def drawn(cls: type[Schedule], **numbers: st.SearchStrategy) -> st.SearchStrategy[Schedule]:
    return st.builds(cls, rate=RATES, **numbers)


TIMED = [
    drawn(cls, duration=TIMES, end=st.just(0.0), **more)
    for cls, more in (
        (schedules.Cosine, {}),
        (schedules.Linear, {}),
        (schedules.Polynomial, {"power": st.floats(0.5, 4)}),
        (schedules.FlatCosine, {"flat": SHARES}),
        (schedules.REX, {}),
        (schedules.Tanh, {}),
    )
]
FALLING = [
    drawn(schedules.Constant),
    drawn(schedules.Exponential, decay=st.floats(0.1, 1), every=TIMES, staircase=st.booleans()),
    drawn(schedules.InverseTime, decay=st.floats(0.1, 5), every=TIMES, staircase=st.booleans()),
    drawn(schedules.InverseSqrt, every=TIMES),
    drawn(schedules.Step, decay=st.floats(0.1, 1), every=TIMES),
    *TIMED,
]
OTHERS = [
    drawn(schedules.OneCycle, duration=TIMES, rise=SHARES, shape=st.sampled_from(("cosine", "linear"))),
    drawn(schedules.Triangular, every=TIMES, decay=st.floats(0.3, 1), smooth=st.booleans()),
    drawn(schedules.CosineRestarts, every=TIMES, growth=st.floats(1, 3), decay=st.floats(0.3, 1)),
    drawn(schedules.WarmupStableDecay, duration=TIMES, rise=st.floats(0.05, 0.4), fall=st.floats(0.1, 0.5)),
]
LEAVES = st.one_of(*FALLING, *OTHERS)


def grown(inner: st.SearchStrategy[Schedule]) -> st.SearchStrategy[Schedule]:
    return st.one_of(
        st.builds(lambda of, d, s: of.warmup(d, start=s), inner, TIMES, RATES),
        st.builds(lambda one, other, at: one.then(other, at=at), inner, inner, TIMES),
        st.builds(lambda of, factor: of * factor, inner, st.floats(0, 3)),
        st.builds(lambda of, every, growth: of.restart(every, growth), inner, TIMES, st.floats(1, 3)),
        st.builds(lambda of, low, more: of.clip(low, low + more), inner, RATES, RATES),
        st.builds(lambda of, d: of.delay(d), inner, TIMES),
    )


TREES = st.recursive(LEAVES, grown, max_leaves=4)
GRID = np.linspace(0, 120, 121)
quick = settings(max_examples=40, deadline=None, derandomize=True)


def values(schedule: Schedule, times: np.ndarray = GRID) -> np.ndarray:
    return keras.ops.convert_to_numpy(schedule(times))


@quick
@given(TREES)
def test_any_nesting_survives_its_config_and_its_repr(schedule: Schedule) -> None:
    assert from_json(to_json(schedule)) == schedule
    assert eval(repr(schedule), dict(vars(schedules))) == schedule


@quick
@given(TREES)
def test_any_nesting_is_finite_and_not_negative(schedule: Schedule) -> None:
    found = values(schedule)
    assert np.all(np.isfinite(found)) and np.all(found >= 0)
    np.testing.assert_allclose(schedule.table(5), [float(schedule(step)) for step in range(5)], rtol=1e-6, atol=1e-9)


@quick
@given(st.one_of(*FALLING))
def test_decays_start_at_the_rate_and_never_rise(schedule: Schedule) -> None:
    found = values(schedule)
    np.testing.assert_allclose(found[0], schedule.rate, rtol=1e-5, atol=1e-9)
    assert np.all(np.diff(found) <= 1e-7)


@quick
@given(st.one_of(*TIMED))
def test_timed_decays_end_at_their_end_and_hold_it(schedule: Schedule) -> None:
    assert schedule.total == schedule.duration
    late = values(schedule, schedule.duration * np.array([1.0, 1.5, 100.0]))
    np.testing.assert_allclose(late, late[0])
    assert late[0] <= 0.003 * schedule.rate + 1e-9


@quick
@given(LEAVES, TIMES, RATES)
def test_a_warmup_joins_without_a_jump(schedule: Schedule, duration: float, start: float) -> None:
    warmed = schedule.warmup(duration, start)
    before, after = values(warmed, np.array([duration * (1 - 1e-9), duration]))
    assert before == pytest.approx(after, abs=1e-6)
    np.testing.assert_allclose(values(warmed, GRID + duration), values(schedule), rtol=1e-4, atol=1e-6)
    assert values(warmed, np.zeros(1))[0] == pytest.approx(start, abs=1e-7)


@quick
@given(LEAVES, LEAVES, TIMES)
def test_then_is_the_one_before_and_the_other_after(one: Schedule, other: Schedule, at: float) -> None:
    joined = one.then(other, at=at)
    before, after = GRID[GRID < at - 1e-6], GRID + at
    np.testing.assert_allclose(values(joined, before), values(one, before), rtol=1e-6)
    np.testing.assert_allclose(values(joined, after), values(other), rtol=1e-4, atol=1e-6)


@quick
@given(LEAVES, RATES, RATES)
def test_clip_keeps_within_its_bounds(schedule: Schedule, low: float, more: float) -> None:
    found = values(schedule.clip(low, low + more))
    assert np.all(found >= np.float32(low) - 1e-7) and np.all(found <= np.float32(low + more) + 1e-7)


@quick
@given(st.one_of(*TIMED), st.floats(1, 3))
def test_each_restarted_cycle_repeats_the_first(schedule: Schedule, growth: float) -> None:
    restarted = replace(schedule, {"duration": None}).restart(7, growth)
    shares = np.linspace(0, 0.99, 20)
    for number in range(4):
        start = sum(7 * growth**earlier for earlier in range(number))
        np.testing.assert_allclose(
            values(restarted, start + shares * 7 * growth**number), values(restarted, shares * 7), rtol=2e-3, atol=1e-4
        )
