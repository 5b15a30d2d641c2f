"""load_model: whatever Keras loads, as Keras does; damaged files are named."""

import pathlib
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import kopt
from kopt.callbacks import ReduceOnPlateau
from kopt.state.knob import held_knob
from kopt.state.slots import held_slots

X, Y = np.random.default_rng(0).normal(size=(16, 3)).astype("float32"), np.ones((16, 1), "float32")


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.dense = keras.layers.Dense(1)

    def build(self, shape) -> None:
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)


class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def functional(*layers) -> keras.Model:
    return keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])


def built(model: keras.Model) -> keras.Model:
    model.build((None, 3))
    return model


MODELS = {
    "uncompiled": functional,
    "compiled, never trained": lambda: compiled(functional()),
    "trained": lambda: trained(compiled(functional())),
    "subclassed": lambda: built(Subclassed()),
    "subclassed, trained": lambda: trained(compiled(built(Subclassed()))),
    "loss scaled": lambda: trained(compiled(functional(), scaled())),
}


def scaled() -> keras.optimizers.Optimizer:
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())


def compiled(model: keras.Model, optimizer="adam") -> keras.Model:
    model.compile(optimizer, keras.losses.MeanSquaredError())
    return model


def trained(model: keras.Model) -> keras.Model:
    model.train_on_batch(X, Y)
    return model


def same(one: keras.Model, other: keras.Model) -> None:
    assert type(one) is type(other) and one.compiled == other.compiled
    for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    if one.compiled:
        mine, theirs = one.optimizer.variables, other.optimizer.variables
        assert len(mine) == len(theirs) and int(one.optimizer.iterations) == int(other.optimizer.iterations)


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("kind", ["model.keras", "folder", "model.h5"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")  # Keras', of the legacy format and of optimizers that are not built
def test_what_keras_loads_is_loaded_as_keras_does(name: str, kind: str, compile: bool, tmp_path) -> None:
    if kind == "model.h5" and name.startswith("subclassed"):
        pytest.skip("Keras does not write it")
    model, path = MODELS[name](), tmp_path / kind
    model.save(path, **{"zipped": False} if kind == "folder" else {})
    loaded = kopt.load_model(path if compile else str(path), None, compile, True)
    same(loaded, keras.saving.load_model(path, compile=compile))
    np.testing.assert_array_equal(loaded(X), model(X))


def test_custom_objects_and_safe_mode_are_keras_own(tmp_path, monkeypatch) -> None:
    functional(Doubled()).save(tmp_path / "own.keras")
    assert kopt.load_model(tmp_path / "own.keras", custom_objects={"Doubled": Doubled}).count_params() == 4
    with pytest.raises(TypeError, match="Could not locate class 'Doubled'"):
        kopt.load_model(tmp_path / "own.keras")
    functional(keras.layers.Lambda(lambda x: x + 1)).save(tmp_path / "lambda.keras")
    with pytest.raises(ValueError, match="safe_mode=False"):
        kopt.load_model(tmp_path / "lambda.keras")
    assert kopt.load_model(filepath=tmp_path / "lambda.keras", safe_mode=False).count_params() == 4
    with pytest.raises(ValueError, match="File not found"):
        kopt.load_model(tmp_path / "nowhere.keras")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kopt.load_model("~/lambda.keras", safe_mode=False).count_params() == 4


@keras.saving.register_keras_serializable("tests")
class Two(Subclassed):
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.other_optimizer = keras.optimizers.SGD(0.1)


@pytest.mark.parametrize("zipped", [True, False])
def test_live_numbers_come_back_from_every_optimizer(zipped: bool, tmp_path) -> None:
    for model, holders in (
        (compiled(functional()), lambda model: [model.optimizer]),
        (
            compiled(functional(), keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))),
            lambda model: [model.optimizer, model.optimizer.inner_optimizer],
        ),
        (compiled(built(Two())), lambda model: [model.optimizer, model.other_optimizer]),
    ):
        for place, holder in enumerate(holders(model), 1):
            holder.build(model.trainable_variables)
            held_knob(holder, "kopt_mine", 0.0).set(place / 4)
            held_slots(holder, "kopt_arrays", [np.zeros(2), np.zeros(3)]).arrays[1].assign([place, 0, 0])
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}{'.keras' if zipped else ''}"
        model.save(path, zipped=zipped)
        for place, holder in enumerate(holders(kopt.load_model(path)), 1):
            assert float(holder.kopt_mine) == place / 4 and float(holder.kopt_arrays.arrays[1][0]) == place
        same(kopt.load_model(path, compile=False), keras.saving.load_model(path, compile=False))


def test_a_plateaus_counters_come_back(tmp_path) -> None:
    model = compiled(functional())
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[ReduceOnPlateau("loss", patience=1, min_delta=1e9)])
    model.save(tmp_path / "model.keras")
    loaded = kopt.load_model(tmp_path / "model.keras")
    live = {name: float(one) for name, one in vars(model.optimizer).items() if isinstance(one, kopt.Knob)}
    assert live and {name: float(getattr(loaded.optimizer, name)) for name in live} == live


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[pathlib.Path, bytes, list]:
    folder = tmp_path_factory.mktemp("files")
    compiled(functional()).save(folder / "whole.keras")
    content = (folder / "whole.keras").read_bytes()
    return folder, content, keras.saving.load_model(folder / "whole.keras").get_weights()


@settings(max_examples=60, deadline=None)
@given(some.floats(0, 1), some.floats(0, 0.9999), some.integers(0, 7), some.sampled_from(["cut", "bit"]))
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_named_or_harmless(whole, cut, place, bit, how) -> None:
    folder, content, weights = whole
    damaged = bytearray(content)
    if how == "cut":
        damaged = damaged[: int(cut * (len(content) - 1))]
    else:
        damaged[int(place * len(content))] ^= 1 << bit
    path = folder / "damaged.keras"
    path.write_bytes(bytes(damaged))
    try:
        found = kopt.load_model(path).get_weights()
    except ValueError as error:
        assert str(error).startswith(f"filepath must be of a whole model, got {str(path)!r} (it")
    else:
        assert how == "bit" and all(map(np.array_equal, found, weights))


def test_files_without_a_part_and_cut_hdf5_are_named(whole, tmp_path) -> None:
    folder, content, _ = whole
    with zipfile.ZipFile(folder / "whole.keras") as archive, zipfile.ZipFile(tmp_path / "part.keras", "w") as part:
        for name in ("config.json", "metadata.json"):
            part.writestr(name, archive.read(name))
    with pytest.raises(ValueError, match=r"part.keras' \(its part model.weights.h5 is not whole\)\.$"):
        kopt.load_model(tmp_path / "part.keras")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ValueError, match=r"cut.h5' \(it is cut, or no HDF5 file\)\.$"):
        kopt.load_model(tmp_path / "cut.h5")
