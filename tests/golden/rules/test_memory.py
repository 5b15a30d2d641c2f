"""Adafactor, SM3, 8-bit Adam, GaLore and APOLLO beside torch's, optax's, and algorithms in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from compared import Arrays, Case, Oracle, distance, optax_oracle, torch_oracle

from kopt.rules import APOLLO, SM3, Adafactor, Adam8bit, GaLore
from kopt.rules.eight_bit import code_map, dequantized, quantize
from kopt.rules.low_rank import random_signs

torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")

NET = ("embedding", "convolution", "matrix")  # squares of its gradients are within the seven decades of a block


def adafactor(**numbers) -> Oracle:
    return torch_oracle(lambda parameters: torch.optim.Adafactor(parameters, foreach=False, **numbers))


def sm3(momentum: float, beta: float = 1.0, eps: float = 1e-8) -> Oracle:
    """optax's, which refuses scalars: as vectors."""

    def make(rate):
        from_gradients = optax.scale_by_sm3(momentum, beta, eps)
        return optax.chain(from_gradients, optax.scale_by_learning_rate(rate))

    def begin(start: Arrays, rates):
        shapes = [value.shape for value in start]
        step = optax_oracle(make)([np.atleast_1d(value) for value in start], rates)

        def change(gradients: Arrays) -> Arrays:
            found = step([np.atleast_1d(value) for value in gradients])
            return [value.reshape(shape) for value, shape in zip(found, shapes)]

        return change

    return begin


def by_numpy(one, rule) -> Oracle:
    """An oracle that changes one tensor in float64: one(rule, gradient, state, parameter, rate, count) -> the new."""

    def begin(start: Arrays, rates):
        parameters, states = [value.astype("float64") for value in start], [{} for _ in start]
        steps = iter(enumerate(rates, 1))

        def step(gradients: Arrays) -> Arrays:
            count, rate = next(steps)
            for place, gradient in enumerate(gradients):
                given = gradient.astype("float64")
                parameters[place] = one(rule, given, states[place], parameters[place], rate, count)
            return [value.astype("float32") for value in parameters]

        return step

    return begin


def moments(rule, gradient, state) -> np.ndarray:
    state["m"] = rule.beta_1 * state.get("m", 0) + (1 - rule.beta_1) * gradient
    state["v"] = rule.beta_2 * state.get("v", 0) + (1 - rule.beta_2) * gradient**2
    return state["m"]


def correction(rule, count: int) -> float:
    return np.sqrt(1 - rule.beta_2**count) / (1 - rule.beta_1**count)


def rounded(numbers: np.ndarray, block: int, signed: bool) -> np.ndarray:
    """Numbers as they are after quantization, from the definition of the maps."""
    table = [0.0, 1.0]
    for decade in range(7):
        parts = 2**decade * (1 if signed else 2)
        centers = [10.0 ** (decade - 6) * (0.1 + 0.9 * (part + 0.5) / parts) for part in range(parts)]
        table += centers + ([-one for one in centers] if signed else [])
    table, found = np.sort(np.asarray(table, "float32").astype("float64")), np.zeros(numbers.size)
    for begin in range(0, numbers.size, block):
        part = numbers.ravel()[begin : begin + block]
        scale = np.abs(part).max()
        if scale:
            codes = np.abs(part[:, None] / scale - table).argmin(1)
            codes = codes if signed else np.maximum(codes, part > 0)
            found[begin : begin + block] = scale * table[codes]
    return found.reshape(numbers.shape)


def eight_bit(rule, gradient, state, parameter, rate, count) -> np.ndarray:
    moments(rule, gradient, state)
    root = np.sqrt(state["v"] / (1 - rule.beta_2**count)) + rule.epsilon
    change = state["m"] / (1 - rule.beta_1**count) / root
    if parameter.size >= rule.least:
        state["m"], state["v"] = (
            rounded(state[name], rule.block, signed) for name, signed in (("m", True), ("v", False))
        )
    return parameter - rate * change - rate * rule.weight_decay * parameter


def as_matrix(rule, gradient: np.ndarray) -> np.ndarray | None:
    """The matrix that is projected, not wider than high."""
    if gradient.ndim < 2:
        return None
    matrix = gradient.reshape(-1, gradient.shape[-1])
    matrix = matrix.T if matrix.shape[0] < matrix.shape[1] else matrix
    return matrix if matrix.shape[1] > rule.rank else None


