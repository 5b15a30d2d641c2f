"""Unsaved: training without checkpoints, and what a checkpoint knows of a run."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from kopt.state import training_variables
from kopt.training.checkpoint.content import Content
from kopt.training.epoch_result import Moment
from kopt.training.feed.sources import Source
from kopt.training.steps.train import TrainStep
from kopt.values.types import KerasCallback, KerasModel, Nest, Step, Variable


class Programs(Protocol):
    """What runs the steps of a run."""

    def decisions(self) -> Nest:
        """Return what was decided about XLA."""

    def settle(self, decisions: Nest) -> None:
        """Decide about XLA as it was decided before."""

    def prepare(self, data: Source) -> None:
        """Make the variables that the first step would make, and change none."""


class Run(NamedTuple):
    """A run of fit, as far as checkpoints are about it.

    Attributes:
        model: The model.
        step: The training step.
        sources: The data, "train" and perhaps "validation".
        callbacks: The callbacks that are called.
        first: The number of the first epoch.
        programs: What runs the steps.
    """

    model: KerasModel
    step: Step
    sources: Mapping[str, Source]
    callbacks: Sequence[KerasCallback]
    first: int
    programs: "Programs"

    @property
    def variables(self) -> list[Variable]:
        """The variables that training changes, without those of a step that never ran."""
        return training_variables(self.model, self.step.variables if isinstance(self.step, TrainStep) else ())


class Unsaved:
    """Training without checkpoints: every method does nothing."""

    saved: Content | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Use the folder of the checkpoints in a block."""
        yield

    @property
    def moment(self) -> Moment | None:
        """The moment at which training goes on; None where it begins."""
        return None

    def seed(self, drawn: int) -> int:
        """Return the seed of a run: that of the checkpoint where there is one."""
        return drawn

    def budget(self, name: str, asked: int | None) -> int | None:
        """Return the bytes of arrays that may lie on the device: such that data lie where they lay before."""
        return asked

    def check(self, run: Run) -> None:
        """Raise ValueError unless a checkpoint is of this run, before anything is changed."""

    def restore(self, run: Run) -> None:
        """Put training back."""

    def count(self, steps: int) -> None:
        """Count the steps of several epochs that were trained."""

    def chunk_ended(self, moment: Moment, steps: int) -> bool:
        """Write one in mid-epoch where one is due or a signal was received; return whether that stops training."""
        return False

    def validating(self, moment: Moment) -> None:
        """Keep the state before a validation, which changes metrics."""

    def validated_chunk(self) -> None:
        """Write the state before the validation where a signal was received."""

    def epoch_ended(self, moment: Moment, epochs: int, last: bool) -> bool:
        """Write one between epochs where one is due or training ends; return whether a signal stops training."""
        return False
