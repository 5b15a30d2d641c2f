"""The order of examples in an epoch."""

import numpy as np

from kopt.distribute import from_chief
from kopt.values.checks import require
from kopt.values.types import Strategy

__all__ = ["order"]


def order(examples: int, *, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """Return the order of an epoch's examples: a pure function of (seed, epoch), the same on any engine and devices.

    It is a permutation by Philox with key (seed, epoch), so that nothing needs saving and any epoch can be repeated.

    Args:
        examples: The number of examples, >= 0.
        seed: The seed of the run, >= 0.
        epoch: The number of the epoch, from 0 on.
        shuffle: Whether to permute; else 0, 1, 2, ...

    Returns:
        Array of shape (examples,), int32.

    Raises:
        ValueError: When the seed or the epoch is negative.

    Example:
        >>> order(5, seed=0, epoch=1)
        array([0, 2, 4, 1, 3], dtype=int32)

    Source:
        Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011.
    """
    require(seed >= 0, "seed", "must be >= 0", seed)
    require(epoch >= 0, "epoch", "must be >= 0", epoch)
    if not shuffle:
        return np.arange(examples, dtype="int32")
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return generator.permutation(examples).astype("int32")


def seed_of_run(seed: int | None, strategy: Strategy) -> int:
    """Return the seed of a run's orders, the chief's on every worker; draw it from NumPy's generator when None."""
    seed = int(np.random.randint(2**31)) if seed is None else seed
    # Two halves: all of 64 bits go through the workers' float64.
    high, low = from_chief(strategy, divmod(seed, 2**32))
    return int(high) * 2**32 + int(low)
