"""Exact values of each schedule, with the closed form or the other library that made them."""

import math

import keras
import numpy as np
import optax
import pytest

from kopt.schedules import (
    REX,
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    FlatCosine,
    InverseSqrt,
    InverseTime,
    Linear,
    OneCycle,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    Tanh,
    Triangular,
    WarmupStableDecay,
)

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
)
def test_other_libraries_agree(schedule: Schedule, theirs) -> None:
    np.testing.assert_allclose(schedule.table(40), [float(theirs(int(t))) for t in STEPS], rtol=2e-6, atol=1e-8)


def torch_rates(name: str, steps: int = 40, base: float = 0.1, **arguments) -> list[float]:
    """The rates of a scheduler of PyTorch over its steps."""
    torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=base, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **arguments)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "name", "arguments"),
    [
        (Exponential(0.1, 0.9, every=1), "ExponentialLR", {"gamma": 0.9}),
        (Step(0.1, 0.5, every=7), "StepLR", {"step_size": 7, "gamma": 0.5}),
        (Piecewise((0.1, 0.05, 0.025), (7, 19)), "MultiStepLR", {"milestones": [7, 19], "gamma": 0.5}),
        (Cosine(0.1, duration=39, end=0.01), "CosineAnnealingLR", {"T_max": 39, "eta_min": 0.01}),
        (Linear(0.1, duration=20, end=0.01), "LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 20}),
        (Polynomial(0.1, duration=20, power=1.5), "PolynomialLR", {"total_iters": 20, "power": 1.5}),
        (CosineRestarts(0.1, 0.01, every=6), "CosineAnnealingWarmRestarts", {"T_0": 6, "eta_min": 0.01}),
        (CosineRestarts(0.1, every=6, growth=2), "CosineAnnealingWarmRestarts", {"T_0": 6, "T_mult": 2}),
        (Cosine(0.1).restart(6, growth=2), "CosineAnnealingWarmRestarts", {"T_0": 6, "T_mult": 2}),
        (Triangular(0.1, 0.01, every=10), "CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5}),
        (
            Triangular(0.1, 0.01, every=10, decay=0.5),
            "CyclicLR",
            {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "mode": "triangular2"},
        ),
        (
            Triangular(0.1, 0.01, every=10, decay=0.97**10, smooth=True),
            "CyclicLR",
            {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "mode": "exp_range", "gamma": 0.97},
        ),
        (
            OneCycle(0.1, duration=39, rise=11 / 39),
            "OneCycleLR",
            {"max_lr": 0.1, "total_steps": 40, "pct_start": 0.3},
        ),
        (
            OneCycle(0.1, duration=39, rise=11 / 39, div_factor=10, final_div_factor=100, shape="linear"),
            "OneCycleLR",
            {
                "max_lr": 0.1,
                "total_steps": 40,
                "pct_start": 0.3,
                "div_factor": 10,
                "final_div_factor": 100,
                "anneal_strategy": "linear",
            },
        ),
    ],
)
def test_torch_agrees(schedule: Schedule, name: str, arguments: dict) -> None:
    steps = arguments.get("total_steps", 40)
    np.testing.assert_allclose(schedule.table(steps), torch_rates(name, steps, **arguments), rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        (InverseTime(0.1, 0.5, every=7), keras_schedules.InverseTimeDecay(0.1, 7, 0.5)),
        (InverseTime(0.1, 0.5, every=7, staircase=True), keras_schedules.InverseTimeDecay(0.1, 7, 0.5, staircase=True)),
        (Polynomial(0.1, duration=20, end=0.01, power=2), keras_schedules.PolynomialDecay(0.1, 20, 0.01, 2.0)),
        (Linear(0.1, duration=20, end=0.01), optax.linear_schedule(0.1, 0.01, 20)),
        (CosineRestarts(0.1, every=5, growth=2, decay=0.5), keras_schedules.CosineDecayRestarts(0.1, 5, 2.0, 0.5)),
        (Cosine(0.1).restart(5, growth=1.5, decay=0.8), keras_schedules.CosineDecayRestarts(0.1, 5, 1.5, 0.8)),
        (
            Piecewise((0.0, 0.1, 0.02), (0, 10, 30), interpolate=True),
            lambda t: np.interp(t, (0, 10, 30), (0.0, 0.1, 0.02)),
        ),
        (
            Cosine(0.1).warmup(2).restart(10),
            optax.sgdr_schedule([{"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 2, "decay_steps": 10}] * 4),
        ),
        (OneCycle(0.1, duration=40, rise=0.25), optax.cosine_onecycle_schedule(40, 0.1, 0.25, 25, 1e4)),
    ],
)
def test_keras_optax_and_numpy_agree(schedule: Schedule, theirs) -> None:
    np.testing.assert_allclose(schedule.table(40), [float(theirs(int(t))) for t in STEPS], rtol=3e-6, atol=2e-8)


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        # Noam: 1 / sqrt(width) * min(1 / sqrt(t), t / sqrt(warmup) ** 3), Vaswani et al., 2017, equation 3.
        (
            InverseSqrt((512 * 10) ** -0.5, every=10).warmup(10),
            lambda t: 512**-0.5 * min(max(t, 1e-9) ** -0.5, t * 10**-1.5),
        ),
        # timm.scheduler.TanhLRScheduler: lr_min + 0.5 * (lr - lr_min) * (1 - tanh(lb * (1 - tr) + ub * tr)).
        (
            Tanh(0.1, duration=20, end=0.01, lower=-7, upper=3),
            lambda t: 0.01 + 0.5 * 0.09 * (1 - math.tanh(-7 * (1 - min(t / 20, 1)) + 3 * min(t / 20, 1))),
        ),
        # REX, table 2: (1 - z) / (1 / 2 + 1 / 2 * (1 - z)).
        (REX(0.1, duration=20), lambda t: 0.1 * (1 - min(t / 20, 1)) / (0.5 + 0.5 * (1 - min(t / 20, 1)))),
        (
            FlatCosine(0.1, duration=20, flat=0.6),
            lambda t: 0.1 if t < 12 else 0.05 * (1 + math.cos(math.pi * min((t - 12) / 8, 1))),
        ),
        (
            WarmupStableDecay(0.1, duration=40, rise=0.1, fall=0.25, tail="1-sqrt"),
            lambda t: 0.1 * t / 4 if t < 4 else 0.1 if t < 30 else 0.1 * (1 - math.sqrt((t - 30) / 10)),
        ),
        (
            WarmupStableDecay(0.1, duration=40, rise=0.1, fall=0.25, tail="cosine", end=0.02),
            lambda t: (
                0.1 * t / 4 if t < 4 else 0.1 if t < 30 else 0.02 + 0.04 * (1 + math.cos(math.pi * (t - 30) / 10))
            ),
        ),
        (Constant(0.1).warmup(8, start=0.001, shape="exponential"), lambda t: 0.001 * 100 ** min(t / 8, 1)),
        (Constant(0.1).warmup(8, shape="cosine"), lambda t: 0.05 * (1 - math.cos(math.pi * min(t / 8, 1)))),
        (Linear(0.1, duration=20).clip(0.03, 0.06), lambda t: min(max(0.1 * (1 - min(t / 20, 1)), 0.03), 0.06)),
        (Linear(0.1, duration=20).delay(5), lambda t: 0.1 * (1 - min(max(t - 5, 0) / 20, 1))),
    ],
)
def test_more_closed_forms(schedule: Schedule, formula) -> None:
    np.testing.assert_allclose(schedule.table(40), [formula(int(t)) for t in STEPS], rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("every", [0.1, 0.3, 1 / 3, 0.7])
def test_a_jump_comes_at_its_very_step(every: float) -> None:
    """0.3 / 0.1 is less than 3 in floating point: the third jump must not come a step late."""
    times = np.arange(1, 50) * every
    np.testing.assert_allclose(Step(1.0, 0.5, every=every)(times), 0.5 ** np.arange(1.0, 50), rtol=1e-6)
    np.testing.assert_allclose(CosineRestarts(1.0, every=every, decay=0.9)(times), 0.9 ** np.arange(1, 50), rtol=1e-5)


@pytest.mark.parametrize("growth", [1.0, 1.1, 2.0, 3.0])
def test_grown_cycles_begin_at_their_very_step(growth: float) -> None:
    starts = np.cumsum([0.0] + [7 * growth**number for number in range(8)])
    schedule = CosineRestarts(1.0, every=7, growth=growth, decay=0.5)
    np.testing.assert_allclose(schedule(starts), 0.5 ** np.arange(9), rtol=1e-6)
    np.testing.assert_allclose(schedule(starts[1:] - 1e-3), 0, atol=1e-6)


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
        (lambda: InverseTime(0.1, -1, every=2), "decay must be > 0, got -1.0."),
        (lambda: InverseSqrt(0.1, every=0), "every must be > 0, got 0.0."),
        (lambda: Piecewise((0.1, 0.2), (1, 2)), "times must be 1 for 2 rates, got (1, 2)."),
        (lambda: Piecewise((0.1, 0.2, 0.3), (2, 1)), "times must be increasing and >= 0, got (2, 1)."),
        (lambda: Piecewise((0.1, -0.2), (2,)), "rates must be >= 0 each, got (0.1, -0.2)."),
        (lambda: Piecewise((0.1, float("nan")), (2,)), "rates must be >= 0 each, got (0.1, nan)."),
        (lambda: Polynomial(0.1, power=0), "power must be > 0, got 0.0."),
        (lambda: FlatCosine(0.1, flat=1), "flat must be in [0, 1), got 1.0."),
        (lambda: Tanh(0.1, lower=3, upper=-3), "lower must be < upper = -3, got 3.0."),
        (lambda: WarmupStableDecay(0.1, fall=1), "fall must be in (0, 1), got 1.0."),
        (lambda: WarmupStableDecay(0.1, rise=0.9), "rise must be in (0, 1 - fall], got 0.9."),
        (lambda: WarmupStableDecay(0.1, tail="sqrt"), "tail must be 'linear' or 'cosine' or '1-sqrt', got 'sqrt'."),
        (lambda: Triangular(0.1, 0.2, every=3), "rate must be >= low = 0.2, got 0.1."),
        (lambda: OneCycle(0.1, rise=0), "rise must be in (0, 1), got 0.0."),
        (lambda: OneCycle(0.1, div_factor=0.5), "div_factor must be >= 1, got 0.5."),
        (lambda: CosineRestarts(0.1, every=3, growth=0.5), "growth must be >= 1, got 0.5."),
        (lambda: Constant(0.1).restart(0), "every must be > 0, got 0.0."),
        (lambda: Cosine(0.1).warmup(5).restart(5), "warmup_duration must be shorter than the run of 5, got 5.0."),
        (lambda: Constant(0.1).clip(0.2, 0.1), "high must be >= low = 0.2, got 0.1."),
        (lambda: Constant(0.1).delay(0), "delay_duration must be > 0, got 0.0."),
        (
            lambda: Constant(0.1).warmup(2, shape="exponential"),
            "start must be > 0 for an exponential warm-up, got 0.0.",
        ),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
