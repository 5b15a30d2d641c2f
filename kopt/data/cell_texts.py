"""The cells of arrays as texts, as a CSV file has them."""

import numpy as np

__all__ = ["as_texts"]


def as_texts(values: np.ndarray) -> list[str]:
    """Return the texts of an array; what is None or not a number is empty, and whole numbers have no point.

    Args:
        values: Numbers, texts or Python objects, (n,).

    Returns:
        n texts.

    Example:
        >>> as_texts(np.array([1.0, None, "a", 0.5], object))
        ['1', '', 'a', '0.5']

    Source:
        `str`.
    """
    return ["" if is_nothing(one) else one if isinstance(one, str) else as_text(one) for one in values.tolist()]


def as_text(one: object) -> str:
    return str(int(one)) if isinstance(one, float) and one.is_integer() and abs(one) < 2**53 else str(one)


def is_nothing(one: object) -> bool:
    """Return whether an object stands for a missing value: None, NaN, pandas' NA and NaT."""
    return one is None or type(one).__name__ in ("NAType", "NaTType") or isinstance(one, float) and one != one
