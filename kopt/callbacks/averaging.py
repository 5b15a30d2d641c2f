"""Kinds of weight averages over a run: exponential, equal from a share of the run on, or over a window."""

from keras import ops

from kopt.schedules import Constant, Schedule
from kopt.values.checks import require
from kopt.values.fields import Number, Value
from kopt.values.registry import Registry
from kopt.values.types import Scalar

__all__ = ["EMA", "LAWA", "SWA", "Averaging", "averagings"]

averagings: Registry["Averaging"] = Registry("averagings")


class Averaging(Value):
    """A kind of average of the weights; see `callbacks.Average`.

    Example:
        >>> EMA(0.99)
        EMA(0.99)
    """

    in_fit = "kopt.callbacks.Average({})"

    def share(self, count: Scalar) -> Scalar:
        """Return the weight of the newest weights when `count` were averaged before: the same for each."""
        return 1.0 / (count + 1.0)


@averagings.register
class EMA(Averaging):
    """The exponential moving average over updates.

    average <- decay * average + (1 - decay) * weights after each update; the first average is the first weights.

    Args:
        decay: In [0, 1): about 1 / (1 - decay) updates are averaged.

    Raises:
        ValueError: When the decay is out of range.

    Example:
        >>> [round(float(EMA(0.9).share(count)), 3) for count in (0, 1, 7)]
        [1.0, 0.1, 0.1]

    Source:
        Polyak and Juditsky, 1992; as `torch.optim.swa_utils.get_ema_multi_avg_fn`.
    """

    decay: Number = 0.999

    def check(self) -> None:
        require(0 <= self.decay < 1, "decay", "must be in [0, 1)", self.decay)

    def share(self, count: Scalar) -> Scalar:
        return ops.where(count > 0, 1.0 - self.decay, 1.0)


@averagings.register
class SWA(Averaging):
    """Stochastic weight averaging: the equal average of the weights at the ends of the last epochs.

    average <- average + (weights - average) / (n + 1), from the first epoch that begins at `start` of the run or later.

    Args:
        start: The share of the run's epochs after which it begins, in [0, 1).

    Raises:
        ValueError: When the start is out of range.

    Example:
        >>> from kopt.schedules import Cosine
        >>> SWA(0.75).schedule(Cosine(0.1), 0.05)
        Cosine(0.1).then(Constant(0.05), at=0.75)

    Source:
        Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018.
    """

    start: Number = 0.75

    def check(self) -> None:
        require(0 <= self.start < 1, "start", "must be in [0, 1)", self.start)

    def schedule(self, before: Schedule, rate: float | Schedule) -> Schedule:
        """Return the rates of a run for `LearningRate(..., unit="run")`: before the start, and from there on.

        Args:
            before: The schedule until the start.
            rate: A constant rate, or a schedule such as `Triangular`, in shares of the run.

        Returns:
            The schedule of the whole run.

        Raises:
            ValueError: When the start is 0.
        """
        return before.then(rate if isinstance(rate, Schedule) else Constant(rate), at=self.start)


@averagings.register
class LAWA(Averaging):
    """Latest weight averaging: the equal average of the weights at the ends of the last `window` epochs.

    Args:
        window: The number of epochs, and of copies of the weights, >= 1.

    Raises:
        ValueError: When the window is out of range.

    Example:
        >>> LAWA(3)
        LAWA(3)

    Source:
        Kaddour, Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging, 2022.
    """

    window: int = 5

    def check(self) -> None:
        require(self.window >= 1, "window", "must be >= 1", self.window)
