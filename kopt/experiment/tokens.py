"""Tokens: texts as a language model takes them, and back."""

import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from kopt.values.checks import require

__all__ = ["text_of", "tokens_of", "window_of", "windows_in"]

WINDOW = 256  # tokens that a model sees, where it takes any number


def tokens_of(text: str, labels: Sequence[str]) -> list[int]:
    """Return the tokens of a text: at each place the longest that fits.

    Args:
        text: The text.
        labels: The text of each token; empty for the bytes of UTF-8.

    Raises:
        ValueError: When the text is empty or has what is no token.

    Example:
        >>> tokens_of("abba", ("a", "b", "ab")), tokens_of("ab", ())
        ([2, 1, 0], [97, 98])
    """
    require(len(text) > 0, "start", "must have a character or more", text)
    if not labels:
        return list(text.encode())
    known, found, place = {name: number for number, name in enumerate(labels) if name}, list[int](), 0
    most = max(map(len, known))
    while place < len(text):
        fits = (text[place : place + size] for size in range(most, 0, -1))
        token = next((one for one in fits if one in known), None)
        require(token is not None, "start", "must be made of tokens of the model", text[place:])
        assert token is not None
        found.append(known[token])
        place += len(token)
    return found


def text_of(tokens: Sequence[int], labels: Sequence[str]) -> str:
    """Return tokens as a text; bytes that are no UTF-8 as the replacement character.

    Args:
        tokens: The numbers of tokens.
        labels: As for `tokens_of`.

    Example:
        >>> text_of([2, 1, 0], ("a", "b", "ab")), text_of([97, 98], ())
        ('abba', 'ab')
    """
    if not labels:
        return bytes(tokens).decode("utf-8", "replace")
    return "".join(labels[token] if token < len(labels) else "\ufffd" for token in tokens)


def window_of(model: keras.Model) -> int:
    """Return how many tokens a language model sees at once.

    Args:
        model: The model; 256 for one that takes any number.

    Example:
        >>> window_of(keras.Sequential([keras.Input((8,), dtype="int32"), keras.layers.Embedding(256, 256)]))
        8
    """
    return model.input_shape[1] or WINDOW


def windows_in(path: pathlib.Path, length: int, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cut the text of a file into windows; the rest at the end is dropped.

    Args:
        path: The file.
        length: Tokens of a window.
        labels: As for `tokens_of`.

    Returns:
        (n, length) tokens, and the token after each of them, of the same shape; int32.

    Raises:
        ValueError: When the text is not longer than a window.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "a.txt"
        ...     _ = file.write_text("abcdef")
        ...     x, y = windows_in(file, 2, ())
        >>> bytes(x.ravel().tolist()), bytes(y.ravel().tolist())
        (b'abcd', b'bcde')

    Source:
        As `kopt.data.Characters`.
    """
    tokens = tokens_of(path.read_text("utf-8"), labels) if labels else list(path.read_bytes())
    count = (len(tokens) - 1) // length
    require(count >= 1, "rows", f"must be a text of more than {length} tokens", len(tokens))
    stream = np.array(tokens[: count * length + 1], "int32")
    return stream[:-1].reshape(count, length), stream[1:].reshape(count, length)
