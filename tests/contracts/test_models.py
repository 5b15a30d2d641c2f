"""What holds of every model value."""

import keras
import numpy as np
import pytest
from examples import MODELS

from kopt.models import Model
from kopt.training import fit

every_model = pytest.mark.parametrize("value", MODELS, ids=repr)


def batch(value: Model) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.uniform(size=(20, *value.inputs)).astype("float32")
    if value.task == "regression":
        return x, generator.normal(size=(20, value.outputs)).astype("float32")
    return x, generator.integers(0, value.outputs, 20)


@every_model
def test_build_gives_a_fresh_model_of_the_shape(value: Model) -> None:
    one, other = value.build(), value.build()
    assert one is not other and not one.compiled
    assert one.input_shape == (None, *value.inputs) and one.output_shape == (None, value.outputs)


@every_model
def test_trains_with_its_loss_and_metrics_and_survives_saving(value: Model, tmp_path) -> None:
    model = value.build()
    model.compile("adam", value.loss(), metrics=value.metrics())
    x, y = batch(value)
    history = fit(model, x, y, epochs=2, verbose=0).history
    assert len(history) == 2 and np.all(np.isfinite(list(history.values())))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
