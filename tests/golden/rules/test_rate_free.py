"""Rules that find their own rate beside the packages of their authors and optax."""

import dataclasses

import pytest
from compared import Case, distance, optax_oracle, torch_oracle

from kopt.rules import Adam, DAdaptAdam, DoG, GradientDescent, Mechanic, Prodigy

torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")
prodigyopt = pytest.importorskip("prodigyopt", reason="prodigyopt is in the extra [peers]")
jax = pytest.importorskip("jax", reason="jax is in the extra [dev]")
dadaptation = pytest.importorskip("dadaptation", reason="dadaptation is in the extra [peers]")


def of_each(make):
    """An optax transformation for each parameter alone."""

    def init(parameters):
        return [make.init([one]) for one in parameters]

    def update(gradients, states, parameters):
        pairs = [make.update([g], state, [p]) for g, state, p in zip(gradients, states, parameters)]
        return [updates[0] for updates, _ in pairs], [state for _, state in pairs]

    return optax.GradientTransformation(init, update)


def prodigy(**numbers):
    return torch_oracle(lambda parameters: prodigyopt.Prodigy(parameters, **numbers))


def d_adapted(**numbers):
    return torch_oracle(lambda parameters: dadaptation.DAdaptAdam(parameters, decouple=True, **numbers))


def dog(*start, **numbers):
    return optax_oracle(lambda rate: optax.contrib.dog(rate, ("heuristic", start[0] if start else 1e-6), **numbers))


GIVEN = [
    Case(Prodigy(), prodigy(), 1.0),
    Case(
        Prodigy(0.8, 0.99, 0.95, 1e-6, 0.1, d0=1e-4, d_coef=0.5, growth_rate=1.05),
        prodigy(betas=(0.8, 0.99), beta3=0.95, eps=1e-6, weight_decay=0.1, d0=1e-4, d_coef=0.5, growth_rate=1.05),
        1.0,
    ),
    Case(
        Prodigy(corrected=True, safeguard_warmup=True, d0=1e-3),
        prodigy(use_bias_correction=True, safeguard_warmup=True, d0=1e-3),
        1.0,
    ),
    Case(
        Prodigy(corrected=True, d0=1e-4),
        optax_oracle(lambda rate: optax.contrib.prodigy(rate, estim_lr0=1e-4)),
        1.0,
    ),
    Case(DAdaptAdam(), d_adapted(), 1.0),
    Case(
        DAdaptAdam(0.8, 0.99, 1e-6, 0.1, d0=1e-4),
        d_adapted(betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1, d0=1e-4),
        1.0,
    ),
    Case(
        DAdaptAdam(corrected=True, d0=1e-3, growth_rate=1.02),
        d_adapted(use_bias_correction=True, d0=1e-3, growth_rate=1.02),
        0.5,
    ),
    Case(DoG(1e-3), dog(1e-3), 1.0),
    Case(DoG(1e-4, 0.01, 1e-6), dog(1e-4, weight_decay=0.01, eps=1e-6), 1.0),
    Case(
        DoG(1e-3, layerwise=True),
        optax_oracle(lambda rate: of_each(optax.contrib.dog(rate, ("heuristic", 1e-3)))),
        0.5,
    ),
    Case(Mechanic(GradientDescent()), optax_oracle(lambda rate: optax.contrib.mechanize(optax.sgd(rate))), 1.0),
    Case(
        Mechanic(Adam(epsilon=1e-20), shrinkage=0, first_scale=1e-4),
        optax_oracle(lambda rate: optax.contrib.mechanize(optax.adam(rate, eps=1e-20), 0, s_init=1e-4)),
        1.0,
    ),
    Case(
        Mechanic(Adam(0.8, 0.9, 1e-20), 0.1, 1e-5, betas=3),
        optax_oracle(lambda rate: optax.contrib.mechanize(optax.adam(rate, 0.8, 0.9, 1e-20), 0.1, 1e-8, 1e-5, 3)),
        0.5,
    ),
]
# In float32 the first steps, of 1e-6, are lost in the rounding of the parameters, and their estimates with them.
CASES = [dataclasses.replace(case, own_way=True, dtype="float64") for case in GIVEN]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    with jax.enable_x64(True):
        assert distance(case) <= case.tolerance
