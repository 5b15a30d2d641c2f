"""PopulationTuner: the part of a tuner that a search of populations uses."""

from typing import Protocol

from kopt.tuning.space.hypermodel import HyperModel
from kopt.tuning.trial.execution import ExecutingTuner
from kopt.values.types import FitArgument, Logs, TrialOfTuner

__all__ = ["PopulationTuner"]


class PopulationTuner(ExecutingTuner, Protocol):
    """The part of a tuner that a search of populations uses."""

    population: int | None
    hypermodel: HyperModel
    tuner_id: str
    keep: int

    def pre_create_trial(self) -> None: ...

    def on_search_begin(self) -> None: ...

    def on_search_end(self) -> None: ...

    def on_trial_begin(self, trial: TrialOfTuner) -> None: ...

    def on_trial_end(self, trial: TrialOfTuner) -> None: ...

    def attempt(self, trial: TrialOfTuner, *args: FitArgument, **kwargs: FitArgument) -> None: ...

    def stops(self, trial: TrialOfTuner, step: int, metrics: Logs, *, measured_now: bool = True) -> bool: ...
