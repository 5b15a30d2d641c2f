"""Keras' Adam in Loop: Keras' bits where they are asked for, and TensorFlow's kernel elsewhere, in any kind of step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kopt import callbacks
from kopt import keras_internals as internals
from kopt.callbacks import LearningRate
from kopt.schedules import Cosine
from kopt.training import Loop
from kopt.training.execute.base import TracedStep

DRAWN = np.random.default_rng(0)
X, Y = DRAWN.normal(size=(40, 6)).astype("float32"), DRAWN.integers(0, 3, 40)
HOW = {"batch_size": 8, "epochs": 3, "shuffle": False, "verbose": 0}


class OwnStep(keras.Sequential):
    """A network with a train_step of its own."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return {"loss": loss}


def network(kind: type, **compiled) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = kind([keras.Input((6,)), layers.Dense(7, "relu"), layers.Dense(3)])
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), **compiled)
    return model


def has_kernel(model: keras.Model) -> bool:
    """Return whether a traced training step of a model has the kernel."""
    traced = model.train_function.traced
    assert isinstance(traced, TracedStep) and traced.traces
    graphs = [trace.graph.as_graph_def() for trace in traced.traces.values()]
    nodes = [node for graph in graphs for part in (graph, *graph.library.function) for node in nodes_of(part)]
    return any(node.op == "ResourceApplyAdam" for node in nodes)


def nodes_of(part):
    return part.node if hasattr(part, "node") else part.node_def


@pytest.mark.parametrize("kind", [keras.Sequential, OwnStep])
@pytest.mark.parametrize(
    ("jit", "told", "bits"), [(False, "auto", True), ("auto", False, True), ("auto", "auto", False)]
)
def test_bits_are_keras_where_they_are_asked_for(kind: type, jit, told, bits: bool) -> None:
    stock, model = network(kind), network(kind, jit_compile=told)
    stock.fit(X, Y, **HOW)
    Loop(model, jit=jit).fit(X, Y, **HOW)
    assert has_kernel(model) is not bits
    for one, other in zip(model.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=0 if bits else 1e-6)
    assert "_backend_update_step" not in vars(model.optimizer)


def test_keras_goes_on_with_the_state_and_the_reverse() -> None:
    stock, first, then = (network(keras.Sequential) for _ in range(3))
    stock.fit(X, Y, **HOW)
    stock.fit(X, Y, **HOW)
    Loop(first).fit(X, Y, **HOW)
    first.fit(X, Y, **HOW)
    then.fit(X, Y, **HOW)
    Loop(then).fit(X, Y, **HOW)
    for model in (first, then):
        for one, other in zip(model.get_weights(), stock.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_an_error_while_tracing_leaves_the_optimizer_as_it_was() -> None:
    class Broken(layers.Layer):
        def call(self, x, training=False):
            if training:
                raise RuntimeError("broken")
            return x

    model = keras.Sequential([keras.Input((6,)), layers.Dense(3), Broken()])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(RuntimeError, match="broken"):
        Loop(model).fit(X, Y, **HOW)
    assert "_backend_update_step" not in vars(model.optimizer)


@pytest.mark.parametrize(
    ("strategy", "kernel"),
    [(tf.distribute.OneDeviceStrategy("CPU:0"), True), (tf.distribute.MirroredStrategy(["CPU:0"]), False)],
)
def test_one_device_has_the_kernel_and_replicas_keep_keras_update(strategy, kernel: bool) -> None:
    with strategy.scope():
        model = network(keras.Sequential)
    Loop(model).fit(X, Y, **HOW)
    assert internals.on_one_device(strategy) is has_kernel(model) is kernel


def test_a_steered_rate_has_the_kernel_too() -> None:
    stock, model = network(keras.Sequential), network(keras.Sequential)
    steer = lambda: [LearningRate(Cosine(0.05), unit="epoch")]
    stock.fit(X, Y, callbacks=steer(), **HOW)
    for _ in range(2):  # also where the optimizer was steered before
        Loop(model).fit(X, Y, callbacks=steer(), **HOW)
        assert has_kernel(model)
        model.compile(model.optimizer, model.loss)
    stock.fit(X, Y, callbacks=steer(), **HOW)
    for one, other in zip(model.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


class Count(callbacks.Callback):
    """Logs the updates that were made, and how often one was asked for."""

    def build(self, model):
        self.add_array("made")
        self.add_array("asked")

    def on_update(self, update):
        self.arrays["made"].assign_add(tf.cast(update.made, "float32"))
        self.arrays["asked"].assign_add(1.0)

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: float(self.read_array(name)) for name in ("made", "asked")})


@pytest.mark.parametrize("jit", [False, "auto"])
def test_updates_that_are_made_are_seen_in_a_step_of_ones_own(jit) -> None:
    """Where Keras accumulates gradients, each second step makes none."""
    model = network(OwnStep)
    model.compile(keras.optimizers.Adam(0.01, gradient_accumulation_steps=2), model.loss)
    logs = Loop(model, jit=jit).fit(X, Y, callbacks=[Count()], **HOW).history
    assert logs["asked"][-1] == 15 and logs["made"][-1] == 7
