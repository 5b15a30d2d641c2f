"""Class weights: the same as sample weights made by hand, for all data, several outputs and beside other weights."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.training import Loop
from kopt.training.feed.class_weights import of_classes

DRAWN = np.random.default_rng(0)
X = DRAWN.normal(size=(48, 5)).astype("float32")
CLASSES = {"kind": DRAWN.integers(0, 3, 48), "yes": DRAWN.integers(0, 2, 48)}
TARGETS = {"kind": CLASSES["kind"], "yes": CLASSES["yes"].astype("float32")[:, np.newaxis]}
GIVEN = {"kind": DRAWN.random(48), "yes": DRAWN.random(48)}
KIND, YES = {0: 0.5, 2: 3.0}, {0: 1, 1: 4}  # classes that are not named weigh 1
BY_HAND = {
    "kind": np.array([0.5, 1.0, 3.0])[CLASSES["kind"]].astype("float32"),
    "yes": np.array([1.0, 4.0])[CLASSES["yes"]].astype("float32"),
}
HOW = {"epochs": 2, "shuffle": False, "verbose": 0}


def model_of(outputs: str) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    kind = keras.layers.Dense(3, "softmax", name="kind")(inputs)
    yes = keras.layers.Dense(1, "sigmoid", name="yes")(inputs)
    losses = {"kind": "sparse_categorical_crossentropy", "yes": "binary_crossentropy"}
    made = {"one": kind, "list": [kind, yes], "dict": {"kind": kind, "yes": yes}}[outputs]
    model = keras.Model(inputs, made)
    model.compile("sgd", {"one": losses["kind"], "list": list(losses.values()), "dict": losses}[outputs])
    return model


def arranged(parts: dict[str, Any], outputs: str) -> Any:
    return parts if outputs == "dict" else list(parts.values()) if outputs == "list" else parts["kind"]


def as_arrays(x: Any, y: Any, weights: Any) -> dict[str, Any]:
    return {"x": x, "y": y, "sample_weight": weights, "batch_size": 16}


def tuples(part: Any) -> Any:
    return tuple(part) if isinstance(part, list) else part


def as_dataset(x: Any, y: Any, weights: Any) -> dict[str, Any]:
    parts = (x, tuples(y)) if weights is None else (x, tuples(y), tuples(weights))
    return {"x": tf.data.Dataset.from_tensor_slices(parts).batch(16)}


class Batches(keras.utils.PyDataset):
    """Batches of arrays."""

    def __init__(self, *parts: Any):
        super().__init__()
        self.parts = tuple(tuples(part) for part in parts if part is not None)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, place: int) -> Any:
        return keras.tree.map_structure(lambda leaf: leaf[16 * place : 16 * place + 16], self.parts)


def as_py_dataset(x: Any, y: Any, weights: Any) -> dict[str, Any]:
    return {"x": Batches(x, y, weights)}


def as_generator(x: Any, y: Any, weights: Any) -> dict[str, Any]:
    batches = Batches(x, y, weights)
    return {"x": (batches[place % 3] for place in range(6)), "steps_per_epoch": 3}


STREAMS = [
    (as_dataset, "list", True),
    (as_dataset, "one", False),
    (as_py_dataset, "one", True),
    (as_py_dataset, "dict", False),
    (as_generator, "list", True),
]


@functools.cache
def weighed_by_hand(outputs: str, given: bool) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What stock fit leaves with the product of both weights: the history and the weights."""
    product = {name: weight * (GIVEN[name] if given else 1) for name, weight in BY_HAND.items()}
    stock, y = model_of(outputs), arranged(TARGETS, outputs)
    history = stock.fit(X, y, sample_weight=arranged(product, outputs), batch_size=16, **HOW).history
    return history, stock.get_weights()


