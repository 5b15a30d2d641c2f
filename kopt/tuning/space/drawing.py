"""Drawing: how a search's hyperparameters are drawn, each point of a finite space once."""

import contextlib
from collections.abc import Sequence
from typing import Any

import keras_tuner
import optuna

from kopt.tuning.search.folder import SearchFolder
from kopt.tuning.search.study_schema import StudySchema
from kopt.tuning.space.distributions import Dimension, dimension
from kopt.tuning.space.finite import count
from kopt.tuning.space.points import Points, Taken

__all__ = ["DUPLICATE", "Drawing"]

COLLISIONS = 20  # trials one after the other that nothing was left for, after which a search ends, as in KerasTuner
DUPLICATE = "duplicate"  # why a trial was stopped: no point was left for it


class Drawing:
    """Draws what a model asks for, and knows whether a point is left to be run.

    Args:
        study: The search's, whose sampler is a `samplers.Steered`.
        folder: The search's folder.
        declared: Definitions that were given with the search.
        tune_new: Whether those that only the model has are drawn too.

    Example:
        >>> import tempfile
        >>> from kopt.tuning.space.samplers import sampler_of
        >>> study = optuna.create_study(sampler=sampler_of("random", 0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     drawing = Drawing(study, SearchFolder(folder), [], tune_new=True)
        ...     drawing.know()
        ...     drawing.has_more()
        True
    """

    def __init__(self, study: optuna.Study, folder: SearchFolder, declared: Sequence[Any], *, tune_new: bool):
        self.folder, self.declared, self.tune_new = folder, list(declared), tune_new
        self.schema = StudySchema(study)
        steered: Any = study.sampler
        self.steered, self.points = steered, Points(study)
        steered.points = None if steered.duplicates else self.points
        steered.whole = study
        self.own: dict[tuple[str, str], Any] = {}  # what this process' model asks for
        self.collisions = 0  # one after the other
        self.knows = False
        self.learn(declared)

    def learn(self, space: Sequence[Any]) -> None:
        """Note what this process' model asks for."""
        self.own |= {(hp.name, str(hp.conditions)): hp for hp in space}

    def know(self) -> None:
        """Tell the points what the model is known to ask for, once, before any trial."""
        if self.knows:
            return
        found = [one for hp in self.own.values() if (one := self.dimension(hp)) is not None]
        self.points.known |= {one.name: one.distribution for one in found}
        with self.folder.alone():
            self.points.since = self.schema.since([one.name for one in found])
        self.knows = True

    def has_more(self) -> bool:
        """Return whether a point is left to be run.

        Where this process does not know yet what its model draws from, one trial is begun to see.
        """
        if self.steered.duplicates:
            return True
        return self.collisions <= COLLISIONS and not self.points.all_taken(strict=self.collisions == 0)

    def dimension(self, hp: Any) -> Dimension | None:
        """Return what a hyperparameter is drawn from, under the name that it has in this study."""
        found = dimension(hp)
        return None if found is None else self.schema.named(found)

    def draw(self, live: Any, hp: Any) -> Any:
        """Give the value of a hyperparameter that is asked for the first time.

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
                self.steered.forced[found.name] = found.recorded(live.start[hp.name])
            except ValueError as error:
                raise keras_tuner.errors.FatalValueError(f"enqueue(): {error}") from error
        self.points.known[found.name] = found.distribution
        shared = not self.steered.duplicates and count(found.distribution) is not None
        try:
            with self.folder.alone() if shared else contextlib.nullcontext():  # others see it before they draw
                return found.suggest(live.trial)
        except Taken as error:
            live.stopped = DUPLICATE
            told = f"{hp.name} must lead to a point that was not run."
            raise keras_tuner.errors.FailedTrialError(told) from error
