"""MARS beside optax's AdamW on corrected gradients, and pytorch_optimizer's."""

import pytest
from compared import Case, distance, optax_oracle, torch_oracle

from kopt.rules import MARS

jax = pytest.importorskip("jax", reason="jax is in the extra [dev]")
optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")
peers = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is in the extra [peers]")


def corrected(beta_1: float, gamma: float):
    """The correction of gradients, as a transformation of optax."""
    numpy = jax.numpy

    def one(gradient, previous):
        found = gradient + gamma * beta_1 / (1 - beta_1) * (gradient - previous)
        norm = numpy.linalg.norm(found.ravel())
        return numpy.where(norm > 1, found / norm, found)

    return optax.GradientTransformation(
        lambda parameters: jax.tree.map(numpy.zeros_like, parameters),
        lambda gradients, previous, parameters=None: (jax.tree.map(one, gradients, previous), gradients),
    )


def by_optax(rate, beta_1=0.95, beta_2=0.99, gamma=0.025, epsilon=1e-8, decay=0.0):
    return optax.chain(corrected(beta_1, gamma), optax.adamw(rate, beta_1, beta_2, eps=epsilon, weight_decay=decay))


def mars(parameters, **arguments):
    return peers.MARS(parameters, optimize_1d=True, **arguments)


CASES = [
    Case(MARS(), optax_oracle(by_optax)),
    Case(
        MARS(0.8, 0.9, 0, 1e-3, 0.1),
        optax_oracle(lambda rate: by_optax(rate, 0.8, 0.9, 0, 1e-3, 0.1)),
        rate=1e-3,
    ),
    Case(MARS(0.9, 0.95, 0.1, 1e-6), optax_oracle(lambda rate: by_optax(rate, 0.9, 0.95, 0.1, 1e-6))),
    # pytorch_optimizer adds epsilon before the correction, and 1e-15 to the square.
    Case(
        MARS(0.9, 0.95, 0.1, 1e-12, 0.1),
        torch_oracle(lambda parameters: mars(parameters, betas=(0.9, 0.95), gamma=0.1, eps=1e-12, weight_decay=0.1)),
        tolerance=3e-5,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
