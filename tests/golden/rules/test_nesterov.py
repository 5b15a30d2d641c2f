"""NAdamW and Adan beside optax's and pytorch_optimizer's."""

import pytest
from compared import Case, distance, optax_oracle, torch_oracle

from kopt.rules import Adan, NAdamW

jax = pytest.importorskip("jax", reason="jax is in the extra [dev]")
optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")
peers = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is in the extra [peers]")


def algoperf(rate, beta_1: float, beta_2: float, epsilon: float, decay: float):
    """AlgoPerf's baseline in parts of optax: m moved on once more by the newest gradient, then corrected as Adam's."""

    def init(parameters):
        zeros = jax.tree.map(jax.numpy.zeros_like, parameters)
        return jax.numpy.zeros([], "int32"), zeros, zeros

    def update(gradients, state, parameters=None):
        count, mean, square = state[0] + 1, *state[1:]
        mean = optax.tree.update_moment(gradients, mean, beta_1, 1)
        square = optax.tree.update_moment(gradients, square, beta_2, 2)
        ahead = optax.tree.bias_correction(optax.tree.update_moment(gradients, mean, beta_1, 1), beta_1, count)
        root = jax.tree.map(jax.numpy.sqrt, optax.tree.bias_correction(square, beta_2, count))
        return jax.tree.map(lambda m, r: m / (r + epsilon), ahead, root), (count, mean, square)

    adapted = optax.GradientTransformation(init, update)
    return optax.chain(adapted, optax.add_decayed_weights(decay), optax.scale_by_learning_rate(rate))


def adan(parameters, **arguments):
    return peers.Adan(parameters, **arguments)


CASES = [
    Case(NAdamW(corrected_ahead=True), optax_oracle(optax.nadamw)),
    Case(
        NAdamW(0.8, 0.99, 1e-6, 0.1, True),
        optax_oracle(lambda rate: optax.nadamw(rate, 0.8, 0.99, eps=1e-6, weight_decay=0.1)),
    ),
    Case(NAdamW(0.95, 0.9, 1e-3, 0, True), optax_oracle(lambda rate: optax.nadam(rate, 0.95, 0.9, eps=1e-3))),
    Case(
        NAdamW(0.9, 0.99, weight_decay=0.1),
        optax_oracle(lambda rate: algoperf(rate, 0.9, 0.99, 1e-8, 0.1)),
    ),
    Case(NAdamW(), optax_oracle(lambda rate: algoperf(rate, 0.9, 0.999, 1e-8, 1e-4))),
    Case(Adan(), torch_oracle(adan)),
    Case(
        Adan(0.9, 0.8, 0.95, 1e-6, 0.1),
        torch_oracle(lambda parameters: adan(parameters, betas=(0.9, 0.8, 0.95), eps=1e-6, weight_decay=0.1)),
    ),
    Case(
        Adan(0.95, 0.9, 0.9, weight_decay=0.02),
        torch_oracle(lambda parameters: adan(parameters, betas=(0.95, 0.9, 0.9), weight_decay=0.02, foreach=False)),
        rate=1e-3,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