def shaped(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    wide = matrix.shape[1] != shape[-1] or (matrix.size // shape[-1] < shape[-1])
    return (matrix.T if wide else matrix).reshape(shape)


def galore(rule, gradient, state, parameter, rate, count) -> np.ndarray:
    matrix = as_matrix(rule, gradient)
    if matrix is not None and (count - 1) % rule.every == 0:
        new = np.linalg.svd(matrix, full_matrices=False)[2][: rule.rank].T
        state["p"] = new * np.where((new * state.get("p", new)).sum(0) < 0, -1, 1)
    moments(rule, gradient if matrix is None else matrix @ state["p"], state)
    change = state["m"] / (np.sqrt(state["v"]) + rule.epsilon)
    if matrix is not None:
        change = shaped(rule.scale * change @ state["p"].T, gradient.shape)
    return parameter - rate * (correction(rule, count) * change + rule.weight_decay * parameter)


def apollo(rule, gradient, state, parameter, rate, count) -> np.ndarray:
    matrix = as_matrix(rule, gradient)
    if matrix is None:
        moments(rule, gradient, state)
        change = state["m"] / (np.sqrt(state["v"]) + rule.epsilon)
        return parameter - rate * (correction(rule, count) * change + rule.weight_decay * parameter)
    signs = random_signs(matrix.shape[1], rule.rank, tf.constant((count - 1) // rule.every)).numpy()
    low = matrix @ (signs / np.sqrt(rule.rank))
    moments(rule, low, state)
    small = state["m"] / (np.sqrt(state["v"]) + rule.epsilon)
    if rule.by == "channel":
        factor = np.linalg.norm(small, axis=1, keepdims=True) / (np.linalg.norm(low, axis=1, keepdims=True) + 1e-8)
    else:
        factor = np.linalg.norm(small) / (np.linalg.norm(low) + 1e-8)
    scaled = matrix * factor
    length = np.linalg.norm(scaled)
    limiter = max(length / (state["length"] + 1e-8), 1.01) / 1.01 if "length" in state else 1.0
    state["length"] = length / limiter
    change = shaped(scaled / limiter * np.sqrt(rule.scale), gradient.shape)
    return parameter - rate * (correction(rule, count) * change + rule.weight_decay * parameter)


EIGHT = [Adam8bit(least=0), Adam8bit(0.8, 0.99, 1e-6, 0.1, block=16, least=10), Adam8bit(0.95, 0.98, 1e-8, 0.01, 4, 9)]
LOW = [GaLore(rank=1), GaLore(0.8, 0.99, 1e-6, 0.1, rank=2, every=50), GaLore(0.9, 0.95, 1e-8, 0.01, 3, 20, scale=1.0)]
MINI = [
    APOLLO(),
    APOLLO(0.8, 0.99, 1e-6, 0.1, rank=2, every=50, scale=4.0),
    APOLLO(0.9, 0.95, 1e-8, 0.01, 2, 20, 1.0, by="channel"),
]
CASES = [
    Case(Adafactor(), adafactor()),
    Case(Adafactor(0.5, weight_decay=0.1), adafactor(beta2_decay=-0.5, weight_decay=0.1), rate=0.05),
    Case(
        Adafactor(0.9, 1e-4, 0.1, 2.0, 0.01),
        adafactor(beta2_decay=-0.9, eps=(1e-4, 0.1), d=2.0, weight_decay=0.01),
        rate=0.1,
    ),
    Case(SM3(), sm3(0.9), rate=0.1),
    Case(SM3(0.5, 0.9), sm3(0.5, 0.9)),
    # Some processors round the reciprocal root of its small sums otherwise: 3.4e-5 off.
    Case(SM3(0.0, 0.99, 1e-6), sm3(0.0, 0.99, 1e-6), tolerance=1e-4),
    *(Case(rule, by_numpy(eight_bit, rule), tolerance=1e-5) for rule in EIGHT),
    *(Case(rule, by_numpy(galore, rule), tolerance=1e-3) for rule in LOW),
    *(Case(rule, by_numpy(apollo, rule), rate=0.001) for rule in MINI),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance


def test_8_bits_stay_near_exact_moments() -> None:
    """The distance of the quantization itself, after 200 steps in blocks of 256."""
    exact = torch_oracle(lambda parameters: torch.optim.Adam(parameters, eps=1e-12))
    assert 1e-4 < distance(Case(Adam8bit(epsilon=1e-12, least=0), exact, only=NET)) < 0.2
    assert distance(Case(Adam8bit(epsilon=1e-12), exact)) <= 1e-5  # all tensors are small


def test_projections_of_full_rank_are_not_made() -> None:
    exact = torch_oracle(lambda parameters: torch.optim.Adam(parameters, eps=1e-12))
    assert distance(Case(GaLore(epsilon=1e-12), exact)) <= 1e-5


@pytest.mark.parametrize("signed", [True, False])
def test_codes_are_bitsandbytes(signed: bool) -> None:
    functional = pytest.importorskip("bitsandbytes.functional", reason="bitsandbytes is not in an extra")
    table = functional.create_dynamic_map(signed=signed)
    np.testing.assert_allclose(code_map(signed), table.numpy(), rtol=1e-6)
    numbers = np.random.default_rng(0).normal(size=1024).astype("float32") ** 3
    numbers = numbers if signed else np.abs(numbers)
    codes, state = functional.quantize_blockwise(torch.tensor(numbers), table, blocksize=256)
    ours, scales = quantize(tf.constant(numbers), 256, signed)
    np.testing.assert_array_equal(scales, state.absmax.numpy())
    back = functional.dequantize_blockwise(codes, state).numpy()
    found = dequantized(ours, scales, tf.TensorShape([1024]), signed).numpy()
    same = codes.numpy().ravel() == ours.numpy()
    np.testing.assert_allclose(found[same], back[same], rtol=1e-6)
    # On the CPU 7 to 10 % of their codes are not the nearest; of ours, only those of what would be 0.
    assert np.mean(same) > 0.85
    farther = (np.abs(found - numbers) - np.abs(back - numbers)) / np.repeat(scales.numpy(), 256)
    assert np.all(farther[signed | (ours.numpy() != 1)] < 1e-6)
