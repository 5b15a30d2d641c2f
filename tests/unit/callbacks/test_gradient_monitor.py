"""What GradientMonitor measures, against closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kopt
from kopt.callbacks import GradientMonitor
from kopt.training import Loop

HOW = {"shuffle": False, "verbose": 0}


def linear(optimizer):
    """A model whose loss is the mean of its output w . x: an example's gradient is x, whatever the weights are."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="only")
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(optimizer, lambda y, y_pred: y_pred)
    return model


@pytest.mark.parametrize("how", ["fit", "fit, 5 steps", "loop", "loop, jit"])
def test_norms_are_those_of_a_linear_model(how: str) -> None:
    x = np.random.default_rng(0).normal(size=(100, 3)).astype("float32")
    gradients = x.reshape(10, 10, 3).mean(axis=1)
    weights = 1 - 0.1 * np.cumsum(gradients, axis=0)
    model = linear(keras.optimizers.SGD(0.1))
    model.steps_per_execution = 5 if "5" in how else 1
    fit = Loop(model, jit="jit" in how).fit if "loop" in how else model.fit
    callbacks = [GradientMonitor(5, per_layer=True)]
    logs = fit(x, np.zeros((100, 1)), batch_size=10, epochs=2, callbacks=callbacks, **HOW).history
    norms = lambda rows: np.linalg.norm(rows[[4, 9]], axis=1).mean()
    assert logs["gradient_norm"][0] == pytest.approx(norms(gradients), rel=1e-5)
    assert logs["update_norm"][0] == pytest.approx(0.1 * norms(gradients), rel=1e-4)
    assert logs["weight_norm"][0] == pytest.approx(norms(weights), rel=1e-5)
    assert logs["update_ratio"][0] == pytest.approx(0.1 * norms(gradients) / norms(weights), rel=1e-4)
    assert logs["gradient_norm"][1] == pytest.approx(logs["gradient_norm"][0], rel=1e-5)  # sums start anew
    for name in ("gradient_norm", "update_norm", "weight_norm", "update_ratio"):
        assert logs[f"{name}/only"] == pytest.approx(logs[name])


@pytest.mark.parametrize("batch_size", [4, 16])
def test_noise_scale_is_the_variance_over_the_mean(batch_size: int) -> None:
    random = np.random.default_rng(0)
    x = (random.normal(size=(16000, 3)) * [3.0, 2.0, 1.0] + [1.0, 0.0, 1.0]).astype("float32")
    model = linear(keras.optimizers.SGD(0.0))
    callbacks = [GradientMonitor(2, noise=True)]
    logs = Loop(model).fit(x, np.zeros((16000, 1)), batch_size=batch_size, callbacks=callbacks, **HOW).history
    assert logs["noise_scale"][0] == pytest.approx((9 + 4 + 1) / 2, rel=0.12)


def test_norms_are_of_the_whole_loss_scaled_or_clipped(network, points) -> None:
    found = []
    for optimizer in (
        keras.optimizers.SGD(0.01),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=64.0),
        keras.optimizers.SGD(0.01, global_clipnorm=1e-3),
    ):
        model = network(optimizer)
        history = model.fit(*points, batch_size=100, callbacks=[GradientMonitor(1)], **HOW).history
        found.append((history["gradient_norm"][0], history["update_norm"][0]))
    (norm, moved), scaled, (clipped_norm, clipped_move) = found
    assert scaled == pytest.approx((norm, moved), rel=1e-5)
    assert clipped_norm == pytest.approx(norm, rel=1e-6) and clipped_move == pytest.approx(1e-5, rel=1e-2)
    assert moved == pytest.approx(0.01 * norm, rel=1e-4)


def test_it_is_in_tensorboard_and_in_the_picture(network, points, tmp_path) -> None:
    callbacks = [GradientMonitor(2, per_layer=True), keras.callbacks.TensorBoard(tmp_path)]
    history = network("adam").fit(*points, epochs=3, callbacks=callbacks, **HOW)
    (file,) = (tmp_path / "train").glob("events.out.tfevents.*")
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(file)) for value in event.summary.value}
    assert {"epoch_gradient_norm", "epoch_update_ratio"} < tags
    labels = [axes.get_ylabel() for axes in kopt.plot(history).axes]
    assert labels == ["loss", "gradient norm", "update ratio"]
    assert len(kopt.plot(history).axes[1].lines) == 3


def test_bad_arguments(points) -> None:
    with pytest.raises(ValueError, match="every must be a whole number >= 1, got 0"):
        GradientMonitor(0)
    with pytest.raises(ValueError, match="every must be >= 2 where noise is measured, got 1"):
        GradientMonitor(1, noise=True)

    class Own(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    inputs = keras.Input((10,))
    model = Own(inputs, keras.layers.Dense(1)(inputs), name="own")
    model.compile("sgd", "mse")
    message = "model must not have a train_step of its own, for GradientMonitor reads the gradients, got 'own'"
    for fit in (model.fit, Loop(model).fit):
        with pytest.raises(ValueError, match=message):
            fit(*points, callbacks=[GradientMonitor()], **HOW)
