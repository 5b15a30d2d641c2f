"""Shampoo beside pytorch_optimizer's ScalableShampoo."""

from typing import Any

import pytest
from compared import Case, Oracle, distance, torch_oracle

from kopt.rules import Shampoo

torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
pytorch_optimizer = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is in the extra [peers]")
GRAFTS = {"none": 0, "sgd": 1, "adagrad": 2, "rmsprop": 3}


def package(every: int = 20, graft: str = "sgd", **arguments: Any) -> Oracle:
    """The package's, with axes each for itself; the roots by its iteration."""

    def make(parameters: Any) -> Any:
        return pytorch_optimizer.ScalableShampoo(
            parameters,
            preconditioning_compute_steps=every,
            graft_type=GRAFTS[graft],
            shape_interpretation=False,
            decoupled_weight_decay=True,
            **arguments,
        )

    return torch_oracle(make)


CASES = [
    Case(Shampoo(), package(), tolerance=1e-3),
    Case(
        Shampoo(0.8, 0.99, weight_decay=0.1, start=5, every=7, block=4, graft="rmsprop", nesterov=False),
        package(
            7,
            "rmsprop",
            betas=(0.8, 0.99),
            weight_decay=0.1,
            start_preconditioning_step=5,
            block_size=4,
            nesterov=False,
        ),
        tolerance=1e-3,
    ),
    Case(
        Shampoo(0.9, 0.95, start=1, every=10, largest=5, graft="adagrad"),
        package(
            10, "adagrad", betas=(0.9, 0.95), start_preconditioning_step=1, no_preconditioning_for_layers_with_dim_gt=5
        ),
        rate=0.1,
        tolerance=1e-3,
    ),
    Case(
        Shampoo(0.0, 0.99, start=1, every=4, graft="none", matrix_epsilon=1e-4),
        package(4, "none", betas=(0.0, 0.99), start_preconditioning_step=1, matrix_eps=1e-4),
        tolerance=1e-3,
    ),
    Case(
        Shampoo(graft="rmsprop", matrix_epsilon=1e-4),
        package(20, "rmsprop", matrix_eps=1e-4, use_svd=True),  # roots by singular values
        tolerance=1e-3,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
