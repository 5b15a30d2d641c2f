"""The encoder of tables beside Keras' FeatureSpace and scikit-learn's imputation, and in Keras without kopt."""

import keras
import numpy as np
import tensorflow as tf
from sklearn.impute import SimpleImputer

from kopt.models.columns import columns_encoder
from kopt.models.layers import PiecewiseLinear

RANDOM = np.random.default_rng(0)
ROWS = 60
NUMBERS = RANDOM.normal(3, 2, ROWS).astype("float32")
WHOLE = RANDOM.integers(0, 4, ROWS)
NAMES = np.array(["b", "a", "a", "c", "c", "c"] * 10, object)
GAPS = np.where(RANDOM.random(ROWS) < 0.2, np.nan, RANDOM.normal(size=ROWS)).astype("float32")


def tensors(columns: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """Columns as a model takes them."""
    return {
        name: tf.constant(column.tolist(), None if column.dtype.kind == "O" else column.dtype)
        for name, column in columns.items()
    }


def encoded(encoder: keras.Model, columns: dict[str, np.ndarray]) -> np.ndarray:
    return encoder.predict(tensors(columns), verbose=0)


def test_without_missing_values_it_is_a_feature_space() -> None:
    columns = {"kind": NAMES, "place": WHOLE, "size": NUMBERS}
    space = keras.utils.FeatureSpace(
        {"kind": "string_categorical", "place": "integer_categorical", "size": "float_normalized"}, output_mode="concat"
    )
    space.adapt(tf.data.Dataset.from_tensor_slices(tensors(columns)))
    found = encoded(columns_encoder(columns), columns)
    np.testing.assert_allclose(found, space(tensors(columns)), atol=1e-5)


def test_missing_numbers_are_imputed_as_by_scikit_learn() -> None:
    found = encoded(columns_encoder({"gaps": GAPS, "size": NUMBERS}), {"gaps": GAPS, "size": NUMBERS})
    imputed = SimpleImputer(strategy="median", add_indicator=True).fit_transform(np.stack([GAPS, NUMBERS], 1))
    imputed[:, :2] = (imputed[:, :2] - imputed[:, :2].mean(0)) / imputed[:, :2].std(0)
    np.testing.assert_allclose(found, imputed, atol=1e-5)


def test_missing_texts_are_imputed_by_the_most_frequent() -> None:
    texts = np.array(["a", "a", "b", "", ""], object)
    found = encoded(columns_encoder({"kind": texts}), {"kind": np.array(["a", "b", "", "?"], object)})
    np.testing.assert_array_equal(found, [[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 0]])


def test_a_column_that_missed_nothing_in_training_has_no_indicator_later() -> None:
    encoder = columns_encoder({"kind": NAMES, "size": NUMBERS})
    given = {"kind": np.array(["", "c"], object), "size": np.array([np.nan, np.median(NUMBERS)], "float32")}
    found = encoded(encoder, given)
    assert found.shape == (2, 5) and np.all(np.isfinite(found))
    np.testing.assert_array_equal(found[0], found[1])


def test_what_is_always_missing_or_always_the_same_stays_finite() -> None:
    columns = {"never": np.full(3, np.nan), "same": np.full(3, 7.0), "kind": np.array([""] * 3, object)}
    other = {"never": np.array([1.0, 2.0]), "same": np.array([7.0, 8.0]), "kind": np.array(["", "a"], object)}
    for bins in (0, 2):
        assert np.abs(encoded(columns_encoder(columns, bins=bins), other)).max() <= 2


def test_bins_are_the_shares_below_a_number() -> None:
    columns = {"gaps": GAPS, "size": NUMBERS}
    found = encoded(columns_encoder(columns, bins=3), columns)[:, 3:]
    for place, column in enumerate(columns.values()):
        filled = np.where(np.isnan(column), np.nanmedian(column), column)
        edges = np.quantile(column[~np.isnan(column)].astype("float64"), np.linspace(0, 1, 4))
        expected = PiecewiseLinear(edges)(filled[:, None])
        np.testing.assert_allclose(found[:, 3 * place : 3 * place + 3], expected, atol=1e-6)


def test_columns_of_words_become_bags() -> None:
    texts = np.array(["so good", "so bad", "so so"], object)
    found = encoded(
        columns_encoder({"review.words": texts}), {"review.words": np.array(["so so good", "new", ""], object)}
    )
    so, good = np.log(1 + 3 / 4), np.log(1 + 3 / 2)  # TextVectorization: log(1 + texts / (1 + texts with the word))
    np.testing.assert_allclose(found[0], [0, 2 * so, good, 0], atol=1e-6)
    assert found[1, 0] > 0 and not found[1:, 1:].any() and not found[2].any()
    assert encoded(columns_encoder({"review": texts}), {"review": texts}).shape == (3, 4)  # a category each


PLAIN = """
import sys, keras, numpy, tensorflow as tf
encoder = keras.saving.load_model(sys.argv[1])
texts = {"kind": tf.constant(["a", ""]), "review.words": tf.constant(["so good", "bad"])}
found = encoder.predict({"size": numpy.array([1.5, numpy.nan]), "place": numpy.array([1, 2]), **texts}, verbose=0)
assert not [name for name in sys.modules if name.startswith("kopt")]
print(found.tolist())
"""


def test_keras_loads_it_without_kopt(tmp_path, python) -> None:
    """In safe mode, as Keras loads by default; of layers only those of Keras."""
    columns = {"kind": NAMES, "place": WHOLE, "size": GAPS, "review.words": np.array(["so good", "bad"] * 30, object)}
    encoder = columns_encoder(columns, bins=4)
    encoder.save(tmp_path / "encoder.keras")
    found = eval(python("-c", PLAIN, str(tmp_path / "encoder.keras")).stdout.splitlines()[-1])
    given = {"kind": ["a", ""], "place": [1, 2], "size": [1.5, np.nan], "review.words": ["so good", "bad"]}
    types = {"kind": object, "place": "int64", "size": "float32", "review.words": object}
    expected = encoded(encoder, {name: np.array(column, types[name]) for name, column in given.items()})
    np.testing.assert_array_equal(np.array(found, "float32"), expected)
