"""Writing: texts to tokens and back, and what a language model is asked."""

import keras
import numpy as np
import pytest

from kopt.experiment.tokens import text_of, tokens_of
from kopt.experiment.writing import writing
from kopt.models import CharGRU, CharTransformer
from kopt.tasks.continuation import continuation


def follows(tokens: np.ndarray) -> np.ndarray:
    return np.eye(256)[(tokens + 1) % 256] * 1e3


@pytest.mark.parametrize("text", ["a", "naïve 茶\n\x00", "a text that is longer than the window"])
def test_a_text_comes_back(text: str) -> None:
    assert text_of(tokens_of(text, ()), ()) == text


def test_tokens_of_names_are_the_longest_that_fit() -> None:
    labels = ("a", "b", "ab", "")
    assert tokens_of("aabb", labels) == [0, 2, 1] and text_of([2, 0, 9], labels) == "aba\ufffd"
    with pytest.raises(ValueError, match="^start must be made of tokens of the model, got 'cb'"):
        tokens_of("acb", labels)
    assert text_of([104, 0xE8, 0x8C], ()) == "h\ufffd"  # in the middle of a character


def test_a_short_text_is_seen_from_its_end_and_a_long_one_by_its_last_tokens() -> None:
    seen: list[list[int]] = []

    def asked(tokens: np.ndarray) -> np.ndarray:
        seen.append(tokens[0].tolist())
        return follows(tokens)

    tokens = continuation(asked, np.array([[5, 6]]), 4)
    assert [int(next(tokens)[0]) for _ in range(4)] == [7, 8, 9, 10]
    assert seen == [[5, 6, 0, 0], [5, 6, 7, 0], [5, 6, 7, 8], [6, 7, 8, 9]]


@pytest.mark.parametrize("network", [CharGRU(8, width=8, layers=1), CharTransformer(8, width=8, layers=1, heads=2)])
def test_what_stands_behind_a_short_text_is_not_looked_at(network) -> None:
    model, text = network.build(), np.array([[65, 66, 67, 0, 0, 0, 0, 0]])
    other = np.where(text == 0, 90, text)
    np.testing.assert_allclose(model(text)[:, 2], model(other)[:, 2], rtol=1e-6)
    assert np.abs(model(text)[:, 3] - model(other)[:, 3]).max() > 1e-4


def test_the_temperature_divides_the_logits() -> None:
    odds = lambda tokens: np.broadcast_to(np.log([0.8, 0.2]), (*tokens.shape, 2))
    for temperature in (0.5, 1.0, 2.0):
        tokens = continuation(odds, np.zeros((4000, 1), int), 1, temperature=temperature)
        powers = np.array([0.8, 0.2]) ** (1 / temperature)
        assert next(tokens).mean() == pytest.approx(powers[1] / powers.sum(), abs=0.03)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"length": 0}, "length must be >= 1, got 0"),
        ({"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ({"start": ""}, "start must have a character or more, got ''"),
    ],
)
def test_bad_arguments_are_refused_at_once(how, sentence: str) -> None:
    model = keras.Sequential([keras.Input((8,), dtype="int32"), keras.layers.Embedding(256, 256)])
    with pytest.raises(ValueError, match=f"^{sentence}"):
        writing(model, **{"start": "a"} | how)
