"""What holds of every regularizer."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import REGULARIZERS

from kopt.regularizers import L1, L2, Regularizer, attach, get
from kopt.values import bind, number_paths, paths, read, replace
from kopt.values.registry import snake_case

every_regularizer = pytest.mark.parametrize("regularizer", REGULARIZERS)
WEIGHTS = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
START = np.random.default_rng(1).normal(size=(4, 4)).astype("float32")


def anchored(regularizer: Regularizer) -> Callable[[Any], Any]:
    """The regularizer as `attach` uses it, for weights that started at START."""
    return regularizer.anchored({"kernel": START})


def lowest(regularizer: Regularizer) -> np.ndarray:
    """Weights without a penalty: an orthonormal matrix, the start, or zeros."""
    names = {"Orthogonal": np.eye(4, dtype="float32"), "TowardStart": START}
    return names.get(type(regularizer).__name__, np.zeros((4, 4), "float32"))


def without_samples(regularizer: Any) -> Any:
    """Return the same penalty as Keras knows it: strength / (2 * samples) is the strength."""
    if isinstance(regularizer, (L1, L2)) and regularizer.samples:
        return type(regularizer)(regularizer.strength / (2 * regularizer.samples))
    return regularizer


@every_regularizer
def test_is_zero_at_its_lowest_and_positive_elsewhere(regularizer: Regularizer) -> None:
    assert float(anchored(regularizer)(lowest(regularizer))) == 0
    assert float(anchored(regularizer)(WEIGHTS)) > 0


@every_regularizer
def test_has_a_finite_gradient_everywhere_and_none_at_its_lowest(regularizer: Regularizer) -> None:
    for weights in (WEIGHTS, np.zeros((4, 4), "float32"), lowest(regularizer)):
        variable = tf.Variable(weights)
        with tf.GradientTape() as tape:
            penalty = anchored(regularizer)(variable)
        gradient = tape.gradient(penalty, variable).numpy()
        assert np.isfinite(gradient).all()
    assert not gradient.any()


@every_regularizer
@pytest.mark.parametrize("jit", [False, True])
def test_mapped_over_bound_numbers_equals_single_calls(regularizer: Regularizer, jit: bool) -> None:
    """The law of values: K regularizers as one program."""
    for path in number_paths(regularizer):
        numbers = read(regularizer, path) * np.linspace(0.0, 2.0, 5)
        mapped = tf.function(
            lambda column: tf.vectorized_map(
                lambda number: anchored(bind(regularizer, {path: number}))(WEIGHTS), column
            ),
            jit_compile=jit,
        )(tf.constant(numbers))
        single = [float(anchored(replace(regularizer, {path: number}))(WEIGHTS)) for number in numbers]
        np.testing.assert_allclose(mapped, single, rtol=1e-6)


@every_regularizer
def test_a_text_builds_it(regularizer: Regularizer) -> None:
    name = snake_case(type(regularizer).__name__)
    arguments = ", ".join(f"{key}={value!r}" for key, value in paths(regularizer).items())
    assert get(f"{name}({arguments})") == regularizer


@every_regularizer
def test_attached_it_counts_in_the_loss_and_survives_saving(regularizer: Regularizer, network, tmp_path) -> None:
    model = network()
    attach(model, regularizer)
    used = [layer.kernel_regularizer for layer in model.layers]
    for layer in model.layers:
        layer.kernel.assign_add(np.full(layer.kernel.shape, 0.1))
    expected = sum(float(one(layer.kernel)) for one, layer in zip(used, model.layers))
    assert expected > 0 and list(map(repr, used)) == [repr(regularizer)] * 2
    assert sum(map(float, model.losses)) == pytest.approx(expected, rel=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    kept = [without_samples(one) for one in used]
    assert [layer.kernel_regularizer for layer in loaded.layers] == kept
    assert sum(map(float, loaded.losses)) == pytest.approx(expected, rel=1e-6)
    clone = keras.models.clone_model(model)
    assert [layer.kernel_regularizer for layer in clone.layers] == kept
