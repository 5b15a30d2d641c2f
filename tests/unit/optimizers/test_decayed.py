"""Decayed: weight decay that reaches what it should, inside and around Keras' other wrappers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import load_model, rules, select
from kopt.callbacks import LearningRate, Scheduled
from kopt.optimizers import Decayed, Optimizer
from kopt.schedules import Cosine, Linear
from kopt.training import Loop

STEPS = 25
# In binary without a remainder: of 0.999, Keras' Adam alone is 4e-6 from torch's after 50 steps, in float64 as well.
BETAS = (0.875, 0.984375)


def torch_weights(model, x: np.ndarray, y: np.ndarray, *, rate: float, decay: float, rates=None) -> list[np.ndarray]:
    """The same network after 50 full-batch steps of torch's AdamW, in two parameter groups: kernels decay."""
    torch = pytest.importorskip("torch")
    weights = [torch.tensor(weight, requires_grad=True) for weight in model.get_weights()]
    groups = [{"params": weights[0::2], "weight_decay": decay}, {"params": weights[1::2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=BETAS, eps=1e-12)
    inputs, targets = torch.tensor(x), torch.tensor(y)
    for step in range(2 * STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate if rates is None else rates[step]
        optimizer.zero_grad()
        hidden = torch.relu(inputs @ weights[0] + weights[1])
        torch.mean((hidden @ weights[2] + weights[3] - targets) ** 2).backward()
        optimizer.step()
    return [weight.detach().numpy() for weight in weights]


def keras_adam(rate: float = 0.01) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(rate, *BETAS, epsilon=1e-12)


INNER = {
    "keras": keras_adam,
    "kopt": lambda: Optimizer(rules.Adam(*BETAS, epsilon=1e-12), 0.01),
    "multi": lambda: keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(keras_adam(), {".*bias": keras_adam()})
    ),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras_adam(), initial_scale=8.0),
}
AROUND = {
    "plain": lambda inner: Decayed(inner, 0.3),
    "scaled": lambda inner: keras.optimizers.LossScaleOptimizer(Decayed(inner, 0.3), initial_scale=8.0),
}
CASES = [(inner, around, False) for inner in INNER for around in AROUND if (inner, around) != ("scaled", "scaled")]
CASES += [("kopt", "plain", True), ("keras", "scaled", True)]


@pytest.mark.parametrize(("inner", "around", "loop"), CASES)
def test_it_is_torchs_adamw_in_parameter_groups_with_saving_in_the_middle(
    inner: str, around: str, loop: bool, network, points, tmp_path
) -> None:
    model = network(AROUND[around](INNER[inner]()))
    expected = torch_weights(model, *points, rate=0.01, decay=0.3)
    repeated = [np.tile(part, (STEPS, 1)) for part in points]
    how = {"batch_size": 100, "shuffle": False, "verbose": 0}
    (Loop(model, jit=False).fit if loop else model.fit)(*repeated, **how)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == STEPS
    (Loop(loaded, jit=False).fit if loop else loaded.fit)(*repeated, **how)
    for weight, other in zip(loaded.get_weights(), expected):
        np.testing.assert_allclose(weight, other, atol=1e-6)


def test_inside_a_multi_optimizer_each_has_its_own_decay(network, points) -> None:
    """The optimizer of the first layer decays, that of the second does not."""
    model = network()
    first = model.layers[0].kernel.path
    inside = keras.optimizers.OptimizerMap(
        Optimizer(rules.GradientDescent(), 0.1), {first: Decayed(keras.optimizers.SGD(0.1), 0.5)}
    )
    model.compile(keras.optimizers.MultiOptimizer(inside), "mse")
    before = [weight.copy() for weight in model.get_weights()]
    zeros = np.zeros((4, 10), "float32"), model(np.zeros((4, 10))).numpy()
    model.fit(*zeros, batch_size=4, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], before[0] * 0.95, rtol=1e-6)
    np.testing.assert_allclose(model.get_weights()[2], before[2], rtol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
def test_it_follows_the_learning_rates_schedule(jit: bool, network, points) -> None:
    model, schedule = (
        network(Decayed(Optimizer(rules.Adam(*BETAS, epsilon=1e-12), 0.01), 0.3)),
        Cosine(0.02, duration=60),
    )
    expected = torch_weights(model, *points, rate=0.02, decay=0.3, rates=[float(schedule(t)) for t in range(2 * STEPS)])
    how = {"epochs": 2 * STEPS, "batch_size": "full", "shuffle": False, "verbose": 0}
    Loop(model, jit=jit).fit(*points, callbacks=[LearningRate(schedule)], **how)
    for weight, other in zip(model.get_weights(), expected):
        np.testing.assert_allclose(weight, other, atol=2e-6)


def decays(model, x: np.ndarray, **how) -> list[float]:
    """By which factor each weight changed in a fit whose gradients are zero."""
    before = [weight.copy() for weight in model.get_weights()]
    model.fit(x, model(x).numpy(), shuffle=False, verbose=0, **how)
    return [float((new / old).mean()) if old.all() else 1.0 for old, new in zip(before, model.get_weights())]


def linear(optimizer):
    """A linear network without biases at zero: on inputs of zeros no gradient moves it."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input((10,)), keras.layers.Dense(5, name="body"), keras.layers.Dense(1, name="head")]
    model = keras.Sequential(layers, name="net")
    model.compile(optimizer, "mse")
    return model


ZEROS = np.zeros((8, 10), "float32")


def test_independent_of_the_learning_rate() -> None:
    model = linear(Decayed(keras.optimizers.SGD(0.01), 0.2, independent=True))
    assert decays(model, ZEROS, batch_size=8) == pytest.approx([0.8, 1.0, 0.8, 1.0])


def test_accumulated_gradients_decay_once_an_update() -> None:
    model = linear(Decayed(keras.optimizers.SGD(1.0, gradient_accumulation_steps=4), 0.2))
    assert decays(model, ZEROS, batch_size=1)[0] == pytest.approx(0.8**2)


def test_a_skipped_step_does_not_decay() -> None:
    model = linear(Decayed(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0)), 0.2))
    model.optimizer.build(model.trainable_variables)
    before = model.get_weights()
    model.fit(np.full((8, 10), 1e30, "float32"), np.zeros((8, 1)), verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


def test_one_around_another_decays_by_both() -> None:
    inside = linear(None)
    head = (select.kernels & select.path("head/*")).bind(inside)
    model = linear(Decayed(Decayed("sgd", 0.0, select.biases), 0.5, to=head, independent=True))
    assert decays(model, ZEROS, batch_size=8) == pytest.approx([1.0, 1.0, 0.5, 1.0])
    both = Decayed(Decayed(keras.optimizers.SGD(0.1), 0.5, independent=True), 0.5, to=head, independent=True)
    assert decays(linear(both), ZEROS, batch_size=8) == pytest.approx([0.5, 1.0, 0.25, 1.0])


def operations(optimizer, kernels: int) -> int:
    """How many operations a traced step of the network has that update it."""
    layers = [keras.layers.Dense(4) for _ in range(kernels)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer, "mse")
    model.optimizer.build(model.trainable_variables)
    step = tf.function(lambda: model.optimizer.apply([tf.ones_like(one) for one in model.trainable_variables]))
    return len(step.get_concrete_function().graph.get_operations())


def adamw_of_kernels() -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


@pytest.mark.parametrize("kernels", [2, 10])
def test_it_adds_no_more_operations_to_a_step_than_keras_adamw_does(kernels: int) -> None:
    adam = operations(keras.optimizers.Adam(0.01), kernels)
    ours, theirs = operations(Decayed("adam", 0.1), kernels), operations(adamw_of_kernels(), kernels)
    assert adam < ours <= theirs


def test_around_an_optimizer_that_is_built_it_goes_on(network, points) -> None:
    model = network(keras_adam())
    model.fit(*points, epochs=3, verbose=0)
    iterations, optimizer = int(model.optimizer.iterations), model.optimizer
    model.compile(Decayed(optimizer, 0.1), "mse")
    model.fit(*points, epochs=1, verbose=0)
    assert int(model.optimizer.iterations) == iterations + 4


@pytest.mark.parametrize("loop", [False, True])
def test_the_rate_is_live_and_saved(loop: bool, tmp_path) -> None:
    model = linear(Decayed(keras.optimizers.SGD(1.0), 0.5))
    model.fit(ZEROS, np.zeros((8, 1)), verbose=0)
    falling = Scheduled(model.optimizer.rate, Linear(0.5))
    before, fit = model.get_weights()[0], (Loop(model, jit=False).fit if loop else model.fit)
    history = fit(ZEROS, np.zeros((8, 1)), epochs=2, batch_size=8, callbacks=[falling], verbose=0).history
    assert history["weight_decay"] == [0.5, 0.25]
    np.testing.assert_allclose(model.get_weights()[0], before * 0.5 * 0.75, rtol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.rate) == 0.25 and loaded.optimizer.to == select.kernels
    model.save_weights(tmp_path / "model.weights.h5")
    other = linear(Decayed(keras.optimizers.SGD(1.0), 0.5))
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "model.weights.h5")
    assert float(other.optimizer.rate) == 0.25


def test_a_model_that_is_built_by_its_first_batch() -> None:
    model = keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile(Decayed(keras.optimizers.SGD(0.1), 0.1), "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    assert int(model.optimizer.iterations) == 1


def test_averaged_weights_are_the_inner_optimizers(points, network) -> None:
    """Keras' SwapEMAWeights finds them, and training ends on them."""
    model = network(Decayed(keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.5), 0.1))
    model.fit(*points, epochs=2, callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)], verbose=0)
    for weight, average in zip(model.get_weights(), model.optimizer.inner_optimizer._model_variables_moving_average):
        np.testing.assert_array_equal(weight, average)


