"""Continuation: what a language model writes after given tokens."""

from collections.abc import Callable, Iterator

import numpy as np

from kopt.values.checks import require

__all__ = ["continuation"]


def continuation(
    logits_of: Callable[[np.ndarray], np.ndarray],
    starts: np.ndarray,
    window: int,
    *,
    temperature: float = 1.0,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Yield the tokens that a language model writes, one after the other without an end, drawn by its probabilities.

    P(token) = softmax(logits / temperature). The model sees the last `window` tokens; a shorter text is filled up
    behind its end, where a model that predicts a token from those before it does not look.

    Args:
        logits_of: (n, window) tokens -> (n, window, tokens) logits of the next one at each place.
        starts: (n, m) tokens, m >= 1.
        window: The number of tokens that the model takes, >= 1.
        temperature: > 0; below 1 the likely tokens are drawn more often than the model says, above 1 less often.
        seed: The seed of the draws.

    Returns:
        An iterator of (n,) tokens.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> follows = lambda tokens: np.eye(256)[tokens + 1] * 1e3
        >>> tokens = continuation(follows, np.array([[97, 98]]), 8)
        >>> "".join(chr(next(tokens)[0]) for _ in range(10))
        'cdefghijkl'

    Source:
        Karpathy, The Unreasonable Effectiveness of Recurrent Neural Networks, 2015; Gumbel, 1954, for the draws.
    """
    require(starts.ndim == 2 and starts.shape[1] >= 1, "starts", "must have a token or more a row", starts.shape)
    require(window >= 1, "window", "must be >= 1", window)
    require(temperature > 0, "temperature", "must be > 0", temperature)
    return drawn(logits_of, starts[:, -window:], window, temperature, np.random.default_rng(seed))


def drawn(
    logits_of: Callable[[np.ndarray], np.ndarray],
    held: np.ndarray,
    window: int,
    temperature: float,
    draws: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Yield the next tokens, and let each push the first one out of a full window."""
    while True:
        known = held.shape[1]
        filled = np.pad(held, ((0, 0), (0, window - known)))
        scores = np.asarray(logits_of(filled), "float64")[:, known - 1] / temperature
        # The greatest of logits and Gumbel noise is a draw by their softmax.
        chosen = (scores + draws.gumbel(size=scores.shape)).argmax(-1).astype(held.dtype)
        yield chosen
        held = np.hstack([held, chosen[:, None]])[:, -window:]
