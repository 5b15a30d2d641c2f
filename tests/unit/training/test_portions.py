"""A batch in parts: empty ones, and losses that give one number for a batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from kopt.keras_internals import additive
from kopt.training import Loop, TrainStep


def difference(one, other) -> float:
    return max(float(np.abs(left - right).max()) for left, right in zip(one.get_weights(), other.get_weights()))


class Adding(layers.Layer):
    """Adds what a function makes of its input to the loss."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        self.add_loss(self.function(x))
        return x


class Own(keras.Model):
    """A model with a compute_loss of its own."""

    own = staticmethod(lambda y, p: ops.mean(ops.abs(p)))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return 0.5 * super().compute_loss(x, y, y_pred, sample_weight) + self.own(y, y_pred)


def built(loss="mse", add=None, own=None, activity=None, optimizer=None, mask=False):
    """A small network, always with the same weights."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2, 3))
    x = layers.Masking()(inputs) if mask else inputs
    x = layers.Dense(3, "tanh", activity_regularizer=activity, kernel_regularizer="l2")(x)
    x = Adding(add)(x) if add else x
    model = (Own if own else keras.Model)(inputs, layers.Dense(1, dtype="float32")(x))
    if own:
        model.own = own
    model.compile(optimizer or keras.optimizers.SGD(0.05), loss, metrics=[] if own else ["mae"])
    return model


def drawn(rows: int):
    draw = np.random.default_rng(0)
    return draw.normal(size=(rows, 2, 3)).astype("float32"), draw.uniform(size=(rows, 2, 1)).astype("float32")


def trained_in_parts(model, data, batch_size: int, micro_batches: int, jit: bool = False, engine="auto", **how):
    loop = Loop(model, jit=jit, engine=engine, step=TrainStep(model, micro_batches=micro_batches))
    return loop.fit(*data, batch_size=batch_size, epochs=2, shuffle=False, verbose=0, **how).history


def by_fit(model, data, batch_size: int, **how):
    return model.fit(*data, batch_size=batch_size, epochs=2, shuffle=False, verbose=0, **how).history


@pytest.mark.parametrize(
    ("rows", "batch_size", "micro_batches", "jit", "engine", "kind"),
    [
        (33, 32, 4, False, "resident", "plain"),
        (33, 32, 4, True, "resident", "mask"),
        (9, 8, 3, False, "stream", "mask"),
        (5, 4, 8, False, "resident", "activity"),
        (5, 4, 8, True, "resident", "scaled"),
        (17, 16, 4, False, "stream", "zero weights"),
    ],
)
def test_empty_parts_do_nothing(rows, batch_size, micro_batches, jit, engine, kind) -> None:
    """The weights, the losses and the updates of stock fit, which computes each batch at once."""
    x, y = drawn(rows)
    if kind == "mask":
        x[np.random.default_rng(1).uniform(size=x.shape[:2]) < 0.6] = 0
    how = {"sample_weight": np.zeros((rows, 2))} if kind == "zero weights" else {}
    scaled = lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05), initial_scale=8.0)
    more = {"mask": {"mask": True}, "activity": {"activity": "l2"}}.get(kind, {})
    whole, parts = (built(optimizer=scaled() if kind == "scaled" else None, **more) for _ in range(2))
    expected = by_fit(whole, (x, y), batch_size, **how)
    found = trained_in_parts(parts, (x, y), batch_size, micro_batches, jit, engine, **how)
    assert difference(whole, parts) <= 1e-6
    assert int(parts.optimizer.iterations) == int(whole.optimizer.iterations) == 4
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)


def normalized():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


@pytest.mark.parametrize("jit", [False, True])
def test_batch_normalization_sees_each_part_that_is_there(jit: bool) -> None:
    """By a loop over the parts written out: batches of 4 and 1 in three parts are of 1, 1, 2 and 1 examples."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(5, 3)).astype("float32"), draw.normal(size=(5, 1)).astype("float32")
    by_hand, parts = normalized(), normalized()
    found = trained_in_parts(parts, (x, y), 4, 3, jit)
    for batch in 2 * [[[0], [1], [2, 3]], [[4]]]:
        examples = sum(map(len, batch))
        with tf.GradientTape() as tape:
            each = [ops.sum(ops.square(by_hand(x[rows], training=True) - y[rows])) for rows in batch]
            loss = ops.sum(ops.stack(each)) / examples
        weights = by_hand.trainable_weights
        by_hand.optimizer.apply(tape.gradient(loss, weights), weights)
    assert difference(by_hand, parts) <= 1e-6
    assert np.isfinite(found["loss"]).all() and int(parts.optimizer.iterations) == 4


ADD_UP = {
    "mean": {"loss": lambda y, p: tf.reduce_mean(tf.square(y - p))},
    "sum": {"loss": lambda y, p: 0.01 * tf.reduce_sum(tf.square(y - p))},
    "sum by the number": {"loss": lambda y, p: ops.sum(ops.abs(y - p)) / ops.cast(ops.shape(y)[0], p.dtype)},
    "mean of the batch alone": {"loss": lambda y, p: ops.mean(ops.square(y - p), axis=0)},
    "flat": {"loss": lambda y, p: ops.reshape(ops.square(y - p), (-1,))},
    "an added mean": {"add": lambda x: ops.mean(ops.square(x))},
    "an added sum": {"add": lambda x: 0.01 * ops.sum(ops.square(x))},
    "an added number an example": {"add": lambda x: 0.01 * ops.sum(ops.square(x), axis=(1, 2))},
    "compute_loss": {"own": lambda y, p: ops.mean(ops.abs(p))},
}


@pytest.mark.parametrize("name", ADD_UP)
def test_losses_of_a_batch_add_up(name: str) -> None:
    """A short last batch, so that parts have unequal shares."""
    whole, data = built(**ADD_UP[name]), drawn(7)
    expected = by_fit(whole, data, 6)
    for micro_batches in (1, 4):
        parts = built(**ADD_UP[name])
        found = trained_in_parts(parts, data, 6, micro_batches)
        assert difference(whole, parts) <= 1e-6
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)


def test_a_loss_without_reduction_adds_up() -> None:
    """Keras' gradient is of the sum, its log the mean."""

    def build():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2, 3)), layers.Flatten(), layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.01), keras.losses.MeanSquaredError(reduction=None))
        return model

    whole, parts, (x, y) = build(), build(), drawn(7)
    expected = by_fit(whole, (x, y[:, 0]), 6)
    found = trained_in_parts(parts, (x, y[:, 0]), 6, 4)
    assert difference(whole, parts) <= 1e-6
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)


def masked_mean(y, p):
    """As in tutorials on translation: a mean over what is no padding, which parts have unequal numbers of."""
    there = ops.cast(y > 0, p.dtype)
    return ops.sum(ops.square(y - p) * there) / ops.maximum(ops.sum(there), 1.0)


DO_NOT = {
    "dice": {"loss": keras.losses.Dice()},
    "dice of each column": {"loss": keras.losses.Dice(axis=0)},
    "tversky": {"loss": keras.losses.Tversky()},
    "a masked mean": {"loss": masked_mean},
    "a maximum": {"loss": lambda y, p: ops.max(ops.abs(y - p))},
    "a root": {"loss": lambda y, p: ops.sqrt(ops.mean(ops.square(y - p)))},
    "each against the others": {"loss": lambda y, p: ops.square(p - ops.mean(p, axis=0, keepdims=True))[:, 0, 0]},
    "an added product of means": {"add": lambda x: ops.mean(x[:, 0]) * ops.mean(ops.square(x[:, 1]))},
    "compute_loss of a ratio": {"own": lambda y, p: ops.mean(y * p) / ops.mean(ops.square(p))},
    "compute_loss of a sum": {"own": lambda y, p: ops.sum(ops.square(p))},
}


@pytest.mark.parametrize("name", DO_NOT)
def test_what_does_not_add_up_is_refused_with_the_figures(name: str) -> None:
    model, data = built(**DO_NOT[name]), drawn(8)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"must be a mean .*over examples, .*, got '-?[\d.]+.* for 4 made-up rows, "):
        trained_in_parts(model, data, 8, 4)
    for left, right in zip(before, model.get_weights()):
        np.testing.assert_array_equal(left, right)


def test_one_number_a_batch_beside_weights_of_examples_is_refused() -> None:
    model, data = built(**ADD_UP["mean"]), drawn(8)
    with pytest.raises(ValueError, match="must give a number an example where examples have weights"):
        trained_in_parts(model, data, 8, 4, sample_weight=np.ones(8))


def test_every_loss_of_keras_is_known_for_what_it_measures(monkeypatch) -> None:
    """Those of Keras that count as one number an example unmeasured are so when measured."""
    monkeypatch.setattr(additive, "keras_of_each", lambda loss: False)
    across = {"Dice", "Tversky", "Circle"}
    arguments = {"CategoricalGeneralizedCrossEntropy": {"q": 0.5}}
    names = [name for name, kind in vars(keras.losses).items() if isinstance(kind, type) and name != "Loss"]
    assert across <= set(names) and len(names) > 20
    for name in names:
        loss = getattr(keras.losses, name)(**arguments.get(name, {}))
        labels = "Sparse" in name or name in ("CTC", "Circle", "CategoricalGeneralizedCrossEntropy")
        shape = (4, 9, 5) if name == "CTC" else (4, 5)
        y = tf.zeros(shape[:-1] if labels else shape, "int32" if labels else "float32")
        if name in across:
            with pytest.raises(ValueError, match="must be a mean or a sum"):
                additive.kind_of_loss(loss, y, tf.zeros(shape), None)
        else:
            assert additive.kind_of_loss(loss, y, tf.zeros(shape), None) == "each", name


def test_measuring_changes_nothing() -> None:
    """Neither statistics, nor seeds, nor metrics, nor the losses that are there."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    x = layers.Dropout(0.5)(layers.BatchNormalization()(Adding(lambda x: ops.mean(x))(inputs)))
    model = keras.Model(inputs, layers.Dense(1)(x))
    model.compile("sgd", "mse")
    x = tf.random.normal((4, 3))
    model(x, training=True)
    before = [variable.numpy() for variable in model.variables]
    losses = [float(loss) for loss in model.losses]
    assert additive.kinds_of_added(model, x, training=True) == ["mean"]
    for variable, value in zip(model.variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert [float(loss) for loss in model.losses] == losses