def test_a_loss_is_not_scaled_twice() -> None:
    """Under mixed_float16, compile puts a LossScaleOptimizer around all that is none."""
    inside = Decayed(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), 0.1)
    model = linear(keras.optimizers.LossScaleOptimizer(inside))
    with pytest.raises(ValueError, match="optimizer must not be put into a second LossScaleOptimizer, nor get"):
        model.fit(ZEROS, np.zeros((8, 1)), verbose=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Decayed("sgd", -1), "rate must be a finite number >= 0, got -1."),
        (lambda: Decayed("sgd", float("nan")), "rate must be a finite number >= 0, got nan."),
        (lambda: Decayed("sgd", True), "rate must be a finite number >= 0, got True."),
        (
            lambda: Decayed("sgd", 0.1, to="kernels"),
            "to must be a selector, such as kopt.select.kernels, or a pattern of paths, such as 'base/*', got",
        ),
        (lambda: Decayed(None, 0.1), "optimizer must be a Keras optimizer or the name of one, got None."),
        (lambda: Decayed("sgd", 0.1, independent=1), "independent must be True or False, got 1."),
        (lambda: Decayed("adamw", 0.1), "optimizer must have no weight decay of its own to be Decayed, got '0.004'."),
        (
            lambda: Decayed(Optimizer(rules.AdamW()), 0.1),
            "optimizer must have no weight decay of its own to be Decayed, got '0.004'.",
        ),
        (
            lambda: Decayed("sgd", 0.1).exclude_from_weight_decay(var_names=["bias"]),
            "exclude_from_weight_decay must be left to `to` of Decayed, which is saved, got a call of it.",
        ),
        (
            lambda: linear(Decayed("sgd", 0.1, to=select.path("head/*"))).optimizer.build([keras.Variable(1.0)]),
            "selector must be bound to the model, by .bind(model), for an optimizer, which knows no layers, got",
        ),
        (
            lambda: Decayed("sgd", 0.1, to=select.norms).build(linear(None).trainable_variables),
            "selector must choose something among the optimizer's variables, got norms.",
        ),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value).startswith(message)
