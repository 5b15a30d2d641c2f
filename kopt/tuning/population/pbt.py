"""Population based training: members copy better ones and go on with other numbers."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kopt.tuning.population.bandit import upper_bound
from kopt.tuning.space.space import Range
from kopt.values.checks import require
from kopt.values.fields import Number, Value
from kopt.values.registry import Registry

__all__ = ["PB2", "PBT", "registry"]

registry: Registry["Exploit"] = Registry("population based training")

Numbers = Mapping[str, float]
Ranges = Mapping[str, Range]


class Record(NamedTuple):
    """What a member did between two exchanges: when, with which numbers, and by how much its score grew."""

    epoch: int
    numbers: Numbers
    gain: float


class Exploit(Value):
    """A kind of population based training.

    Args:
        every: The epochs between two exchanges, >= 1.
        share: The share of members that copy, and of those that are copied, in (0, 0.5].

    Raises:
        ValueError: When an argument is out of range.
    """

    every: int = 1
    share: Number = 0.25

    def check(self) -> None:
        require(self.every >= 1, "every", "must be >= 1", self.every)
        require(0 < self.share <= 0.5, "share", "must be in (0, 0.5]", self.share)

    def copies(self, scores: Sequence[float], random: np.random.Generator) -> dict[int, int]:
        """Return which members copy, and whom: of the worst ones each one of the best, by chance.

        Args:
            scores: The members' scores, more is better; what is no number is the worst.
            random: The generator.

        Returns:
            Member -> the member that it copies.
        """
        found = np.nan_to_num(np.asarray(scores, "float64"), nan=-np.inf)
        count = max(1, int(self.share * len(found)))
        ranked = np.argsort(-found, kind="stable")
        best, worst = ranked[:count], ranked[-count:]
        pairs = {int(loser): int(random.choice(best)) for loser in worst}
        return {loser: winner for loser, winner in pairs.items() if found[winner] > found[loser]}

    @abstractmethod
    def explore(
        self, numbers: Numbers, ranges: Ranges, epoch: int, records: Sequence[Record], random: np.random.Generator
    ) -> dict[str, float]:
        """Return the numbers of a member that has copied another.

        Args:
            numbers: The numbers that it has copied: path -> number.
            ranges: Path -> range.
            epoch: The number of epochs that have run.
            records: What all members did so far.
            random: The generator.

        Returns:
            Path -> number, within its range.
        """


@registry.register
class PBT(Exploit):
    """Population based training: the worst members copy the weights and numbers of the best, and change the numbers.

    A copied number is drawn anew from its range with the probability `resample`, else multiplied by one of `factors`,
    within its range.

    Args:
        every: The epochs between two exchanges, >= 1.
        share: The share of members that copy, and of those that are copied, in (0, 0.5].
        factors: The factors of a number on its own scale, each > 0.
        resample: The probability of a new draw, in [0, 1].

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> PBT(every=2).copies([0.1, 0.9, 0.5, 0.6], np.random.default_rng(0))
        {0: 1}

    Source:
        Jaderberg et al., Population Based Training of Neural Networks, 2017.
    """

    factors: tuple[float, ...] = (0.8, 1.25)
    resample: Number = 0.25

    def check(self) -> None:
        super().check()
        require(len(self.factors) >= 1 and min(self.factors) > 0, "factors", "must be > 0 each", self.factors)
        require(0 <= self.resample <= 1, "resample", "must be in [0, 1]", self.resample)

    def explore(
        self, numbers: Numbers, ranges: Ranges, epoch: int, records: Sequence[Record], random: np.random.Generator
    ) -> dict[str, float]:
        """Return the numbers of a member that has copied another: drawn anew, or times a factor."""
        found = {}
        for path, allowed in ranges.items():
            drawn, factor = random.random() < self.resample, random.choice(self.factors)
            number = at_share(allowed, random.random()) if drawn else numbers[path] * factor
            found[path] = float(np.clip(number, allowed.low, allowed.high))
        return found


@registry.register
class PB2(Exploit):
    """Population based bandits: copied numbers are chosen by a model of how much a score grows, for small populations.

    A Gaussian process over time and numbers is fitted to the gains of all members so far; of `candidates` random points
    that of the highest upper bound of the gain is taken.

    Args:
        every: The epochs between two exchanges, >= 1.
        share: The share of members that copy, and of those that are copied, in (0, 0.5].
        candidates: The number of random points, >= 1.
        forget: How much less a gain counts for each epoch that it is old, in [0, 1).

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> from kopt.tuning import Range
        >>> records = [Record(1, {"rate": rate}, -(rate - 0.5) ** 2) for rate in np.linspace(0, 1, 9)]
        >>> bandit = PB2(candidates=200)
        >>> chosen = bandit.explore({"rate": 0.9}, {"rate": Range(0, 1)}, 1, records, np.random.default_rng(0))
        >>> 0.2 < chosen["rate"] < 0.8
        True

    Source:
        Parker-Holder, Nguyen and Roberts, Provably Efficient Online Hyperparameter Optimization with Population-Based
        Bandits, 2020, algorithm 1 and equation 9.
    """

    candidates: int = 500
    forget: Number = 0.1

    def check(self) -> None:
        super().check()
        require(self.candidates >= 1, "candidates", "must be >= 1", self.candidates)
        require(0 <= self.forget < 1, "forget", "must be in [0, 1)", self.forget)

    def explore(
        self, numbers: Numbers, ranges: Ranges, epoch: int, records: Sequence[Record], random: np.random.Generator
    ) -> dict[str, float]:
        """Return the numbers of the highest upper bound of the gain."""
        points = random.random((self.candidates, len(ranges)))
        seen = [record for record in records if np.isfinite(record.gain)]
        best = points[0]
        if seen:
            known = np.array([[share_of(ranges[path], record.numbers[path]) for path in ranges] for record in seen])
            times, gains = np.array([record.epoch for record in seen]), np.array([record.gain for record in seen])
            best = points[np.argmax(upper_bound(points, epoch, known, times, gains, self.forget))]
        return {path: at_share(allowed, share) for (path, allowed), share in zip(ranges.items(), best.tolist())}


def at_share(allowed: Range, share: float) -> float:
    """Return the number at a share of a range, on its own scale."""
    if allowed.log:
        return float(allowed.low * (allowed.high / allowed.low) ** share)
    return float(allowed.low + share * (allowed.high - allowed.low))


def share_of(allowed: Range, number: float) -> float:
    """Return the share of a range at which a number is."""
    if allowed.log:
        return float(np.log(number / allowed.low) / np.log(allowed.high / allowed.low))
    return float((number - allowed.low) / (allowed.high - allowed.low))
