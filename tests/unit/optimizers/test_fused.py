"""Adam, AdamW and NAdamW of a large tensor by TensorFlow's kernel: they are what the rules are, in any program."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.optimizers import Optimizer
from kopt.optimizers.packing import SMALL
from kopt.rules import Adam, AdamW, AMSGrad, Lion, NAdamW, Rule

RATE = 2**-7  # of which PyTorch's 1 - rate * decay, in float32, is exact
SHAPE, STEPS = (130, 130), 200  # one large tensor; with a small one beside it
assert SHAPE[0] * SHAPE[1] > SMALL
RULES = [Adam(), Adam(0.8, 0.95, 1e-4, False), AdamW(0.95, 0.98, weight_decay=0.1), NAdamW(0.8, 0.99, 1e-6, 0.1)]
KERNEL = "ResourceApplyAdam"
OTHERS = [NAdamW(corrected_ahead=True), AMSGrad(), Lion()]


class Derived(AdamW):
    """A rule whose formula may be another than its parent's."""


def values(seed: int) -> np.ndarray:
    """Numbers of sizes from 1e-3 to 1e3."""
    random = np.random.default_rng(seed)
    return (random.normal(size=SHAPE) * 10 ** random.uniform(-3, 3, SHAPE)).astype("float32")


def weights() -> np.ndarray:
    """Numbers that 200 updates change by as much as they are."""
    return np.random.default_rng(0).normal(0, 0.3, SHAPE).astype("float32")


def made(rule: Rule, start: np.ndarray) -> tuple[Optimizer, list[keras.Variable]]:
    variables = [keras.Variable(start), keras.Variable(start[0])]
    optimizer = Optimizer(rule, RATE)
    optimizer.build(variables)
    return optimizer, variables


def kernels(optimizer: Optimizer, variables: list[keras.Variable]) -> int:
    """The number of kernels in a program of one update."""
    gradients = [tf.ones(one.shape) for one in variables]
    traced = tf.function(lambda: optimizer.apply(gradients, variables)).get_concrete_function()
    return sum(one.type == KERNEL for one in traced.graph.get_operations())


@pytest.mark.parametrize(("rule", "jit"), [*((rule, False) for rule in RULES), (RULES[-1], True)])
def test_200_updates_are_those_of_the_rule(rule: Rule, jit: bool) -> None:
    """With a decay and a schedule, as beside the oracles, which the rules themselves were put beside."""
    start, gradients = weights(), np.stack([values(seed) for seed in (1, 2, 3, 4)])
    rates = (RATE * (1 - np.arange(STEPS) / STEPS)).astype("float32")
    optimizer, variables = made(rule, start)
    assert kernels(optimizer, variables) == 1

    @tf.function(jit_compile=jit)
    def ours(gradient: tf.Tensor, rate: tf.Tensor) -> None:
        optimizer.learning_rate = rate
        optimizer.apply([gradient, gradient[0]], variables)

    @tf.function
    def bare(gradient: tf.Tensor, state: list, parameter: tf.Tensor, rate: tf.Tensor, count: tf.Tensor):
        [update], state = rule.update([gradient], state, [parameter], rate, count)
        return parameter + update, state

    expected, state = tf.constant(start), rule.init([tf.constant(start)])
    for count, rate in enumerate(rates, 1):
        gradient = tf.constant(gradients[count % 4] * (1 + count % 7))
        ours(gradient, tf.constant(rate))
        expected, state = bare(gradient, state, expected, tf.constant(rate), tf.constant(count))
    size = np.maximum(np.abs(expected), np.abs(expected).mean())
    assert np.max(np.abs(variables[0] - expected) / size) <= 1e-5
    np.testing.assert_allclose(variables[1], variables[0][0], rtol=2e-5, atol=1e-5)  # the small one has no kernel


