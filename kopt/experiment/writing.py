"""Writing: the text that a language model writes after the start of one."""

import itertools
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from kopt.experiment.tokens import text_of, tokens_of, window_of
from kopt.tasks.continuation import continuation
from kopt.values.checks import require

__all__ = ["writing"]


def writing(
    model: keras.Model,
    start: str,
    labels: Sequence[str] = (),
    *,
    length: int = 200,
    temperature: float = 1.0,
    seed: int = 0,
) -> Iterator[str]:
    """Yield a text and what a language model writes after it, one token longer each time.

    Args:
        model: The model: (n, window) tokens -> (n, window, tokens) logits.
        start: The start of the text.
        labels: The text of each token; empty for the bytes of UTF-8.
        length: The number of tokens to write, >= 1.
        temperature: As for `kopt.tasks.continuation`, > 0.
        seed: The seed of the draws.

    Returns:
        An iterator of texts.

    Raises:
        ValueError: When the start is empty or has what is no token, or another argument is out of range.

    Example:
        >>> model = keras.Sequential([keras.Input((8,), dtype="int32"), keras.layers.Embedding(256, 256)])
        >>> _ = model.layers[0].embeddings.assign(np.roll(np.eye(256), 1, 1) * 1e3)  # the byte that follows
        >>> list(writing(model, "ab", length=2))
        ['abc', 'abcd']

    Source:
        See `kopt.tasks.continuation`.
    """
    require(length >= 1, "length", "must be >= 1", length)
    kinds = int(model.output_shape[-1])
    require(bool(labels) or kinds <= 256, "labels", "must be given for more tokens than there are bytes", kinds)
    tokens = tokens_of(start, labels)
    starts = np.array([tokens], "int32")
    drawn = continuation(model.predict_on_batch, starts, window_of(model), temperature=temperature, seed=seed)
    return longer(tokens, itertools.islice(drawn, length), labels)


def longer(tokens: list[int], drawn: Iterator[np.ndarray], labels: Sequence[str]) -> Iterator[str]:
    """Yield the text of tokens after each further one."""
    for token in drawn:
        tokens.append(int(token[0]))
        yield text_of(tokens, labels)
