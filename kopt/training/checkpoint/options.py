"""Options of checkpoints: where they are, how often they are written, and which are kept."""

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kopt.training.checkpoint.every import Every
from kopt.training.signals import DEFAULT

EVERY = "30s"  # how often a checkpoint is written when nothing else is asked for


@dataclass(frozen=True)
class Options:
    """Where checkpoints are, how often they are written, and which are kept.

    Attributes:
        folder: The folder.
        every: How often one is written.
        keep: How many are kept, >= 1.
        keep_best: The name of a log, "val_accuracy": the checkpoint of its best epoch is kept too.
        strict: Whether callbacks whose state nobody declares are refused.
        signals: Names of the signals that end training with a checkpoint.
        on_error: Whether a checkpoint that cannot be written ends training, or is a warning.
        on_signal: Whether a signal ends training by an exception after the checkpoint, or training stops as by
            `stop_training`, for a caller that receives the signal itself.
        at_end: Whether a checkpoint is written when training is complete.

    Example:
        >>> options = Options(pathlib.Path("runs"), Every.of("30s"))
        >>> options.keep, options.on_signal, options.at_end
        (2, 'raise', True)
    """

    folder: pathlib.Path
    every: Every
    keep: int = 2
    keep_best: str | None = None
    strict: bool = False
    signals: Sequence[str] = DEFAULT
    on_error: Literal["raise", "warn"] = "raise"
    on_signal: Literal["raise", "stop"] = "raise"
    at_end: bool = True
