"""Values and gradients of each regularizer against closed forms and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.regularizers import L1, L1L2, L2, GroupLasso, Orthogonal, TowardStart, get

W = np.array([[1.0, -2.0], [0.5, 3.0]], "float32")


@pytest.mark.parametrize(
    ("regularizer", "value", "gradient"),
    [
        (L1(0.1), 0.1 * 6.5, 0.1 * np.sign(W)),
        (L1(0.1, samples=5), 0.01 * 6.5, 0.01 * np.sign(W)),
        (L2(0.1), 0.1 * 14.25, 0.2 * W),
        (L2(0.1, samples=5), 0.01 * 14.25, 0.02 * W),
        (L1L2(0.1, 0.2), 0.1 * 6.5 + 0.2 * 14.25, 0.1 * np.sign(W) + 0.4 * W),
        (L1L2(0.1, 0.2, samples=5), 0.01 * 6.5 + 0.02 * 14.25, 0.01 * np.sign(W) + 0.04 * W),
    ],
)
def test_value_and_gradient(regularizer, value: float, gradient: np.ndarray) -> None:
    weights = tf.Variable(W)
    with tf.GradientTape() as tape:
        penalty = regularizer(weights)
    assert float(penalty) == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(tape.gradient(penalty, weights), gradient, rtol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (L1(0.3), keras.regularizers.L1(0.3)),
        (L2(0.3), keras.regularizers.L2(0.3)),
        (L1L2(0.3, 0.2), keras.regularizers.L1L2(0.3, 0.2)),
    ],
)
def test_keras_agrees_to_the_bit(ours, theirs) -> None:
    assert float(ours(W)) == float(theirs(W))


FILTERS = np.random.default_rng(0).normal(size=(2, 3, 4, 5))


def gradient_of(regularizer, weights: np.ndarray) -> tuple[float, np.ndarray]:
    variable = tf.Variable(weights)
    with tf.GradientTape() as tape:
        penalty = regularizer(variable)
    return float(penalty), tape.gradient(penalty, variable).numpy()


@pytest.mark.parametrize("weights", [W.astype("float64"), FILTERS], ids=["dense", "convolution"])
def test_orthogonal_is_its_closed_form(weights: np.ndarray) -> None:
    matrix = weights.reshape(-1, weights.shape[-1])
    columns = matrix.T @ matrix - np.eye(matrix.shape[1])
    rows = matrix @ matrix.T - np.eye(matrix.shape[0])
    value, gradient = gradient_of(Orthogonal(0.1), weights)
    assert value == pytest.approx(0.1 * np.sum(columns**2), rel=1e-12)
    np.testing.assert_allclose(gradient.reshape(matrix.shape), 0.4 * matrix @ columns, rtol=1e-10, atol=1e-12)
    value, gradient = gradient_of(Orthogonal(0.1, double_sided=True, samples=5), weights)
    assert value == pytest.approx(0.01 * (np.sum(columns**2) + np.sum(rows**2)), rel=1e-12)
    expected = 0.04 * (matrix @ columns + rows @ matrix)
    np.testing.assert_allclose(gradient.reshape(matrix.shape), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("groups", "axes"),
    [("rows", (0, 1, 3)), ("filters", (0, 1, 2)), ("columns", (2,))],
)
def test_group_lasso_is_its_closed_form(groups: str, axes: tuple[int, ...]) -> None:
    lengths = np.sqrt(np.sum(FILTERS**2, axis=axes, keepdims=True))
    root = np.sqrt(np.prod([FILTERS.shape[axis] for axis in axes]))
    value, gradient = gradient_of(GroupLasso(0.1, groups), FILTERS)
    assert value == pytest.approx(0.1 * root * lengths.sum(), rel=1e-12)
    np.testing.assert_allclose(gradient, 0.1 * root * FILTERS / lengths, rtol=1e-12)


def test_the_groups_of_a_dense_kernel() -> None:
    rows = np.sqrt(2) * (np.sqrt(5) + np.sqrt(9.25))
    columns = np.sqrt(2) * (np.sqrt(1.25) + np.sqrt(13))
    assert float(GroupLasso(1, "rows")(W)) == pytest.approx(rows, rel=1e-6)
    assert float(GroupLasso(1, "columns")(W)) == pytest.approx(columns, rel=1e-6)
    assert float(GroupLasso(1, "filters")(W)) == pytest.approx(columns, rel=1e-6)


def test_toward_start_is_its_closed_form() -> None:
    start = np.array([[1.0, 0.0], [0.0, 3.0]], "float32")
    value, gradient = gradient_of(TowardStart(0.1).anchored({"kernel": start}), W)
    assert value == pytest.approx(0.1 * 4.25, rel=1e-6)
    np.testing.assert_allclose(gradient, 0.2 * (W - start), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "regularizer"),
    [
        ("l2(1e-4)", L2(1e-4)),
        ("l2", L2()),
        (" l1_l2( 1e-5, 1e-4 ) ", L1L2(1e-5, 1e-4)),
        ("l1(strength=0.1, samples=5)", L1(0.1, samples=5)),
        ("group_lasso(1e-3, 'filters')", GroupLasso(1e-3, "filters")),
        ("orthogonal(0.1, double_sided=True)", Orthogonal(0.1, double_sided=True)),
        ("toward_start(0.1)", TowardStart(0.1)),
        (None, None),
        (L2(0.1), L2(0.1)),
    ],
)
def test_builders_from_a_text(text, regularizer) -> None:
    assert get(text) == regularizer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("l3(0.1)", "regularizer must be one of group_lasso, l1, l1_l2, l2, orthogonal, toward_start, got 'l3' (did"),
        ("l2(", "regularizer must be a name or a call with plain numbers and texts, such as 'l2(1e-4)', got 'l2('."),
        (
            "l2(open('x'))",
            "regularizer must be one of group_lasso, l1, l1_l2, l2, orthogonal, toward_start, got 'open'.",
        ),
        ("l2(a.b())", "regularizer must be a name or a call with plain numbers and texts, such as 'l2(1e-4)', got"),
        ("l2(1, 2, 3)", "regularizer must be called as l2(strength=0.0001, samples=None), got 'l2(1, 2, 3)'."),
        ("l2(rate=1)", "regularizer must be called as l2(strength=0.0001, samples=None), got 'l2(rate=1)'."),
        ("l2(1, strength=1)", "regularizer must be called as l2(strength=0.0001, samples=None), got 'l2(1, strength"),
        ("l2(-1)", "strength must be >= 0, got -1.0."),
        ("", "regularizer must be a name or a call with plain numbers and texts, such as 'l2(1e-4)', got ''."),
    ],
)
def test_bad_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        get(text)
    assert str(caught.value).startswith(message)


def test_whole_numbers_are_weights_too() -> None:
    assert float(L2(0.5)([1, 2])) == 2.5 and float(L1(0.5)(np.array([1, -2]))) == 1.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L1(-0.1), "strength must be >= 0, got -0.1."),
        (lambda: L2(0.1, samples=0), "samples must be > 0, got 0."),
        (lambda: L1L2(0.1, -0.2), "l2 must be >= 0, got -0.2."),
        (lambda: L2("0.1"), "strength must be a number, got '0.1'."),
        (lambda: GroupLasso(0.1, "diagonals"), "groups must be 'rows' or 'columns' or 'filters', got 'diagonals'."),
        (lambda: GroupLasso(0.1)([1.0]), "weights must be a tensor of two axes or more for GroupLasso, got 'the"),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value).startswith(message)
