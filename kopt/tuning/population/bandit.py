"""A Gaussian process over time and numbers: an upper bound of a gain that changes over time."""

import numpy as np

__all__ = ["upper_bound"]

LENGTH = 0.3  # of the kernel, in shares of the ranges
NOISE = 0.1  # variance of a standardized gain
BOUND = 2.0  # standard deviations above the mean


def upper_bound(
    points: np.ndarray, time: float, known: np.ndarray, times: np.ndarray, gains: np.ndarray, forget: float
) -> np.ndarray:
    """Return mean + 2 standard deviations of the gain at points, by a Gaussian process.

    kernel((x, t), (x', t')) = exp(-|x - x'|**2 / (2 length**2)) (1 - forget) ** (|t - t'| / 2), over gains of mean 0
    and variance 1.

    Args:
        points: Points in the unit cube, a row each.
        time: Their time.
        known: The points of known gains.
        times: The times of known gains.
        gains: The known gains.
        forget: How much less a gain counts for each unit of time, in [0, 1).

    Returns:
        A bound for each point, in standardized units.

    Example:
        >>> ends = np.array([[0.0], [1.0]])
        >>> bounds = upper_bound(ends, 0, ends, np.zeros(2), np.array([0.0, 1.0]), 0.1)
        >>> bool(bounds[1] > bounds[0])
        True

    Source:
        Bogunovic, Scarlett and Cevher, Time-Varying Gaussian Process Bandit Optimization, 2016, equation 4.
    """
    scaled = (gains - gains.mean()) / (gains.std() or 1.0)
    inner = kernel(known, times, known, times, forget) + NOISE * np.eye(len(known))
    cross = kernel(points, np.full(len(points), time), known, times, forget)
    solved = np.linalg.solve(inner, np.column_stack([scaled, cross.T]))
    variance = 1.0 - np.einsum("ij,ji->i", cross, solved[:, 1:])
    bounds: np.ndarray = cross @ solved[:, 0] + BOUND * np.sqrt(np.maximum(variance, 0.0))
    return bounds


def kernel(
    points: np.ndarray, times: np.ndarray, others: np.ndarray, other_times: np.ndarray, forget: float
) -> np.ndarray:
    """Return the covariance of gains."""
    squared = ((points[:, np.newaxis] - others[np.newaxis]) ** 2).sum(-1)
    apart = np.abs(times[:, np.newaxis] - other_times[np.newaxis])
    found: np.ndarray = np.exp(-squared / (2 * LENGTH**2)) * (1 - forget) ** (apart / 2)
    return found
