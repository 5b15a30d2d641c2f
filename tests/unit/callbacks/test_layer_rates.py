"""Rates of layers against torch's parameter groups."""

import keras
import numpy as np
import pytest

from kopt import select
from kopt.callbacks import LayerRates, LearningRate
from kopt.optimizers import Decayed
from kopt.schedules import Cosine
from kopt.training import Loop

HOW = {"batch_size": 20, "shuffle": False, "verbose": 0}
RATES = {select.depth(0): 0.1, select.biases: 0.5}
OPTIMIZERS = {
    "sgd": (lambda: keras.optimizers.SGD(0.05), lambda torch, groups: torch.optim.SGD(groups, 0.05)),
    "momentum": (
        lambda: keras.optimizers.SGD(0.02, momentum=0.9),
        lambda torch, groups: torch.optim.SGD(groups, 0.02, momentum=0.9),
    ),
    "adamw": (
        lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-8),
        lambda torch, groups: torch.optim.AdamW(groups, 0.01, weight_decay=0.1),
    ),
    "decayed": (
        lambda: Decayed(keras.optimizers.Adam(0.01, epsilon=1e-8), 0.1, to=select.everything),
        lambda torch, groups: torch.optim.AdamW(groups, 0.01, weight_decay=0.1),
    ),
}


def trained_by_torch(start, points, make, multipliers, epochs):
    """The 10-5-1 network's weights by an optimizer whose parameter groups have multiplied rates."""
    torch = pytest.importorskip("torch")
    weights = [torch.nn.Parameter(torch.tensor(weight)) for weight in start]
    optimizer = make(torch, [{"params": [weight]} for weight in weights])
    rates = [group["lr"] for group in optimizer.param_groups]
    x, y = map(torch.tensor, points)
    for epoch in range(epochs):
        for group, rate, multiplier in zip(optimizer.param_groups, rates, multipliers(epoch)):
            group["lr"] = rate * multiplier
        for first in range(0, len(x), 20):
            kernel, bias, kernel_2, bias_2 = weights
            predicted = torch.relu(x[first : first + 20] @ kernel + bias) @ kernel_2 + bias_2
            optimizer.zero_grad()
            ((predicted - y[first : first + 20]) ** 2).mean().backward()
            optimizer.step()
    return [weight.detach().numpy() for weight in weights]


@pytest.mark.parametrize("how", ["fit", "fit, 5 steps", "loop", "loop, jit"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_layer_rates_are_parameter_groups(optimizer: str, how: str, network, points) -> None:
    ours, theirs = OPTIMIZERS[optimizer]
    model = network(ours(), steps_per_execution=5 if "5" in how else 1)
    start = model.get_weights()
    fit = Loop(model, jit="jit" in how).fit if "loop" in how else model.fit
    fit(*points, epochs=4, callbacks=[LayerRates(RATES)], **HOW)
    expected = trained_by_torch(start, points, theirs, lambda epoch: [0.1, 0.1, 1.0, 0.5], 4)
    for one, other in zip(model.get_weights(), expected):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-6)


def test_decay_by_depth_and_unfreezing_without_a_retrace(network, points) -> None:
    model = network("sgd")
    start, traces = model.get_weights(), []
    call = model.call

    def counted(*arguments, **named):
        traces.append(1)
        return call(*arguments, **named)

    model.call = counted
    rates = LayerRates(depth_decay=0.5, unfreeze=2)
    model.fit(*points, epochs=4, callbacks=[rates], **HOW)
    assert len(traces) <= 2  # of the step, and of building it
    multipliers = lambda epoch: [0.5 * (epoch >= 2)] * 2 + [1.0, 1.0]
    expected = trained_by_torch(start, points, lambda torch, groups: torch.optim.SGD(groups, 0.01), multipliers, 4)
    for one, other in zip(model.get_weights(), expected):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_what_stands_still_keeps_every_bit_and_what_has_one_moves_as_alone(network, points) -> None:
    model, stock = network("adam"), network("adam")
    start = model.get_weights()
    Loop(model, jit=False).fit(*points, epochs=1, callbacks=[LayerRates({select.depth(0): 0})], **HOW)
    for one, other in zip(model.get_weights()[:2], start[:2]):
        np.testing.assert_array_equal(one, other)
    model.set_weights(start)
    model.compile("adam", "mse")
    stock.compile("adam", "mse")
    model.fit(*points, epochs=2, callbacks=[LayerRates()], **HOW)
    stock.fit(*points, epochs=2, **HOW)
    for one, other in zip(model.get_weights(), stock.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_under_a_schedule(network, points) -> None:
    model = network("sgd")
    start = model.get_weights()
    schedule = LearningRate(Cosine(0.05), unit="epoch")
    model.fit(*points, epochs=2, callbacks=[schedule, LayerRates({select.depth(0): 0.0})], **HOW)
    np.testing.assert_array_equal(model.get_weights()[0], start[0])
    assert not np.array_equal(model.get_weights()[2], start[2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LayerRates({"dense": 1.0}),
            r"a key of rates must be a selector, .*, or .*, got 'dense'",
        ),
        (lambda: LayerRates({select.kernels: -1.0}), "rates must have finite numbers >= 0 as values, got -1.0"),
        (lambda: LayerRates(depth_decay=0.0), r"depth_decay must be in \(0, 1\], got 0.0"),
        (lambda: LayerRates(unfreeze=0), "unfreeze must be a whole number >= 1 of epochs, got 0"),
    ],
)
def test_bad_arguments(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_models(network, points) -> None:
    with pytest.raises(ValueError, match="selector must choose something in model"):
        network().fit(*points, callbacks=[LayerRates({select.path("nowhere"): 1.0})], **HOW)
    with pytest.raises(ValueError, match="use_ema must be False"):
        network(keras.optimizers.SGD(0.1, use_ema=True)).fit(*points, callbacks=[LayerRates()], **HOW)
