"""SOAP beside pytorch_optimizer's."""

from collections.abc import Sequence
from typing import Any

import pytest
from compared import Case, Oracle, distance, torch_oracle

from kopt.rules import SOAP

torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
pytorch_optimizer = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is in the extra [peers]")


class Ridged(pytorch_optimizer.SOAP):
    """The package's, with the ridge that orders the eigenvectors of 0, of which every library returns others."""

    @staticmethod
    def get_orthogonal_matrix(mat: Sequence[Any]) -> list[Any]:
        found = []
        for one in mat:
            if len(one) > 0:
                exact = one.double()
                slope = torch.linspace(1, 1 / len(one), len(one), dtype=torch.float64)
                exact = exact + 1e-4 * exact.trace() * torch.diag(slope)
                found.append(torch.linalg.eigh(exact)[1].flip(1).float())
            else:
                found.append(one)
        return found


def package(kind: type = Ridged, **arguments: Any) -> Oracle:
    return torch_oracle(lambda parameters: kind(parameters, **arguments))


CASES = [
    Case(SOAP(), package(), tolerance=1e-3),
    Case(
        SOAP(0.9, 0.99, shampoo_beta=0.9, weight_decay=0, every=8),
        package(betas=(0.9, 0.99), shampoo_beta=0.9, weight_decay=0, precondition_frequency=8),
        tolerance=1e-3,
    ),
    Case(
        SOAP(0.9, 0.95, weight_decay=0.1, every=10, largest=5, vectors=True),
        package(
            betas=(0.9, 0.95), weight_decay=0.1, precondition_frequency=10, max_precondition_dim=5, precondition_1d=True
        ),
        tolerance=1e-3,
        only=(
            "quadratic",
            "logistic kernel",
            "embedding",
            "convolution",
            "matrix",
            "scale",
        ),  # two of bias' three are 0
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance
