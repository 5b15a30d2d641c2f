"""What Loop, fit, evaluate and predict refuse, before any work is done: in one sentence, and nothing has changed."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import select
from kopt.callbacks import LearningRate
from kopt.optimizers import Decayed
from kopt.regularizers import L2, attach
from kopt.training import Loop, TrainStep, fit
from kopt.values.checks import shown

ROW = np.arange(10.0)
MASKED = np.ma.MaskedArray(np.ones((100, 10)), mask=np.eye(100, 10))
INFINITE = np.where(np.arange(100) == 7, np.inf, 1.0)
NESTS = "arrays, a nest of them (lists of numbers are none), "
KINDS = NESTS + "a tf.data.Dataset, a PyDataset, a generator or a DataLoader"
FUNCTION = "step must be a function of a batch, such as TrainStep(model), got "
CALLBACKS = "callbacks must be a Keras callback or a list of them, got "
SHORT = "array([0., 1., 2., 3., 4., 5., 6., 7., 8., 9.])."


def batches(x: Any, y: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(20)


def none(x: Any, y: Any) -> tf.data.Dataset:
    return batches(x, y).filter(lambda *_: False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, y: fit(m), "x must be given, got None."),
        (lambda m, x, y: fit(m, x, y, initial_epoch="a"), "initial_epoch must be a whole number >= 0, got 'a'."),
        (lambda m, x, y: fit(m, x, y, steps_per_epoch=0), "steps_per_epoch must be a whole number >= 1, got 0."),
        (lambda m, x, y: fit(m, x, y, validation_freq=0), "validation_freq must be >= 1 or epochs from 1 on, got 0."),
        (lambda m, x, y: fit(m, x, y, validation_steps=-1), "validation_steps must be a whole number >= 1, got -1."),
        (lambda m, x, y: fit(m, x, y, verbose=3), "verbose must be 'auto', 0, 1 or 2, got 3."),
        (lambda m, x, y: fit(m, x, y, validation_data=(x, y[:3])), "Data cardinality is ambiguous"),
        (
            lambda m, x, y: Loop(m, strategy=tf.distribute.OneDeviceStrategy("cpu:0")),
            "strategy must be the one that the model was built under, got <",
        ),
        (lambda m, x, y: Loop("model"), "model must be a Keras model, got 'model'."),
        (lambda m, x, y: Loop(m, engine="fast"), "engine must be 'auto', 'resident' or 'stream', got 'fast'."),
        (lambda m, x, y: Loop(m, jit="yes"), "jit must be 'auto', True or False, got 'yes'."),
        (lambda m, x, y: Loop(m, seed=-1), "seed must be a whole number in [0, 2 ** 64), got -1."),
        (lambda m, x, y: fit(keras.Sequential(name="raw"), x, y), "model must be compiled, got 'raw'."),
        (lambda m, x, y: fit(m, x, y, batch_size=0), "batch_size must be >= 1 or 'full', got 0."),
        (lambda m, x, y: fit(m, x, y, batch_size=2.5), "batch_size must be >= 1 or 'full', got 2.5."),
        (lambda m, x, y: fit(m, x, y, epochs=-1), "epochs must be a whole number >= 0, got -1."),
        (lambda m, x, y: fit(m, x, y, validation_split=1), "validation_split must be in [0, 1), got 1."),
        (lambda m, x, y: fit(m, x[:0], y[:0]), "x must not be empty, got '0 examples'."),
        (
            lambda m, x, y: fit(m, tf.data.Dataset.from_tensors((x, y)), batch_size="full"),
            "batch_size must be a number where the data are no arrays, got 'full'.",
        ),
        (
            lambda m, x, y: Loop(m, engine="resident").fit(pair for pair in [(x, y)]),
            "engine must be 'stream' here: the data are no dense arrays of numbers",
        ),
        (lambda m, x, y: fit(m, x, y, callbacks=3), CALLBACKS + "3."),
        (lambda m, x, y: fit(m, x, y, callbacks=[object()]), CALLBACKS + "<object object at 0x"),
        (lambda m, x, y: fit(m, x, y, callbacks=[LearningRate]), CALLBACKS + "<class '"),
        (lambda m, x, y: Loop(m).evaluate(x, y, callbacks=[3]), CALLBACKS + "3."),
        (lambda m, x, y: Loop(m).predict(x, callbacks="csv"), CALLBACKS + "'csv'."),
        (lambda m, x, y: fit(m, x, y, validation_split="0.2"), "validation_split must be in [0, 1), got '0.2'."),
        (lambda m, x, y: fit(m, x, y, validation_split=ROW), "validation_split must be in [0, 1), got " + SHORT),
        (lambda m, x, y: fit(m, x, y, verbose=ROW), "verbose must be 'auto', 0, 1 or 2, got " + SHORT),
        (lambda m, x, y: fit(m, x, y, batch_size=ROW), "batch_size must be >= 1 or 'full', got " + SHORT),
        (lambda m, x, y: fit(m, x, y, batch_size=True), "batch_size must be >= 1 or 'full', got True."),
        (lambda m, x, y: fit(m, x, y, epochs=ROW), "epochs must be a whole number >= 0, got " + SHORT),
        (lambda m, x, y: fit(m, x, y, epochs=False), "epochs must be a whole number >= 0, got False."),
        (lambda m, x, y: fit(m, x, y, shuffle="yes"), "shuffle must be True, False or 'batch', got 'yes'."),
        (lambda m, x, y: Loop(m).evaluate(x, y, steps=0), "steps must be a whole number >= 1, got 0."),
        (lambda m, x, y: Loop(m).predict(x, steps=0), "steps must be a whole number >= 1, got 0."),
        (lambda m, x, y: Loop(m, jit=1), "jit must be 'auto', True or False, got 1."),
        (lambda m, x, y: Loop(m, jit=ROW), "jit must be 'auto', True or False, got " + SHORT),
        (lambda m, x, y: Loop(m, engine=ROW), "engine must be 'auto', 'resident' or 'stream', got " + SHORT),
        (lambda m, x, y: Loop(m, seed=True), "seed must be a whole number in [0, 2 ** 64), got True."),
        (lambda m, x, y: Loop(m, step=3), FUNCTION + "3."),
        (lambda m, x, y: Loop(m, step=TrainStep), FUNCTION + "<class"),
        (lambda m, x, y: Loop(m).predict(x[:0]), "x must not be empty, got '0 examples'."),
        (lambda m, x, y: fit(m, x[:0], y[:0], steps_per_epoch=2), "x must not be empty, got '0 examples'."),
        (lambda m, x, y: fit(m, np.float32(3), y), "x must have an axis of examples, got np.float32(3.0)."),
        (lambda m, x, y: Loop(m).predict(batches(x, y).take(0)), "x must not be empty, got '0 examples'."),
        (lambda m, x, y: Loop(m).predict(none(x, y)), "x must not be empty, got 'no batch'."),
        (lambda m, x, y: Loop(m).evaluate(none(x, y), verbose=0), "x must not be empty, got 'no batch'."),
        (lambda m, x, y: fit(m, none(x, y), verbose=0), "x must not be empty, got 'no batch'."),
        (
            lambda m, x, y: fit(m, x, y, validation_data=(x[:0], y[:0])),
            "validation_data must not be empty, got '0 examples'.",
        ),
        (lambda m, x, y: fit(m, x, y, validation_data=3), f"validation_data must be {KINDS}, got 3."),
        (
            lambda m, x, y: fit(m, x, y, validation_data=(x, y, y, y)),
            "validation_data must be (x, y), (x, y, sample_weight) or a dataset, got '4 parts'.",
        ),
        (lambda m, x, y: fit(m, x.tolist(), y), f"x must be {KINDS}, got [["),
        (lambda m, x, y: fit(m, x, y.tolist()), "y must be arrays or a nest of them (lists of numbers are none), got"),
        (
            lambda m, x, y: fit(m, x.astype(object), y),
            "x must be an array of numbers or of texts, got 'objects such as float'.",
        ),
        (lambda m, x, y: fit(m, MASKED, y), "x must have no masked values, whose mask would be lost: fill them, got"),
        (lambda m, x, y: fit(m, MASKED, y, validation_split=0.2), "x must have no masked values, whose mask"),
        (lambda m, x, y: Loop(m).predict({"x": MASKED}), "x must have no masked values, whose mask"),
        (lambda m, x, y: fit(m, x, MASKED[:, :1]), "y must have no masked values, whose mask"),
        (lambda m, x, y: fit(m, x, y, validation_data=(MASKED, y)), "validation_data must have no masked values"),
        (lambda m, x, y: fit(m, x, y, sample_weight=INFINITE), "sample_weight must have finite numbers, got"),
        (lambda m, x, y: Loop(m).evaluate(x, y, sample_weight=INFINITE * np.nan), "sample_weight must have finite"),
        (lambda m, x, y: fit(m, x, y, class_weight=[1, 2, 3]), "class_weight must be a dict of class -> weight, or"),
        (lambda m, x, y: fit(m, x, y, class_weight="balanced"), "class_weight must be a dict of class -> weight, or"),
        (lambda m, x, y: fit(m, x, y, class_weight={}), "class_weight must be a dict of class -> weight, or for"),
        (
            lambda m, x, y: fit(m, x, y, class_weight={0: np.nan}),
            "class_weight must have finite numbers as weights, got {0: nan}.",
        ),
        (
            lambda m, x, y: fit(m, x, y, class_weight={"1": 2.0}),
            "class_weight must have whole numbers >= 0 as its classes, got {'1': 2.0}.",
        ),
        (
            lambda m, x, y: fit(m, x, y, class_weight={"other": {0: 1.0}}),
            "class_weight must be a dict of class -> weight for a model of one output, got {'other': {0: 1.0}}.",
        ),
        (
            lambda m, x, y: fit(m, batches(x, y).repeat()),
            "steps_per_epoch must be given for a dataset that has no end, got None.",
        ),
        (
            lambda m, x, y: Loop(m).evaluate(batches(x, y).repeat()),
            "steps must be given for a dataset that has no end, got None.",
        ),
        (
            lambda m, x, y: Loop(m).predict(batches(x, y).repeat()),
            "steps must be given for a dataset that has no end, got None.",
        ),
        (
            lambda m, x, y: fit(m, x, y, validation_data=batches(x, y).repeat()),
            "validation_steps must be given for a dataset that has no end, got None.",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message: str, network, points) -> None:
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError) as caught:
        call(model, *points)
    assert str(caught.value).startswith(message)
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)


def classified(labels: np.ndarray, ignore_class: int | None = None) -> Any:
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignore_class)
    model.compile("sgd", loss)
    return model


@pytest.mark.parametrize(("kind", "wrong"), [("int64", 3), ("int64", -1), ("float32", 3), ("uint8", 200)])
def test_labels_that_are_no_class_are_refused(kind: str, wrong: int, points) -> None:
    labels = np.where(np.arange(100) == 50, wrong, np.arange(100) % 3)
    y, right = labels.astype(kind), (np.arange(100) % 3).astype(kind)
    model, rule = classified(y), rf"^y must have labels from 0 to 2, got {wrong}(\.0)?\.$"
    calls = [
        lambda: fit(model, points[0], y, verbose=0),
        lambda: fit(model, points[0], right, validation_data=(points[0], y), verbose=0),
        lambda: Loop(model).evaluate(points[0], y, verbose=0),
    ]
    before = model.get_weights()
    for call in calls:
        with pytest.raises(ValueError, match=rule):
            call()
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)
    assert np.isfinite(fit(model, points[0], right, verbose=0).history["loss"]).all()
    if wrong < 0:
        assert np.isfinite(fit(classified(y, -1), points[0], y, verbose=0).history["loss"]).all()


def test_labels_of_one_of_several_outputs_are_looked_at(points) -> None:
    inputs = keras.Input((10,))
    outputs = {"a": keras.layers.Dense(3, name="a")(inputs), "b": keras.layers.Dense(5, "softmax", name="b")(inputs)}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"a": "mse", "b": "sparse_categorical_crossentropy"})
    targets = {"a": np.ones((100, 3)), "b": np.arange(100) % 6}
    with pytest.raises(ValueError, match="^y must have labels from 0 to 4, got 5.$"):
        fit(model, points[0], targets)


def test_what_is_of_another_model_is_refused(network, points) -> None:
    """Steps, bound selectors, optimizers: what is made for one model is not another's."""
    one, other = network(), network()
    foreign = select.path("*").bind(one)
    for step in (TrainStep(one), one.train_step):
        rule = f"^step must be of the model that is trained, {other.name}, got '{one.name}'"
        with pytest.raises(ValueError, match=rule):
            Loop(other, step=step)
    other.train_step = TrainStep(one)
    with pytest.raises(ValueError, match="^step must be of the model that is trained"):
        fit(other, *points)
    del other.train_step
    fit(one, *points, verbose=0)
    other.compile(one.optimizer, "mse")
    with pytest.raises(ValueError, match="^optimizer must not be another model's.* got 'one that does not know seq"):
        fit(other, *points, verbose=0)
    with pytest.raises(ValueError, match="^selector must choose something in model"):
        attach(other, L2(0.1), to=foreign)
    other.compile(Decayed("sgd", 0.1, to=foreign), "mse")
    with pytest.raises(ValueError, match="^selector must choose something among the optimizer's variables"):
        fit(other, *points, verbose=0)


@pytest.mark.parametrize("value", [list(range(10**6)), np.ones((50, 50)), "x" * 10**5, {n: [n] for n in range(10**4)}])
def test_a_long_value_is_shown_short_and_on_one_line(value: Any) -> None:
    assert len(shown(value)) <= 160 and "\n" not in shown(value) and "..." in shown(value)


def test_what_keras_takes_is_taken(network, points) -> None:
    hooks = keras.callbacks.CallbackList([keras.callbacks.History()])
    how = {"validation_split": None, "verbose": False, "shuffle": np.bool_(True), "callbacks": hooks}
    assert len(fit(network(), *points, **how).history["loss"]) == 1
    whole = np.ma.MaskedArray(points[0])  # nothing is masked
    assert np.isfinite(fit(network(), whole, points[1], verbose=0).history["loss"]).all()
