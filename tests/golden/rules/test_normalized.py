"""LaProp and ADOPT beside optax's and pytorch_optimizer's."""

import pytest
from compared import Case, distance, optax_oracle, torch_oracle

from kopt.rules import ADOPT, LaProp

optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")
peers = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is in the extra [peers]")


def laprop(rate, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-15, decay: float = 0.0):
    """LaProp in parts of optax: RMSProp with a correction, then momentum with one.

    pytorch_optimizer's keeps the rate in the momentum, which is another rule under a schedule.
    """
    return optax.chain(
        optax.scale_by_rms(beta_2, epsilon, eps_in_sqrt=False, bias_correction=True),
        optax.ema(beta_1),
        optax.add_decayed_weights(decay),
        optax.scale_by_learning_rate(rate),
    )


def adopt(parameters, **arguments):
    """pytorch_optimizer's, whose limit is one update ahead of the paper's and optax's, set right."""
    return peers.ADOPT(parameters, clip_lambda=lambda step: (step - 1) ** 0.25, weight_decouple=True, **arguments)


CASES = [
    Case(LaProp(), optax_oracle(laprop)),
    Case(LaProp(0.8, 0.99, 1e-6, 0.1), optax_oracle(lambda rate: laprop(rate, 0.8, 0.99, 1e-6, 0.1))),
    Case(LaProp(0.95, 0.5, 1e-8), optax_oracle(lambda rate: laprop(rate, 0.95, 0.5, 1e-8)), rate=1e-3),
    Case(ADOPT(), torch_oracle(adopt)),
    Case(ADOPT(0.8, 0.99, 1e-4), optax_oracle(lambda rate: optax.contrib.adopt(rate, 0.8, 0.99, eps=1e-4))),
    Case(
        ADOPT(0.95, 0.9, 1e-3, 0.1),
        torch_oracle(lambda parameters: adopt(parameters, betas=(0.95, 0.9), eps=1e-3, weight_decay=0.1)),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
