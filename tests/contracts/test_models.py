"""What holds of every model value."""

import keras
import numpy as np
import pytest
from examples import MODELS

from kopt.experiment.inference import classes_of_others, final, inference_writer
from kopt.models import Model
from kopt.training import Loop
from kopt.values.field_paths import replace

every_model = pytest.mark.parametrize("value", MODELS)
IN_XLA = "MLP", "CharTransformer"  # a CPU's XLA slows convolutions, and takes no recurrent layers


def batch(value: Model) -> tuple[np.ndarray, np.ndarray]:
    """Twenty examples as the network takes them."""
    random = np.random.default_rng(0)
    x = random.uniform(size=(20, *value.inputs)).astype("float32")
    tokens = getattr(value, "vocabulary", 256) if value.task == "language" or hasattr(value, "vocabulary") else None
    if tokens:
        x = random.integers(0, tokens, x.shape)
    if value.task == "language":
        return x, np.roll(x, -1, 1)
    if hasattr(value, "users"):
        x = np.stack([random.integers(0, size + 1, 20) for size in (value.users, value.items)], 1)
    if value.task == "ranking":
        x = (x > 0.5).astype("float32")
        return x, 1 - x
    if value.task in ("regression", "forecast"):
        return x, random.normal(size=(20, value.outputs)).astype("float32")
    return x, random.integers(0, value.outputs, 20)


@every_model
def test_build_gives_a_fresh_model_of_the_shape(value: Model) -> None:
    one, other = value.build(), value.build()
    assert one is not other and not one.compiled
    places = value.inputs if value.task == "language" else ()
    assert one.input_shape == (None, *value.inputs) and one.output_shape == (None, *places, value.outputs)


@every_model
def test_trains_with_its_loss_and_metrics_and_survives_saving(value: Model, tmp_path) -> None:
    model = value.build()
    model.compile("adam", value.loss(), metrics=value.metrics())
    x, y = batch(value)
    jit = type(value).__name__ in IN_XLA
    history = Loop(model, jit=jit).fit(x, y, epochs=2, verbose=0).history
    assert len(history) == 2 and np.all(np.isfinite(list(history.values())))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(x, training=False), loaded(x, training=False))


@every_model
def test_its_inference_copy_is_of_keras_alone_and_gives_the_same(value: Model, tmp_path) -> None:
    model, x = value.build(), batch(value)[0]
    for name, write in inference_writer(value.task, model, None, x).items():
        write(tmp_path / name)  # refuses a copy with other outputs than the model's
        copy = keras.saving.load_model(tmp_path / name)
    np.testing.assert_allclose(copy(x), final(np.asarray(model(x)), value.task), rtol=1e-5, atol=1e-6)
    assert list(classes_of_others(keras.saving.serialize_keras_object(copy))) == []


@every_model
@pytest.mark.parametrize(
    ("field", "bad"), [("dropout", 1.0), ("width", 0), ("units", (0,)), ("filters", 0), ("heads", 3)]
)
def test_bad_sizes_are_refused(value: Model, field: str, bad: object) -> None:
    if hasattr(value, field):
        with pytest.raises(ValueError, match=f"^{field} must .*, got "):
            replace(value, {field: bad})
