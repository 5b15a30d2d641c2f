"""Trials of a search as KerasTuner has them: those that run in this process, and those that have ended anywhere."""

import copy
import dataclasses
import datetime
from collections.abc import Callable, Sequence

import keras_tuner
import optuna
from optuna.trial import FrozenTrial, TrialState

from kopt.keras_internals.tuning import FilelessOracle
from kopt.tuning.search.records import TrialRecord, is_surplus, tried_again
from kopt.tuning.space.distributions import Dimension
from kopt.values.moved_names import moved_names
from kopt.values.types import HyperParameter, HyperParameters, Json, TrialOfTuner

__all__ = ["RecordedOracle", "RunningTrial", "concluded", "ended", "ranked", "restored"]
__getattr__ = moved_names(__name__, {"plain": "kopt.tuning.search.records.plain"})

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclasses.dataclass
class RunningTrial:
    """A trial that this process runs.

    Args:
        trial: Optuna's trial.
        start: Values that the user enqueued.
        reported: Steps that the trial has reported.
        asked: Names of the hyperparameters that its model has asked for.
        last: The last step that an earlier try reported, with other data or another model; no pruner is asked until
            then.
        stopped: Why the trial was stopped before its end, if it was.
        parameters: The number of parameters of its model, when kopt has trained it.

    Example:
        >>> RunningTrial(optuna.create_study().ask(), {}, set()).stopped is None
        True
    """

    trial: optuna.Trial
    start: dict[str, Json]
    reported: set[int]
    asked: set[str] = dataclasses.field(default_factory=set)
    last: int = 0
    stopped: str | None = None
    parameters: int | None = None


class RecordedOracle(FilelessOracle):
    """An oracle whose trials are those of a study, whichever process ran them.

    Args:
        *args: Arguments of `keras_tuner.Oracle`.
        **settings: Named ones.

    Example:
        >>> oracle = RecordedOracle(keras_tuner.Objective("loss", "min"))
        >>> oracle.study, oracle.live = optuna.create_study(), {}
        >>> oracle.reload()
        >>> oracle.get_best_trials()
        []
    """

    study: optuna.Study
    live: dict[str, RunningTrial]  # by KerasTuner's trial ids
    dimension: Callable[[HyperParameter], Dimension | None]

    def refresh(self) -> None:
        """Read the trials that have ended, in whichever process."""
        new = [one for one in ended(self.study) if str(one.number) not in self.trials]
        for one in new:
            self.trials[str(one.number)] = restored(one, self.hyperparameters.space, self.dimension)

    def reload(self) -> None:
        """Read all that KerasTuner's oracle has after its own `reload`: trials, their order, and the space."""
        found = [one for one in ended(self.study) if str(one.number) not in self.live]
        for one in found:
            if TrialRecord.of(one).state is not None:
                trial = self.trials[str(one.number)] = restored(one, (), self.dimension)
                if self.tune_new_entries and self.allow_new_entries:
                    self.hyperparameters.merge(trial.hyperparameters, overwrite=False)
        self.refresh()
        self.start_order = [str(one.number) for one in sorted(found, key=begun)]
        self.end_order = [str(one.number) for one in sorted(found, key=completed)]

    def get_trial(self, trial_id: str) -> TrialOfTuner:
        """Return the trial of a number, whichever process ran it."""
        if trial_id not in self.trials:
            self.refresh()
        return super().get_trial(trial_id)

    def ranking(self) -> list[TrialOfTuner]:
        """Return the trials that have a score, the best first, as `ranked` orders them."""
        self.refresh()
        return ranked(self.study, self.trials, -1 if self.objective.direction == "max" else 1)

    def ended(self) -> list[str]:
        """Return the numbers of the trials that have ended, the best first."""
        best = [trial.trial_id for trial in self.ranking()]
        return [*best, *sorted({str(one.number) for one in ended(self.study)} - set(best))]

    def get_best_trials(self, num_trials: int = 1) -> list[TrialOfTuner]:
        """Return the best trials of the whole search, whichever process ran them; none that failed."""
        return self.ranking()[:num_trials]


def begun(one: FrozenTrial) -> datetime.datetime:
    """Return when a trial was begun."""
    return one.datetime_start or datetime.datetime.min


def completed(one: FrozenTrial) -> datetime.datetime:
    """Return when a trial ended."""
    return one.datetime_complete or datetime.datetime.min


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials of a study that have ended, in the order of their numbers.

    Args:
        study: The search's.

    Returns:
        Optuna's trials. Each try of a trial that was tried again is one; trials that never ran are left out.

    Example:
        >>> ended(optuna.create_study())
        []
    """
    return [one for one in study.get_trials(deepcopy=False, states=ENDED) if not is_surplus(one)]


def concluded(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials of a study that will not be tried again, in the order in which they ended.

    KerasTuner counts its trials in this way.

    Args:
        study: The search's.

    Returns:
        The last try of each trial, unless that try is queued again.

    Example:
        >>> concluded(optuna.create_study())
        []
    """
    again = tried_again(study.get_trials(deepcopy=False))
    found = [one for one in ended(study) if one.number not in again]
    return sorted(found, key=lambda one: (completed(one), one.number))


def ranked(study: optuna.Study, trials: dict[str, TrialOfTuner], sign: int) -> list[TrialOfTuner]:
    """Return the trials that have a score, the best first: complete ones before those that were stopped.

    Args:
        study: The search's; with several objectives, trials of the Pareto front come first.
        trials: KerasTuner's trials by their numbers.
        sign: 1 where less of the score is better, else -1.

    Returns:
        Some of the trials.

    Example:
        >>> ranked(optuna.create_study(), {}, 1)
        []
    """
    several = len(study.directions) > 1
    front = {one.number for one in study.best_trials} if several else set()

    def rank(one: FrozenTrial) -> tuple[bool, bool, float, int]:
        score = trials[str(one.number)].score
        return one.state == TrialState.PRUNED, one.number not in front, sign * score, one.number

    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    known = [one for one in found if str(one.number) in trials and trials[str(one.number)].score is not None]
    return [trials[str(one.number)] for one in sorted(known, key=rank)]


def restored(
    one: FrozenTrial, space: Sequence[HyperParameter], dimension: Callable[[HyperParameter], Dimension | None]
) -> TrialOfTuner:
    """Return KerasTuner's trial for one of Optuna's that has ended.

    Args:
        one: Optuna's trial.
        space: The hyperparameters that are known; by them the values of a trial are read whose process has ended.
        dimension: Gives the dimension of a hyperparameter, or None.

    Returns:
        The `keras_tuner` trial.

    Example:
        >>> study = optuna.create_study()
        >>> study.tell(study.ask(), state=TrialState.FAIL)
        FrozenTrial(...
        >>> restored(study.trials[0], [], lambda hp: None).status
        'FAILED'
    """
    kind = keras_tuner.engine.trial.Trial
    record = TrialRecord.of(one)
    if record.state is not None:
        trial = kind.from_state(copy.deepcopy(record.state))  # which changes it
        trial.trial_id = str(one.number)
        return trial
    hp: HyperParameters = keras_tuner.HyperParameters()
    for definition in space:
        found = dimension(definition)
        if found is not None and found.name in one.params:
            hp.merge([definition])
            hp.values[definition.name] = found.value(one.params[found.name])
    trial = kind(hp, str(one.number), "FAILED")
    trial.message = record.error
    return trial