@pytest.mark.parametrize(
    ("rule", "decay"), [(Adam(epsilon=1e-12), 0.0), (AdamW(epsilon=1e-12, weight_decay=0.125), 0.125)]
)
def test_torch_agrees(rule: Rule, decay: float) -> None:
    torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
    optimizer, variables = made(rule, weights())
    theirs = torch.nn.Parameter(torch.tensor(weights()))
    peer = torch.optim.AdamW([theirs], RATE, eps=1e-12, weight_decay=decay)
    update = tf.function(lambda gradient: optimizer.apply([gradient, gradient[0]], variables))
    gradients = [values(seed) for seed in range(1, 6)]
    for step in range(STEPS):
        gradient = gradients[step % 5]
        update(tf.constant(gradient))
        theirs.grad = torch.tensor(gradient)
        peer.step()
    expected = theirs.detach().numpy()
    size = np.maximum(np.abs(expected), np.abs(expected).mean())
    assert np.max(np.abs(variables[0] - expected) / size) <= 1e-5


@pytest.mark.parametrize("rule", [*OTHERS, Derived(), Adam(beta_1=0.99999999), AdamW(beta_2=0.999999)], ids=repr)
def test_other_rules_and_derived_ones_have_no_kernel(rule: Rule) -> None:
    assert kernels(*made(rule, values(0))) == 0


def test_small_tensors_and_half_precision_have_no_kernel() -> None:
    assert kernels(*made(Adam(), values(0)[:2])) == 0
    variables = [keras.Variable(tf.cast(values(0), "float16"), dtype="float16"), keras.Variable(values(0)[0])]
    assert kernels(Optimizer(Adam(), RATE), variables) == 0


@pytest.mark.parametrize("rule", [Adam(), AdamW(), NAdamW()], ids=repr)
def test_updates_are_finite_after_gradients_of_any_size_and_what_is_not_finite_is_seen(rule: Rule) -> None:
    """Twice such a gradient, then a usual one; the look at a program's end relies on the second."""
    usual = np.random.default_rng(5).normal(size=SHAPE).astype("float32")
    for size in (0.0, 1e-30, 1e30):
        optimizer, variables = made(rule, usual)
        for gradient in (size * usual, size * usual, usual):
            optimizer.apply([tf.constant(gradient), tf.constant(usual[0])], variables)
            assert all(np.all(np.isfinite(one)) for one in optimizer.variables + variables)
    for wrong in (np.inf, -np.inf, np.nan):
        optimizer, variables = made(rule, usual)
        bad = usual.copy()
        bad[3, 4] = wrong
        for gradient in (usual, bad, usual):
            optimizer.apply([tf.constant(gradient), tf.constant(usual[0])], variables)
        assert not np.isfinite(variables[0].numpy()[3, 4])


def test_a_parameter_without_gradient_stays_and_counts_from_its_first() -> None:
    start = values(0)
    optimizer, (large, small) = made(AdamW(), start)
    fresh, (alone, other) = made(AdamW(), start)
    for _ in range(3):
        with pytest.warns(UserWarning, match="Gradients do not exist"):
            optimizer.apply([None, tf.ones(small.shape)], [large, small])
    np.testing.assert_array_equal(large, start)
    for seed in (1, 2):
        optimizer.apply([tf.constant(values(seed)), tf.ones(small.shape)], [large, small])
        fresh.apply([tf.constant(values(seed)), tf.ones(small.shape)], [alone, other])
    np.testing.assert_allclose(large, alone, rtol=1e-6)


def test_decays_and_betas_that_are_scheduled_are_taken() -> None:
    """Numbers as tensors, as `Scheduled` and a search give them."""
    start, rule = values(0), AdamW(weight_decay=0.5)
    optimizer, variables = made(rule, start)
    optimizer.live = {"weight_decay": lambda past: 0.5 / (1.0 + tf.cast(past, "float64"))}
    for _ in range(2):
        optimizer.apply([tf.zeros(SHAPE), tf.zeros(SHAPE[1])], variables)
    np.testing.assert_allclose(variables[0], start * (1 - RATE * 0.5) * (1 - RATE * 0.25), rtol=1e-6)
