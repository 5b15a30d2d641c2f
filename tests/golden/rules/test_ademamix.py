"""AdEMAMix beside optax's and pytorch_optimizer's."""

import pytest
from compared import Case, distance, optax_oracle, torch_oracle

from kopt.rules import AdEMAMix

optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")
peers = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is in the extra [peers]")


def ademamix(parameters, **arguments):
    return peers.AdEMAMix(parameters, weight_decouple=True, **arguments)


CASES = [
    Case(AdEMAMix(), optax_oracle(optax.contrib.ademamix)),
    Case(AdEMAMix(), torch_oracle(ademamix)),
    Case(
        AdEMAMix(0.8, 0.99, 0.95, 3, 1e-6, 0.1),
        optax_oracle(lambda rate: optax.contrib.ademamix(rate, 0.8, 0.99, 0.95, alpha=3, eps=1e-6, weight_decay=0.1)),
    ),
    Case(
        AdEMAMix(0.9, 0.99, 0.999, 8, weight_decay=0.05, warmup_steps=150),
        torch_oracle(
            lambda parameters: ademamix(
                parameters, betas=(0.9, 0.99, 0.999), alpha=8, weight_decay=0.05, t_alpha_beta3=150
            )
        ),
    ),
    Case(
        AdEMAMix(warmup_steps=200), torch_oracle(lambda parameters: ademamix(parameters, t_alpha_beta3=200)), rate=1e-3
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
