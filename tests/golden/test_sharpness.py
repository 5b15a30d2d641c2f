"""SAM and ASAM against pytorch_optimizer's, the authors' ASAM and optax's: 30 steps of a net with a convolution."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kopt.training import Loop, TrainStep, sharpness
from kopt.values import bind, replace

STEPS, ROWS = 30, 16
DRAW = np.random.default_rng(0)
IMAGES = DRAW.normal(size=(STEPS * ROWS, 6, 6, 2)).astype("float32")
LABELS = (IMAGES[:, 2:4, 2:4].sum(axis=(1, 2)) @ DRAW.normal(size=(2, 3))).argmax(axis=1)


def network(biases: bool) -> keras.Sequential:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, activation="tanh", use_bias=biases),
            layers.Flatten(),
            layers.Dense(3, use_bias=biases),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(True))
    return model


def trained(value: sharpness.Sharpness | None, biases: bool) -> list[np.ndarray]:
    model = network(biases)
    fit = Loop(model, jit=False, step=TrainStep(model, sharpness=value)).fit
    fit(IMAGES, LABELS, batch_size=ROWS, shuffle=False, verbose=0)
    return model.get_weights()


class AuthorsASAM:
    """Algorithm 1 as the authors wrote it: weights have |w| + eta, biases 1."""

    def __init__(self, weights, optimizer, rho: float, eta: float):
        self.weights, self.optimizer, self.rho, self.eta = weights, optimizer, rho, eta

    def step(self, closure) -> None:
        import torch

        with torch.no_grad():
            sizes = [one.abs() + self.eta if one.ndim > 1 else torch.ones_like(one) for one in self.weights]
            steeper = [size * one.grad for size, one in zip(sizes, self.weights)]
            norm = torch.sqrt(sum((one**2).sum() for one in steeper)) + 1e-16
            kept = [one.clone() for one in self.weights]
            for one, size, steep in zip(self.weights, sizes, steeper):
                one.add_(size * steep * self.rho / norm)
        closure()
        with torch.no_grad():
            for one, old in zip(self.weights, kept):
                one.copy_(old)
        self.optimizer.step()


def by_torch(make, biases: bool) -> list[np.ndarray]:
    """Train in PyTorch by what `make(weights)` makes; return the weights in Keras' layout."""
    import torch

    weights = []
    for one in network(biases).get_weights():
        one = one.transpose(3, 2, 0, 1) if one.ndim == 4 else one
        weights.append(torch.tensor(one.copy(), requires_grad=True))
    step = make(weights)
    for start in range(0, STEPS * ROWS, ROWS):
        x = torch.tensor(IMAGES[start : start + ROWS].transpose(0, 3, 1, 2).copy())
        y = torch.tensor(LABELS[start : start + ROWS])

        def closure() -> None:
            for one in weights:
                one.grad = None
            kernel, matrix = weights[:: len(weights) // 2]
            bias, offset = (weights[1], weights[3]) if biases else (None, 0.0)
            hidden = torch.tanh(torch.nn.functional.conv2d(x, kernel, bias)).permute(0, 2, 3, 1).flatten(1)
            torch.nn.functional.cross_entropy(hidden @ matrix + offset, y).backward()

        closure()
        step.step(closure)
    found = [one.detach().numpy() for one in weights]
    return [one.transpose(2, 3, 1, 0) if one.ndim == 4 else one for one in found]


def distance(ours, theirs) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("rho", [0.05, 0.5])
@pytest.mark.parametrize("adaptive", [False, True])
def test_pytorch_optimizers_sam(rho: float, adaptive: bool) -> None:
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("pytorch_optimizer")
    # Its adaptive=True scales biases too, which the authors do not: without biases and eta both are one.
    how = {"rho": rho, "adaptive": adaptive, "lr": 0.1, "momentum": 0.9}
    expected = by_torch(lambda weights: package.SAM(weights, torch.optim.SGD, **how), biases=not adaptive)
    value = sharpness.ASAM(rho, eta=0) if adaptive else sharpness.SAM(rho)
    found = trained(value, biases=not adaptive)
    assert distance(found, expected) <= 1e-5
    assert distance(trained(None, biases=not adaptive), expected) > 1e-3  # the counter-test: it is not plain descent


@pytest.mark.parametrize(("rho", "eta"), [(0.5, 0.01), (2.0, 0.1)])
def test_the_authors_asam_with_biases(rho: float, eta: float) -> None:
    torch = pytest.importorskip("torch")
    expected = by_torch(
        lambda weights: AuthorsASAM(weights, torch.optim.SGD(weights, lr=0.1, momentum=0.9), rho, eta), biases=True
    )
    assert distance(trained(sharpness.ASAM(rho, eta), biases=True), expected) <= 1e-5


def test_optaxs_sam() -> None:
    optax, jax = pytest.importorskip("optax"), pytest.importorskip("jax")
    x, y = IMAGES.reshape(len(IMAGES), -1), LABELS.astype("float32")[:, None]

    def loss(weights, start):
        hidden = jax.numpy.tanh(x[start : start + ROWS] @ weights[0] + weights[1])
        return jax.numpy.mean((hidden @ weights[2] + weights[3] - y[start : start + ROWS]) ** 2)

    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((72,)), layers.Dense(5, activation="tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), "mse")
    weights = [jax.numpy.array(one) for one in model.get_weights()]
    away = optax.chain(optax.contrib.normalize(), optax.sgd(0.1))
    rule = optax.contrib.sam(optax.sgd(0.02, momentum=0.9), away, sync_period=2, opaque_mode=True)
    state = rule.init(weights)
    for start in range(0, STEPS * ROWS, ROWS):
        gradient = jax.grad(loss)(weights, start)
        updates, state = rule.update(gradient, state, weights, grad_fn=lambda at, _: jax.grad(loss)(at, start))
        weights = optax.apply_updates(weights, updates)
    step = TrainStep(model, sharpness=sharpness.SAM(0.1))
    Loop(model, jit=False, step=step).fit(x, y, batch_size=ROWS, shuffle=False, verbose=0)
    assert distance(model.get_weights(), [np.asarray(one) for one in weights]) <= 1e-5


VALUES = [sharpness.SAM(0.05), sharpness.ASAM(0.5, eta=0.1)]
WEIGHTS = [tf.constant(DRAW.normal(size=shape), "float32") for shape in [(6, 4), (4,), (3, 3, 2, 5), ()]]
GRADIENTS = [tf.constant(DRAW.normal(size=one.shape), "float32") for one in WEIGHTS]


@pytest.mark.parametrize("value", VALUES)
def test_mapped_over_radii_equals_single_calls(value: sharpness.Sharpness) -> None:
    """The law of values."""
    radii = np.array([0.01, 0.5, 3.0])
    mapped = tf.vectorized_map(
        lambda rho: tuple(bind(value, {"rho": rho}).moved(GRADIENTS, WEIGHTS)), tf.constant(radii)
    )
    for place, rho in enumerate(radii):
        for one, other in zip(replace(value, {"rho": rho}).moved(GRADIENTS, WEIGHTS), mapped):
            np.testing.assert_allclose(one, other[place], rtol=1e-6)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30, np.inf])
def test_gradients_of_any_size_make_no_nan(value: sharpness.Sharpness, size: float) -> None:
    for one, weight in zip(value.moved([size * one for one in GRADIENTS], WEIGHTS), WEIGHTS):
        assert np.isfinite(one.numpy()).all() and np.abs(one - weight).max() <= 2


@pytest.mark.parametrize("value", VALUES)
def test_scaled_gradients_move_alike(value: sharpness.Sharpness) -> None:
    scaled = value.moved([1024 * one for one in GRADIENTS], WEIGHTS, tf.constant(1024.0))
    for one, other in zip(value.moved(GRADIENTS, WEIGHTS), scaled):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sharpness.SAM(0), "rho must be > 0, got 0.0."),
        (lambda: sharpness.ASAM(-1), "rho must be > 0, got -1.0."),
        (lambda: sharpness.ASAM(1, eta=-1), "eta must be >= 0, got -1.0."),
    ],
)
def test_refusals(make, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
