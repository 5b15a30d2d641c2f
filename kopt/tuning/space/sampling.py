"""Sampling: draws a search's hyperparameters, each point of a finite space once."""

import contextlib
from collections.abc import Sequence
from typing import Protocol

import keras_tuner
import optuna

from kopt.tuning.search.folder import SearchFolder
from kopt.tuning.search.study_schema import StudySchema
from kopt.tuning.space.distributions import Dimension, dimension
from kopt.tuning.space.finite import count
from kopt.tuning.space.points import Points, Taken
from kopt.tuning.space.seeded import SeededSampler
from kopt.values.moved_names import moved_names
from kopt.values.types import HyperParameter, ParameterValue

__all__ = ["DUPLICATE", "Sampling"]
__getattr__ = moved_names(__name__, {"Drawing": "Sampling"})

COLLISIONS = 20  # consecutive trials without a point left for them that end a search, as in KerasTuner
DUPLICATE = "duplicate"  # the reason why a trial was stopped: no point was left for it


class AskingTrial(Protocol):
    """A trial that this process runs, as far as `Sampling` uses it."""

    trial: optuna.Trial
    start: dict[str, ParameterValue]
    asked: set[str]
    stopped: str | None


class Sampling:
    """Draws the values that a model asks for, and says whether a point is left to be run.

    Args:
        study: The search's, whose sampler is a `SeededSampler`.
        folder: The search's folder.
        declared: Definitions that the user passed to the search.
        tune_new: Whether hyperparameters that only the model defines are drawn too.

    Example:
        >>> import tempfile
        >>> from kopt.tuning.space.samplers import sampler_of
        >>> study = optuna.create_study(sampler=sampler_of("random", 0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sampling = Sampling(study, SearchFolder(folder), [], tune_new=True)
        ...     sampling.know()
        ...     sampling.has_more()
        True
    """

    def __init__(
        self, study: optuna.Study, folder: SearchFolder, declared: Sequence[HyperParameter], *, tune_new: bool
    ):
        self.folder, self.declared, self.tune_new = folder, list(declared), tune_new
        self.schema = StudySchema(study)
        sampler = study.sampler
        assert isinstance(sampler, SeededSampler)
        self.sampler, self.points = sampler, Points(study)
        sampler.points = None if sampler.duplicates else self.points
        sampler.whole = study
        self.asked: dict[tuple[str, str], HyperParameter] = {}  # the definitions of this process' model
        self.collisions = 0  # consecutive ones
        self.knows = False
        self.learn(declared)

    def learn(self, space: Sequence[HyperParameter]) -> None:
        """Record the definitions that this process' model asks for."""
        self.asked |= {(hp.name, str(hp.conditions)): hp for hp in space}

    def know(self) -> None:
        """Pass the known definitions of the model to the points, once, before any trial."""
        if self.knows:
            return
        found = [one for hp in self.asked.values() if (one := self.dimension(hp)) is not None]
        self.points.known |= {one.name: one.distribution for one in found}
        with self.folder.alone():
            self.points.since = self.schema.since([one.name for one in found])
        self.knows = True

    def has_more(self) -> bool:
        """Return whether a point is left to be run.

        A process that does not know yet what its model draws from begins one trial to learn it.
        """
        if self.sampler.duplicates:
            return True
        return self.collisions <= COLLISIONS and not self.points.all_taken(strict=self.collisions == 0)

    def dimension(self, hp: HyperParameter) -> Dimension | None:
        """Return the dimension of a hyperparameter, under the name that it has in this study."""
        found = dimension(hp)
        return None if found is None else self.schema.named(found)

    def draw(self, live: AskingTrial, hp: HyperParameter) -> ParameterValue:
        """Return the value of a hyperparameter that is asked for the first time.

        Args:
            live: The trial, a `trials.RunningTrial`.
            hp: KerasTuner's definition.

        Raises:
            FailedTrialError: When every value leads to a point that was run.
        """
        found = self.dimension(hp)
        new = not self.tune_new and all(one.name != hp.name for one in self.declared)
        if found is None or new:
            return hp.default
        live.asked.add(hp.name)
        if hp.name in live.start:
            try:
                self.sampler.forced[found.name] = found.recorded(live.start[hp.name])
            except ValueError as error:
                raise keras_tuner.errors.FatalValueError(f"enqueue(): {error}") from error
        self.points.known[found.name] = found.distribution
        shared = not self.sampler.duplicates and count(found.distribution) is not None
        try:
            with self.folder.alone() if shared else contextlib.nullcontext():  # others see it before they draw
                return found.suggest(live.trial)
        except Taken as error:
            live.stopped = DUPLICATE
            rule = f"{hp.name} must lead to a point that was not run."
            raise keras_tuner.errors.FailedTrialError(rule) from error
