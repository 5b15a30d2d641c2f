"""Handwritten digits."""

from kopt.checks import needs, require
from kopt.data.base import Baseline, Data, Splits, checksum, registry, require_shares, split
from kopt.fields import Number

__all__ = ["Digits"]

SOURCE = "f6d9e39f37dc45d327f6db33428ee58970ccceabb2535a5c179de35886b70443"


@registry.register
class Digits(Data):
    """1,797 scans of handwritten digits, 8 x 8 pixels of 0 to 16, ten classes; x: (n, 8, 8, 1) float32, y: (n,) int32.

    It comes inside scikit-learn: nothing is downloaded.

    Args:
        validation: The share of rows to choose by, in (0, 1).
        test: The share of rows to report on, in (0, 1 - validation).
        seed: Which rows go where.
        examples: Take only so many rows, for a quick look; None for all.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> Digits().load().train.x.shape
        (1168, 8, 8, 1)

    Source:
        Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998; the test
        set, as in `sklearn.datasets.load_digits`; license CC BY 4.0.
    """

    validation: Number = 0.15
    test: Number = 0.2
    seed: int = 0
    examples: int | None = None

    def check(self) -> None:
        require_shares(self.validation, self.test)
        require(self.seed >= 0, "seed", "must be >= 0", self.seed)
        require(self.examples is None or self.examples >= 30, "examples", "must be >= 30", self.examples)

    def load(self) -> Splits:
        source = needs("sklearn.datasets", "recipes").load_digits()
        digest = checksum(source.data, source.target.astype("int64"))
        require(digest == SOURCE, "sklearn.datasets.load_digits()", f"must have sha256 {SOURCE}", digest)
        x = source.images[..., None].astype("float32")[: self.examples]
        y = source.target.astype("int32")[: self.examples]
        return split(x, y, validation=self.validation, test=self.test, seed=self.seed, digest=digest)

    def baseline(self, splits: Splits) -> Baseline:
        machine = needs("sklearn.svm", "recipes").SVC(gamma=0.001, C=10.0)
        flat = [part.x.reshape(len(part.x), -1) for part in (splits.train, splits.test)]
        return Baseline("SVC (RBF kernel)", float(machine.fit(flat[0], splits.train.y).score(flat[1], splits.test.y)))