@pytest.mark.parametrize(
    ("data", "outputs", "given"),
    [*((as_arrays, outputs, given) for outputs in ("one", "list", "dict") for given in (False, True)), *STREAMS],
)
def test_class_weights_are_sample_weights_made_by_hand(
    data: Callable[..., dict[str, Any]], outputs: str, given: bool
) -> None:
    y, class_weight = arranged(TARGETS, outputs), arranged({"kind": KIND, "yes": YES}, outputs)
    expected, weights = weighed_by_hand(outputs, given)
    own, model = arranged(GIVEN, outputs) if given else None, model_of(outputs)
    found = Loop(model, jit=False).fit(**data(X, y, own), class_weight=class_weight, **HOW).history
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-6)
    for one, other in zip(model.get_weights(), weights):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "class_weight", "weighed"),
    [
        ("list", {"kind": KIND}, ["kind"]),
        ("list", [None, YES], ["yes"]),
        ("dict", {"yes": YES}, ["yes"]),
        ("dict", [KIND, YES], ["kind", "yes"]),
        ("one", {"kind": KIND}, ["kind"]),
        ("one", [KIND], ["kind"]),
    ],
)
def test_outputs_without_class_weights_weigh_one(outputs: str, class_weight: Any, weighed: list[str]) -> None:
    weights = {name: BY_HAND[name] if name in weighed else np.ones(48) for name in BY_HAND}
    y, stock, model = arranged(TARGETS, outputs), model_of(outputs), model_of(outputs)
    expected = stock.fit(X, y, sample_weight=arranged(weights, outputs), **HOW).history
    found = Loop(model, jit=False).fit(X, y, class_weight=class_weight, **HOW).history
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=2e-6)


def test_one_array_of_sample_weights_is_for_every_output() -> None:
    y, stock, model = arranged(TARGETS, "dict"), model_of("dict"), model_of("dict")
    product = {name: weight * GIVEN["yes"] for name, weight in BY_HAND.items()}
    expected = stock.fit(X, y, sample_weight=product, **HOW).history
    both = {"class_weight": {"kind": KIND, "yes": YES}, "sample_weight": GIVEN["yes"][:, np.newaxis]}
    found = Loop(model, jit=False).fit(X, y, **both, **HOW).history
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=2e-6)


def test_labels_of_steps_with_a_weight_each_are_classes_each() -> None:
    def build() -> Any:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((4, 5)), keras.layers.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    x, y, given = DRAWN.normal(size=(48, 4, 5)), DRAWN.integers(0, 3, (48, 4)), DRAWN.random((48, 4))
    weights = given * np.array([0.5, 1.0, 3.0])[y]
    expected = build().fit(x, y, sample_weight=weights, batch_size=16, **HOW).history
    for data in (as_arrays, as_dataset):
        found = Loop(build(), jit=False).fit(**data(x, y, given), class_weight=KIND, **HOW).history
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=2e-6)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([0, 1, 2, 7], [0.5, 1, 3, 1]),
        ([[0.0], [2.0], [1.9], [-1.0]], [0.5, 3, 3, 1]),
        (np.eye(3)[[2, 0, 1]], [3, 0.5, 1]),
        (np.eye(3)[[[2, 0], [1, 1]]], [[3, 0.5], [1, 1]]),
        ([True, False], [1, 0.5]),
    ],
)
def test_the_class_is_a_number_or_the_place_of_the_largest(y: Any, expected: Any) -> None:
    np.testing.assert_array_equal(of_classes(tf.constant(y), KIND, each=False), expected)


@pytest.mark.parametrize(
    ("outputs", "class_weight", "rule"),
    [
        ("list", KIND, r"must have an output \(kind, yes\) -> a dict of class -> weight, for several"),
        ("dict", {"other": KIND}, r"must have an output \(kind, yes\) -> a dict of class -> weight, for several"),
        ("list", [KIND], "must have 2 dicts, one an output"),
    ],
)
def test_class_weights_that_fit_no_output_are_refused(outputs: str, class_weight: Any, rule: str) -> None:
    model = model_of(outputs)
    for data in (as_arrays, as_dataset):
        with pytest.raises(ValueError, match=f"class_weight {rule}"):
            Loop(model).fit(**data(X, arranged(TARGETS, outputs), None), class_weight=class_weight, **HOW)
