"""Diagnosis: findings in the curves of a run, in plain words, with advice."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kopt.callbacks.base import registry
from kopt.training.callback import Callback
from kopt.values.checks import require
from kopt.values.types import CallbackState, Logs

__all__ = ["Diagnosis", "Verdict", "diagnose"]

log = logging.getLogger("kopt")

LEAST_EPOCHS = 6
HIGH = 0.45  # the share of its first value at which a loss that has stopped falling is high
NOISY = 0.1  # jumps from epoch to epoch, in terms of the whole fall
JUMPY = 0.15  # the same, in terms of the level at the end
RISE = 0.08  # of a validation loss from its least, in terms of its level there
GAP = 0.6  # between validation and training, in terms of what training has learned
FLAT, NEARLY_FLAT = 0.03, 0.1  # the fall in the last third, in terms of the whole
STEADY = 0.25  # the fall in the last third, in terms of the loss at its beginning, from which a loss is not flat
ENDED = 0.05  # the last rate, in terms of the highest, at which a schedule has run its course
READ = ("loss", "val_loss", "learning_rate")


class Verdict(NamedTuple):
    """One finding: its name, the evidence in the curves, and advice.

    Example:
        >>> print(Verdict("plateau", "the loss is flat.", "Stop earlier."))
        plateau: the loss is flat. Stop earlier.
    """

    finding: str
    evidence: str
    advice: str

    def __str__(self) -> str:
        return f"{self.finding}: {self.evidence} {self.advice}"


@registry.register
class Diagnosis(Callback):
    """Print at the end of training what its curves show: see `diagnose`. The attribute `verdicts` has the verdicts.

    Args:
        verbose: 1 to print them, 0 to keep them only.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(1e-6), "mse")
        >>> diagnosis = Diagnosis(verbose=0)
        >>> _ = model.fit(np.eye(2), np.ones((2, 1)), epochs=10, callbacks=[diagnosis], verbose=0)
        >>> [verdict.finding for verdict in diagnosis.verdicts]
        ['rate too low']

    Source:
        The words of textbooks; see `diagnose`.
    """

    spans_epochs = True

    def __init__(self, verbose: int = 1):
        super().__init__()
        require(verbose in (0, 1), "verbose", "must be 0 or 1", verbose)
        self.verbose = verbose
        self.verdicts: list[Verdict] = []
        self.curves: dict[str, dict[int, float]] = {name: {} for name in READ}

    def on_train_begin(self, logs: Logs = None) -> None:
        self.curves = {name: {} for name in READ}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        for name, curve in self.curves.items():
            value = (logs or {}).get(name)
            if value is not None:
                curve[epoch] = float(value)

    def get_state(self) -> CallbackState:
        return {name: [[epoch, value] for epoch, value in curve.items()] for name, curve in self.curves.items()}

    def set_state(self, state: CallbackState) -> None:
        self.curves = {name: dict(points) for name, points in state.items()}

    def on_train_end(self, logs: Logs = None) -> None:
        losses, validation, rates = (self.curves[name] for name in READ)
        rate = {"learning_rate": list(rates.values())} if rates else {}
        both = sorted(losses.keys() & validation.keys())  # validation may run every few epochs
        if len(both) >= LEAST_EPOCHS and np.isfinite(list(losses.values())).all():
            curves = {"loss": [losses[epoch] for epoch in both], "val_loss": [validation[epoch] for epoch in both]}
            self.verdicts = diagnose(curves | rate, epochs=[epoch + 1 for epoch in both])
        else:
            self.verdicts = diagnose({"loss": list(losses.values())} | rate, epochs=[one + 1 for one in losses])
        if self.verbose:
            for verdict in self.verdicts:
                print(verdict)


def diagnose(history: Mapping[str, Sequence[float]], epochs: Sequence[int] | None = None) -> list[Verdict]:
    """Find over-fitting, under-fitting, plateaus, divergence, a bad rate and noisy validation in a history.

    It reads "loss" and "val_loss", relative to their first values, so that it serves any loss that falls towards 0; and
    "learning_rate", so that no decay is advised where a schedule has ended near 0. Rules of thumb:
    `recipes/benchmarks/diagnosis.py` has their precision and recall. Divergence comes alone.

    Args:
        history: Name -> a value an epoch, as `History.history`.
        epochs: The numbers of the epochs; from 1 when None.

    Returns:
        The verdicts; none where nothing is wrong, or after fewer than 6 epochs.

    Raises:
        ValueError: When the history has no loss, or curves of different lengths.

    Example:
        >>> falling = [1 / epoch for epoch in range(1, 11)]
        >>> rising = [0.9, 0.6, 0.5, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75]
        >>> [verdict.finding for verdict in diagnose({"loss": falling, "val_loss": rising})]
        ['over-fitting']

    Source:
        Goodfellow, Bengio and Courville, Deep Learning, 2016, sections 5.2 and 11.4; Smith, A Disciplined Approach to
        Neural Network Hyper-Parameters, 2018.
    """
    require("loss" in history, "history", "must hold a loss", sorted(history))
    losses = np.asarray(history["loss"], "float64")
    validation = np.asarray(history["val_loss"], "float64") if "val_loss" in history else None
    same = validation is None or len(validation) == len(losses)
    require(same, "history", "must have as many validation losses as losses", history.get("val_loss"))
    numbers = np.arange(1, len(losses) + 1) if epochs is None else np.asarray(epochs)
    require(len(numbers) == len(losses), "epochs", "must be as many as losses", epochs)
    if not np.isfinite(losses).all():
        return [diverged(f"the loss is {losses[-1]:g} at the end")]
    if len(losses) < LEAST_EPOCHS:
        return []
    train = Curve(losses, numbers)
    if train.end > train.start + max(0.1 * abs(train.start), 3 * train.noise) or train.rise > 0.5 * max(
        train.fall, 1e-12
    ):
        return [diverged(f"the loss was {train.least:.3g} at its least and is {train.end:.3g} at the end")]
    judged = Curve(validation, numbers) if validation is not None and np.isfinite(validation).all() else None
    found = [verdict for rule in RULES if (verdict := rule(train, judged))]
    return [advised_otherwise(one) for one in found] if ended(history.get("learning_rate", ())) else found


def ended(rates: Sequence[float]) -> bool:
    """Return whether a schedule has run its course: the last rate is next to nothing beside the highest."""
    return len(rates) > 0 and 0 <= rates[-1] <= ENDED * max(rates)


def advised_otherwise(verdict: Verdict) -> Verdict:
    """Return a verdict with the advice for a run whose rate has already decayed."""
    return Verdict(verdict.finding, verdict.evidence, AFTER_DECAY.get(verdict.finding, verdict.advice))


@dataclass(frozen=True)
class Curve:
    """The features of a loss by epoch that rules use."""

    values: np.ndarray
    epochs: np.ndarray

    @property
    def start(self) -> float:
        return float(self.values[0])

    @property
    def window(self) -> int:
        return max(2, len(self.values) // 8)

    @property
    def smooth(self) -> np.ndarray:
        """The means over a moving window."""
        return np.convolve(self.values, np.full(self.window, 1 / self.window), "valid")

    @property
    def least(self) -> float:
        return float(self.smooth.min())

    @property
    def least_epoch(self) -> int:
        """The number of the epoch in the middle of the window with the least mean."""
        return int(self.epochs[int(self.smooth.argmin()) + self.window // 2])

    @property
    def end(self) -> float:
        return float(self.smooth[-1])

    @property
    def fall(self) -> float:
        return self.start - self.least

    @property
    def rise(self) -> float:
        return self.end - self.least

    @property
    def noise(self) -> float:
        """The standard deviation of jumps from epoch to epoch; slow trends do not count."""
        later = self.values[len(self.values) // 4 :]
        return float(np.std(np.diff(later, 2)) / np.sqrt(6))

    def third(self, number: int) -> float:
        """Return how far the loss falls in one third of the epochs, by a straight line; the first epoch is left out."""
        part = np.array_split(self.values[1:], 3)[number]
        return float(-np.polyfit(np.arange(len(part)), part, 1)[0] * len(part)) if len(part) > 1 else 0.0

    def flat(self, share: float = FLAT) -> bool:
        """Return whether the loss has stopped falling, but for a share of its fall."""
        fall, level = self.third(2), abs(float(np.array_split(self.values, 3)[2][0]))
        return fall <= max(share * self.fall, 0.002 * abs(self.start)) and fall <= STEADY * level

    @property
    def jumps(self) -> bool:
        """Whether the loss jumps from epoch to epoch."""
        of_fall = self.noise > NOISY * max(self.fall, 0.02 * abs(self.start))
        return of_fall or self.noise > max(JUMPY * abs(self.end), NOISY / 5 * self.fall)


def diverged(evidence: str) -> Verdict:
    """Return the verdict on a loss that has diverged."""
    return Verdict("divergence", f"{evidence}.", "Try a tenth of the learning rate, a warm-up, or clipped gradients.")


def rate_too_high(train: Curve, judged: Curve | None) -> Verdict | None:
    """Return a verdict when the training loss jumps."""
    if not train.jumps:
        return None
    evidence = f"the loss jumps by {train.noise:.2g} from epoch to epoch, and has fallen by {max(train.fall, 0):.2g}."
    return Verdict("rate too high", evidence, "Try a third of the learning rate, or let it decay; or larger batches.")


def rate_too_low(train: Curve, judged: Curve | None) -> Verdict | None:
    """Return a verdict when a high training loss falls as fast at the end as at the beginning."""
    steady = train.third(2) > 0.4 * train.third(0) > 0 and train.third(2) > 2 * train.noise
    if not steady or train.end < HIGH * train.start:
        return None
    evidence = f"the loss falls as fast at the end as before, and is still {train.end:.3g} of {train.start:.3g}."
    return Verdict(
        "rate too low", evidence, "Try 3 to 10 times the learning rate (training.find_rate), or more epochs."
    )


def under_fitting(train: Curve, judged: Curve | None) -> Verdict | None:
    """Return a verdict when both losses have stopped falling and are high."""
    close = judged is None or judged.end - train.end <= 0.25 * abs(train.end)
    stopped = train.flat(NEARLY_FLAT) and train.end >= HIGH * train.start
    if not (stopped and close) or train.jumps or rate_too_low(train, judged):
        return None
    evidence = f"the training loss has stopped at {train.end:.3g} of {train.start:.3g}"
    evidence += "." if judged is None else f", and validation is no worse ({judged.end:.3g})."
    return Verdict("under-fitting", evidence, "Try a larger model, better features, less regularization, another rate.")


def over_fitting(train: Curve, judged: Curve | None) -> Verdict | None:
    """Return a verdict when the validation loss rises, or is far above the training loss."""
    if judged is None:
        return None
    then = train.smooth[judged.smooth.argmin()]
    learns = then - train.end > min(0.02 * train.fall, 0.3 * then)
    rises = judged.rise > max(RISE * abs(judged.least), 3 * judged.noise) and learns
    gap = judged.end - train.end > GAP * max(judged.start - train.end, 1e-12) and judged.end > 1.5 * train.end
    if not (rises or gap):
        return None
    evidence = f"the validation loss was {judged.least:.3g} at its least, after epoch {judged.least_epoch}, and is "
    evidence += f"{judged.end:.3g} at the end, the training loss {train.end:.3g}."
    advice = "Stop earlier (EarlyStopping), or try a penalty, dropout, augmentation, more data, a smaller model."
    return Verdict("over-fitting", evidence, advice)


def noisy_validation(train: Curve, judged: Curve | None) -> Verdict | None:
    """Return a verdict when the validation loss jumps and the training loss does not."""
    if judged is None or judged.noise <= max(3 * train.noise, NOISY * max(judged.fall, 0.02 * abs(judged.start))):
        return None
    evidence = (
        f"the validation loss jumps by {judged.noise:.2g} from epoch to epoch, the training loss by {train.noise:.2g}."
    )
    return Verdict(
        "noisy validation", evidence, "Try more validation examples, averaged weights (Average), or lower rates."
    )


def plateau(train: Curve, judged: Curve | None) -> Verdict | None:
    """Return a verdict when the losses have stopped falling for no other reason."""
    flat = train.flat() and (judged is None or judged.flat() or bool(noisy_validation(train, judged)))
    others = (rate_too_low, under_fitting, over_fitting)
    if not flat or train.jumps or any(rule(train, judged) for rule in others):
        return None
    evidence = (
        f"the loss has fallen by {max(train.third(2), 0):.2g} in the last third of the epochs, to {train.end:.3g}."
    )
    return Verdict("plateau", evidence, "Stop earlier, or try a lower rate there (ReduceOnPlateau, a decay).")


# Instead of a lower rate or a decay, where a schedule has ended near 0.
AFTER_DECAY = {
    "rate too high": "Try a third of the highest learning rate, a longer decay, or larger batches.",
    "noisy validation": "Try more validation examples, averaged weights (Average), or a longer decay.",
    "plateau": "The rate has ended near 0: stop earlier, or try a higher rate, or more epochs over which it decays.",
    "rate too low": "Try 3 to 10 times the highest learning rate (training.find_rate), or more epochs.",
}

RULES: tuple[Callable[[Curve, Curve | None], Verdict | None], ...] = (
    rate_too_high,
    rate_too_low,
    under_fitting,
    over_fitting,
    noisy_validation,
    plateau,
)
