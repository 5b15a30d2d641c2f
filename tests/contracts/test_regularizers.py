"""What holds of every regularizer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import REGULARIZERS

from kopt import fields
from kopt.regularizers import Regularizer, attach

every_regularizer = pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


@every_regularizer
def test_is_zero_at_zero_and_positive_elsewhere(regularizer: Regularizer) -> None:
    assert float(regularizer(np.zeros((4, 3), "float32"))) == 0
    assert float(regularizer(WEIGHTS)) > 0


@every_regularizer
@pytest.mark.parametrize("jit", [False, True])
def test_mapped_over_bound_numbers_equals_single_calls(regularizer: Regularizer, jit: bool) -> None:
    """The law of values: K regularizers as one program."""
    for path in fields.number_paths(regularizer):
        numbers = fields.read(regularizer, path) * np.linspace(0.0, 2.0, 5)
        mapped = tf.function(
            lambda column: tf.vectorized_map(lambda number: fields.bind(regularizer, {path: number})(WEIGHTS), column),
            jit_compile=jit,
        )(tf.constant(numbers))
        single = [float(fields.replace(regularizer, {path: number})(WEIGHTS)) for number in numbers]
        np.testing.assert_allclose(mapped, single, rtol=1e-6)


@every_regularizer
def test_attached_it_counts_in_the_loss_and_survives_saving(regularizer: Regularizer, network, tmp_path) -> None:
    model = network()
    attach(model, regularizer)
    expected = sum(float(regularizer(layer.kernel)) for layer in model.layers)
    assert sum(map(float, model.losses)) == pytest.approx(expected, rel=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [layer.kernel_regularizer for layer in loaded.layers] == [regularizer, regularizer]
    assert sum(map(float, loaded.losses)) == pytest.approx(expected, rel=1e-6)
    clone = keras.models.clone_model(model)
    assert [layer.kernel_regularizer for layer in clone.layers] == [regularizer, regularizer]
