"""LARS, LAMB, NovoGrad and Adam-mini beside pytorch_optimizer's, optax's and the authors'."""

import numpy as np
import pytest
from compared import Arrays, Case, Oracle, distance, optax_oracle, torch_oracle

from kopt.rules import LAMB, LARS, AdamMini, NovoGrad

torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")
theirs = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is in the extra [peers]")


def seen_as(oracle: Oracle, to, back) -> Oracle:
    """The oracle on tensors in another layout."""

    def begin(start: Arrays, rates):
        shapes = [value.shape for value in start]
        step = oracle([to(value) for value in start], rates)
        return lambda gradients: [
            back(value, shape) for value, shape in zip(step([to(one) for one in gradients]), shapes)
        ]

    return begin


def lars(**numbers) -> Oracle:
    return torch_oracle(lambda parameters: theirs.LARS(parameters, foreach=False, **numbers))


def rows(value: np.ndarray) -> np.ndarray:
    """A tensor as torch has it: outputs first."""
    return np.ascontiguousarray(value.reshape(-1, value.shape[-1]).T) if value.ndim > 1 else value


def columns(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return value.T.reshape(shape) if len(shape) > 1 else value


def adam_mini(decay: float, betas: tuple[float, float], eps: float) -> Oracle:
    """Plain NumPy, float64: algorithm 1 with a block for each output unit and each other tensor."""

    def begin(start: Arrays, rates):
        parameters = [value.astype("float64") for value in start]
        m, v, left, count = [0.0] * len(start), [0.0] * len(start), iter(rates), iter(range(1, len(rates) + 1))

        def step(gradients: Arrays) -> Arrays:
            rate, time = next(left), next(count)
            for place, gradient in enumerate(value.astype("float64") for value in gradients):
                square = np.square(gradient)
                mean = square.mean(tuple(range(gradient.ndim - 1))) if gradient.ndim > 1 else square.mean()
                m[place] = betas[0] * m[place] + (1 - betas[0]) * gradient
                v[place] = betas[1] * v[place] + (1 - betas[1]) * mean
                root = np.sqrt(v[place] / (1 - betas[1] ** time)) + eps
                change = m[place] / (1 - betas[0] ** time) / root
                parameters[place] = parameters[place] * (1 - rate * decay) - rate * change
            return [value.astype("float32") for value in parameters]

        return step

    return begin


def package_mini(**numbers) -> Oracle:
    """The authors' class: all tensors of an MLP, by rows, or one block each; it decays neither biases nor norms."""
    package = pytest.importorskip("adam_mini", reason="adam-mini is not in an extra")

    def make(parameters):
        names = [f"mlp{place}.weight" if value.ndim > 1 else f"p{place}" for place, value in enumerate(parameters)]
        return package.Adam_mini(zip(names, parameters), verbose=False, dim=8, n_heads=1, **numbers)

    return seen_as(torch_oracle(make), rows, columns)


CASES = [
    Case(LARS(), lars(), rate=0.5),
    Case(LARS(0.01, 0.8, 0.02), lars(weight_decay=0.01, momentum=0.8, trust_coefficient=0.02), rate=0.2),
    Case(
        LARS(0.1, 0.5, 0.02, nesterov=True),
        lars(weight_decay=0.1, momentum=0.5, trust_coefficient=0.02, nesterov=True),
        rate=0.02,
    ),
    Case(LAMB(), optax_oracle(lambda rate: optax.lamb(rate))),
    Case(LAMB(0.8, 0.99, 1e-8, 0.1), optax_oracle(lambda rate: optax.lamb(rate, 0.8, 0.99, 1e-8, weight_decay=0.1))),
    Case(LAMB(0.5, 0.9, 1e-4, 0.01), optax_oracle(lambda rate: optax.lamb(rate, 0.5, 0.9, 1e-4, weight_decay=0.01))),
    Case(NovoGrad(), optax_oracle(lambda rate: optax.novograd(rate))),
    Case(
        NovoGrad(0.95, 0.98, 1e-8, 0.01),
        optax_oracle(lambda rate: optax.novograd(rate, 0.95, 0.98, 1e-8, weight_decay=0.01)),
    ),
    Case(
        NovoGrad(0.5, 0.9, 1e-4, 0.1),
        optax_oracle(lambda rate: optax.novograd(rate, 0.5, 0.9, 1e-4, weight_decay=0.1)),
    ),
    Case(AdamMini(), adam_mini(0.0, (0.9, 0.999), 1e-8)),
    Case(AdamMini(0.8, 0.99, 1e-6, 0.1), adam_mini(0.1, (0.8, 0.99), 1e-6)),
    Case(AdamMini(0.9, 0.95, 1e-8, 0.01), adam_mini(0.01, (0.9, 0.95), 1e-8)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance


def test_the_authors_package_agrees() -> None:
    case = Case(AdamMini(0.9, 0.95, weight_decay=0.1), package_mini(betas=(0.9, 0.95), weight_decay=0.1))
    assert distance(case) <= case.tolerance
