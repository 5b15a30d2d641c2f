"""Canaries: private APIs of a training step behave as in Keras 3.15 and TensorFlow 2.21."""

import keras
import pytest
import tensorflow as tf

from kopt import keras_internals as internals
from kopt import rules
from kopt.optimizers import Optimizer


def test_optimizers_that_clip_or_scale_or_are_a_users_own_may_hide_an_infinite_gradient() -> None:
    class Own(keras.optimizers.SGD):
        pass

    optimizers = keras.optimizers
    assert internals.keeps_infinity(optimizers.Adam()) and internals.keeps_infinity(Optimizer(rules.Adam()))
    hiding = [optimizers.SGD(clipnorm=1.0), optimizers.SGD(clipvalue=1.0), optimizers.SGD(global_clipnorm=1.0), Own()]
    for optimizer in [*hiding, optimizers.LossScaleOptimizer(optimizers.SGD())]:
        assert not internals.keeps_infinity(optimizer)


def test_an_unchecked_update_is_the_optimizers_own() -> None:
    weight, optimizer = keras.Variable([1.0]), keras.optimizers.SGD(0.5)
    optimizer.build([weight])
    internals.update_unchecked(optimizer, [tf.constant([1.0])], [weight])
    assert float(weight.numpy()[0]) == 0.5


def test_a_model_without_the_training_argument_is_called_without() -> None:
    class Plain(keras.Model):
        def call(self, x):
            return x + 1

    assert float(internals.forward(Plain(), tf.zeros((1, 1)), training=True)[0, 0]) == 1


def test_what_an_update_by_reduced_gradients_leans_on(network, points) -> None:
    """Names in Keras' optimizers; what they do is tested by tests/equal/test_replicas.py."""
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=2)
    for name in ("_all_reduce_sum_gradients", "_overwrite_model_variables_with_average_value", "_apply_weight_decay"):
        assert callable(getattr(optimizer, name))
    scaler = keras.optimizers.LossScaleOptimizer(optimizer)
    assert callable(scaler._stateful_handle_finite_grads) and callable(scaler._stateful_handle_non_finite_grads)
    optimizer.build([weight := keras.Variable(1.0)])
    skips: list[int] = []
    internals.update(optimizer, [keras.ops.ones(())], [weight], tf.constant(False), lambda: skips.append(1))
    assert float(weight.numpy()) == 1.0 and skips == [1]
    internals.update(optimizer, [keras.ops.ones(())], [weight], tf.constant(True), lambda: skips.append(1))
    assert float(weight.numpy()) == pytest.approx(0.9) and skips == [1]
    assert internals.scale_of(keras.optimizers.SGD(loss_scale_factor=8.0)) == 8.0
    assert internals.scale_of(keras.optimizers.SGD()) == 1.0


@pytest.mark.parametrize("built", [False, True])
def test_sizes_of_batches_do_not_count_in_the_loss_of_each_output(built: bool) -> None:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, [keras.layers.Identity(name="a")(inputs), keras.layers.Identity(name="b")(inputs)])
    model.compile(loss=["mae", "mae"])
    lose = lambda size: model.compute_loss(y=[tf.fill([size, 2], float(size))] * 2, y_pred=[tf.zeros([size, 2])] * 2)
    if built:
        lose(3)
        model.reset_metrics()
    with internals.sizes_unknown(model):
        lose(3)
        lose(1)
    assert float(model.get_metrics_result()["a_loss"]) == 2
    model.reset_metrics()
    lose(3)
    lose(1)
    assert float(model.get_metrics_result()["a_loss"]) == 2.5


def test_metrics_alone_are_of_one_batch_without_losses_and_change_no_variable(points) -> None:
    x, y = points
    inputs = keras.Input((10,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in "ab"}
    model = keras.Model(inputs, outputs)
    several = keras.metrics.F1Score(name="several")  # of numbers
    model.compile("sgd", "mse", metrics={"a": ["mae", keras.metrics.R2Score()], "b": [several]})
    both = {"a": y, "b": y}
    model.train_on_batch(x, both)
    before = [one.numpy() for one in model.metrics_variables]
    rows = slice(30)
    found = internals.metrics_alone(model, x[rows], {"a": y[rows], "b": y[rows]}, model(x[rows]), None)
    assert list(found) == internals.names_of_metrics(model) == ["a_mae", "a_r2_score", "b_several"][: len(found)]
    for one, value in zip(model.metrics_variables, before, strict=True):
        assert (one.numpy() == value).all()
    model.reset_metrics()
    alone = model.test_on_batch(x[rows], {"a": y[rows], "b": y[rows]}, return_dict=True)
    assert all(abs(float(value) - alone[name]) < 1e-5 for name, value in found.items())
