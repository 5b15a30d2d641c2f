"""What a penalty does to every Keras layer: it trains, and any file has it; Keras without kopt loads the file."""

import pathlib

import keras
import numpy as np
import pytest
from layers_with_weights import REFUSED, SAVED, WITHOUT_PARAMETERS, branches, with_weights

from kopt import load_model, select
from kopt.optimizers import Decayed, Optimizer
from kopt.regularizers import L1, L1L2, L2, attach, detach, strength
from kopt.rules import Adam

# Loads files in a process in which kopt cannot be imported: prints nothing, and ends with an error where they differ.
PLAIN = """
import sys

class Nothing:
    def find_spec(self, name, *rest):
        if name.split(".")[0] == "kopt":
            raise ImportError(name)

sys.meta_path.insert(0, Nothing())
import keras
import numpy as np

for name in sys.argv[2:]:
    there = np.load(f"{sys.argv[1]}/{name}.npz")
    model = keras.saving.load_model(f"{sys.argv[1]}/{name}.keras", compile=name != "optimizer")
    inputs = [there[key] for key in sorted(there) if key.startswith("x")]
    np.testing.assert_array_equal(model(inputs if len(inputs) > 1 else inputs[0]), there["outputs"])
    np.testing.assert_allclose(list(map(float, model.losses)), there["losses"], rtol=1e-6)
    assert "kopt" not in sys.modules and len(model.losses) > 0
"""


def inputs_of(model: keras.Model) -> list[np.ndarray]:
    return [np.ones((2, *one.shape[1:]), "float32") for one in model.inputs]


def save(model: keras.Model, folder: pathlib.Path, name: str) -> None:
    """Write a model, and what it gives and costs."""
    inputs = inputs_of(model)
    model.save(folder / f"{name}.keras")
    arrays = {f"x{place:02}": one for place, one in enumerate(inputs)}
    outputs, losses = model(inputs if len(inputs) > 1 else inputs[0]), list(map(float, model.losses))
    np.savez(folder / f"{name}.npz", outputs=outputs, losses=losses, **arrays)


def test_every_layer_of_keras_with_weights_is_in_the_table() -> None:
    assert with_weights() == {*SAVED, *REFUSED, *WITHOUT_PARAMETERS}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_takes_no_regularizer_is_refused(name: str) -> None:
    model = branches({name: REFUSED[name]})
    with pytest.raises(ValueError, match="^to must leave out .*/scale: its layer saves no penalty, got everything.$"):
        attach(model, L2(0.1), to=select.everything)
    assert model.losses == []


def test_every_layer_trains_with_the_penalty_and_any_file_has_it(tmp_path, python) -> None:
    """All layers side by side in one model: trained, then loaded by Keras, by kopt, and by Keras without kopt."""
    model = branches(SAVED)
    for penalty, to in ((L1(0.01), select.biases), (L1L2(0.01, 0.02), select.kernels), (L2(0.1, samples=5), REST)):
        attach(model, penalty, to=to)
    model.compile("adam", "mse", run_eagerly=True)
    strength(model).set(0.5)
    strength(model, select.biases).set(0.25)
    inputs = inputs_of(model)
    before = [variable.numpy() for variable in model.trainable_variables]
    model.train_on_batch(inputs, np.zeros(model(inputs).shape))
    unmoved = [one.path for one, old in zip(model.trainable_variables, before) if np.array_equal(one, old)]
    # Zeros at the first step, where an L1's slope is zero too: other layers' outputs are what trains them.
    assert len(model.losses) == len(before) and len(unmoved) < len(before) / 4
    expected = list(map(float, model.losses))
    save(model, tmp_path, "layers")
    for load in (keras.saving.load_model, load_model):
        loaded = load(tmp_path / "layers.keras")
        assert list(map(float, loaded.losses)) == pytest.approx(expected, rel=1e-6)
        assert [float(strength(loaded)), float(strength(loaded, select.biases))] == [0.5, 0.25]
        strength(loaded).set(0)
        assert sum(map(float, loaded.losses)) == 0
        assert len(detach(loaded)) == len(expected) and loaded.losses == []

    dense = keras.layers.Dense(3, kernel_regularizer=L2(0.5, samples=5), bias_regularizer=L1(0.1))
    made = keras.Sequential([keras.Input((4,)), dense, keras.layers.Dense(1, kernel_regularizer=L1L2(0.1, 0.2))])
    made.compile("sgd", "mse")
    save(made, tmp_path, "constructed")
    made.compile(Decayed(Optimizer(Adam(), 0.01), 0.1), "mse")
    made.fit(np.ones((2, 4)), np.ones((2, 1)), verbose=0)
    save(made, tmp_path, "optimizer")
    python("-c", PLAIN, str(tmp_path), "layers", "constructed", "optimizer")


REST = ~(select.kernels | select.biases)


def test_adapters_and_quantized_layers(tmp_path) -> None:
    """An adapter shares its weight's penalty; a weight of whole numbers is no parameter, and none is chosen."""
    inputs = keras.Input((4,))
    names = {"dense": keras.layers.Dense(3), "einsum": keras.layers.EinsumDense("ab,bc->ac", 3)}
    model = keras.Model(inputs, keras.layers.Concatenate()([layer(inputs) for layer in names.values()]))
    for layer in names.values():
        layer.enable_lora(2)
    assert len(attach(model, L2(0.1))) == 6
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.losses) == len(model.losses) == 4  # the adapters'; the kernels are frozen
    for variable in loaded.trainable_variables:
        variable.assign(np.ones(variable.shape))
    assert sum(map(float, loaded.losses)) == pytest.approx(0.1 * 2 * (4 * 2 + 2 * 3))
    quantized = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="whole")])
    quantized.layers[0].quantize("int8")
    with pytest.raises(ValueError, match="^selector must choose something in model .*, got kernels.$"):
        attach(quantized, L2(0.1))
