"""Updates of each rule against Keras' and PyTorch's own optimizers, and the first steps by hand."""

import keras
import numpy as np
import pytest

from kopt import rules
from kopt.optimizers import Optimizer

PAIRS = [
    (rules.GradientDescent(), 0.05, lambda: keras.optimizers.SGD(0.05)),
    (rules.Momentum(0.9), 0.02, lambda: keras.optimizers.SGD(0.02, momentum=0.9)),
    (rules.Nesterov(0.9), 0.02, lambda: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True)),
    (rules.Adam(), 0.01, lambda: keras.optimizers.Adam(0.01)),
    (rules.Adam(0.8, 0.95, 1e-4), 0.01, lambda: keras.optimizers.Adam(0.01, 0.8, 0.95, 1e-4)),
    (rules.AdamW(weight_decay=0.05), 0.01, lambda: keras.optimizers.AdamW(0.01, weight_decay=0.05)),
]
EXTRAS = [
    {},
    {"clipnorm": 0.1},
    {"global_clipnorm": 0.1},
    {"clipvalue": 0.05},
    {"use_ema": True},
    {"gradient_accumulation_steps": 2},
    {"weight_decay": 0.01},
]


@pytest.mark.parametrize(("rule", "rate", "theirs"), PAIRS)
def test_keras_agrees(rule, rate, theirs, network, points) -> None:
    """Keras' own without XLA is the reference for both programs."""
    reference = network(theirs(), jit_compile=False)
    reference.fit(*points, epochs=3, shuffle=False, verbose=0)
    for jit in (False, True):
        ours = network(Optimizer(rule, rate), jit_compile=jit)
        ours.fit(*points, epochs=3, shuffle=False, verbose=0)
        for one, other in zip(ours.get_weights(), reference.get_weights()):
            np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("extra", EXTRAS, ids=str)
def test_keras_arguments_do_what_they_do_in_keras(extra, network, points) -> None:
    x, y = points
    ours = network(Optimizer(rules.Nesterov(0.9), 0.02, **extra))
    reference = network(keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True, **extra))
    for model in (ours, reference):
        model.fit(x, y, epochs=3, shuffle=False, verbose=0)
    for one, other in zip(ours.get_weights(), reference.get_weights()):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("rule", "name", "arguments"),
    [
        (rules.GradientDescent(), "SGD", {}),
        (rules.Momentum(0.9), "SGD", {"momentum": 0.9}),
        (rules.Adam(epsilon=1e-12), "Adam", {"eps": 1e-12}),
        (rules.AdamW(epsilon=1e-12, weight_decay=0.1), "AdamW", {"eps": 1e-12, "weight_decay": 0.1}),
    ],
)
def test_torch_agrees(rule, name: str, arguments: dict) -> None:
    torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
    generator = np.random.default_rng(0)
    start, gradients = generator.normal(size=(4, 3)), generator.normal(size=(20, 4, 3))
    theirs = torch.nn.Parameter(torch.tensor(start))
    optimizer = getattr(torch.optim, name)([theirs], lr=0.01, **arguments)
    ours, state = start, rule.init([keras.ops.array(start, "float64")])
    for count, gradient in enumerate(gradients, 1):
        optimizer.zero_grad()
        theirs.grad = torch.tensor(gradient)
        optimizer.step()
        [update], state = rule.update([gradient], state, [keras.ops.array(ours, "float64")], 0.01, count)
        ours = ours + update.numpy()
        np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-9)


def test_first_steps_of_adam_by_hand() -> None:
    """With gradient 2 and then 1; the textbook form divides by neither 1 - beta ** count."""
    for corrected, first, second in ((True, -0.1, None), (False, -0.1 * 0.2 / (2 * 0.001**0.5), None)):
        rule = rules.Adam(epsilon=0.0, corrected=corrected)
        zero = keras.ops.zeros((1,))
        [update], state = rule.update([zero + 2], rule.init([zero]), [zero], 0.1, 1)
        assert float(update[0]) == pytest.approx(first, rel=1e-5)
        momentum, velocity = 0.9 * 0.2 + 0.1 * 1, 0.999 * 0.004 + 0.001 * 1
        second = momentum / velocity**0.5 * (((1 - 0.999**2) ** 0.5 / (1 - 0.9**2)) if corrected else 1.0)
        [update], _ = rule.update([zero + 1], state, [zero], 0.1, 2)
        assert float(update[0]) == pytest.approx(-0.1 * second, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rules.Momentum(1.0), "momentum must be in [0, 1), got 1.0."),
        (lambda: rules.Adam(beta_2=-0.1), "beta_2 must be in [0, 1), got -0.1."),
        (lambda: rules.Adam(epsilon=-1), "epsilon must be >= 0, got -1.0."),
        (lambda: rules.AdamW(weight_decay=-1), "weight_decay must be >= 0, got -1.0."),
        (lambda: Optimizer("adam"), "rule must be a kopt rule, got 'adam'."),
        (lambda: Optimizer(rules.Adam(), -0.1), "learning_rate must be finite and >= 0, got -0.1."),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
