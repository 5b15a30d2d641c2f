"""What the models' formulas promise, by NumPy and by what must not be seen."""

import numpy as np
import pytest

from kopt import models

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("model", [models.CharGRU(12, width=8), models.CharTransformer(12, width=8, layers=1, heads=2)])
def test_no_character_is_seen_before_its_turn(model) -> None:
    built, text = model.build(), RANDOM.integers(0, 256, (1, 12))
    later = text.copy()
    later[0, 7:] = (later[0, 7:] + 1) % 256
    one, other = built.predict(text, verbose=0), built.predict(later, verbose=0)
    np.testing.assert_allclose(one[:, :7], other[:, :7], atol=1e-6)
    assert np.abs(one[:, 7:] - other[:, 7:]).max() > 1e-4


def test_a_forecast_moves_with_the_level_and_the_scale_of_its_window() -> None:
    for model in (models.ForecastMLP((20, 2), 3), models.ForecastTCN((20, 2), 3, filters=4, levels=2)):
        built, window = model.build(), RANDOM.normal(size=(5, 20, 2)).astype("float32")
        moved = window * [3.0, 1.0] + [7.0, 0.0]
        expected = 3 * built.predict(window, verbose=0) + 7
        np.testing.assert_allclose(built.predict(moved, verbose=0), expected, rtol=1e-4, atol=1e-4)


def test_a_tcn_sees_as_far_as_it_says() -> None:
    built = models.ForecastTCN((40, 1), 1, filters=4, levels=3).build()
    window = RANDOM.normal(size=(1, 40, 1)).astype("float32")
    # Mean and deviation of the window are kept, so that only the convolutions can see the change.
    changed = window.copy()
    changed[0, [0, 1]] = window[0, [1, 0]]
    np.testing.assert_allclose(built.predict(window, verbose=0), built.predict(changed, verbose=0), rtol=1e-5)
    changed = window.copy()
    changed[0, [38, 39]] = window[0, [39, 38]]
    assert np.abs(built.predict(window, verbose=0) - built.predict(changed, verbose=0)).max() > 1e-4


def test_factorization_is_its_formula() -> None:
    model = models.Factorization(5, 7, width=3)
    built = model.build()
    weights = {
        weight.path.split("/")[-2]: RANDOM.normal(size=weight.shape).astype("float32") for weight in built.weights
    }
    for weight in built.weights:
        name = weight.path.split("/")[-2]
        if not name.startswith("dense"):
            weight.assign(weights[name])
    pairs = np.array([[1, 2], [5, 7], [0, 0]])
    users, items = pairs.T
    expected = (weights["user"][users] * weights["item"][items]).sum(1)
    expected += weights["user_bias"][users, 0] + weights["item_bias"][items, 0]
    np.testing.assert_allclose(built.predict(pairs, verbose=0)[:, 0], expected, rtol=1e-5)


def test_factorization_numbers_what_it_has_seen() -> None:
    encoder = models.Factorization(2, 3).encoder(np.array([[10, 7], [20, 8], [10, 9]], "int32"))
    numbers = encoder.predict(np.array([[10, 7], [20, 9], [99, 1]]), verbose=0)
    assert numbers[2].tolist() == [0, 0] and len(set(map(tuple, numbers.tolist()))) == 3
    with pytest.raises(ValueError, match="^model.items must be >= 3 for these data, got 2"):
        models.Factorization(2, 2).encoder(np.array([[10, 7], [20, 8], [10, 9]], "int32"))


@pytest.mark.parametrize("model", [models.Autoencoder(9, width=4), models.TwoTower(9, width=4, hidden=5)])
def test_known_items_are_not_recommended(model) -> None:
    built, known = model.build(), (RANDOM.random((6, 9)) < 0.4).astype("float32")
    known[:, 0] = 1
    assert np.all((built.predict(known, verbose=0) == -1e9) == (known > 0))
    assert np.all(built(known, training=True) > -1e8)


def test_residual_stages_add_their_input() -> None:
    plain, residual = (models.ConvNet((8, 8, 1), 3, width=4, stages=1, residual=one).build() for one in (False, True))
    assert residual.count_params() - plain.count_params() == 4 + 4  # one 1 x 1 convolution and its bias


def test_tokens_are_words_or_characters() -> None:
    words = models.TextBag(2, vocabulary=50, length=6, ngrams=2).encoder(["good food, good", "bad food"])
    known = words.layers[-1].get_vocabulary()
    assert {"good", "food", "good food", "bad food"} <= set(known) and known[:2] == ["", "[UNK]"]
    characters = models.TextBag(2, vocabulary=50, length=6, split="characters").encoder(["很好", "不好"])
    assert set(characters.layers[-1].get_vocabulary()) == {"", "[UNK]", "很", "好", "不"}
