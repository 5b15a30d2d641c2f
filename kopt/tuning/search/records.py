"""Records: what a study keeps of its trials, as KerasTuner has them."""

from collections.abc import Callable, Sequence
from typing import Any

import keras_tuner
import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from kopt.keras_internals.tuning import StudyOracle
from kopt.tuning.search.retries import SURPLUS, tried_again

__all__ = ["RecordedOracle", "concluded", "ended", "plain", "ranked", "restored"]

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
STATE = "keras_tuner"  # attribute of a trial: KerasTuner's state of it


class RecordedOracle(StudyOracle):
    """An oracle whose trials are those of a study, whichever process ran them.

    Args:
        *args: Of `keras_tuner.Oracle`.
        **settings: Likewise.

    Example:
        >>> oracle = RecordedOracle(keras_tuner.Objective("loss", "min"))
        >>> oracle.study, oracle.live = optuna.create_study(), {}
        >>> oracle.reload()
        >>> oracle.get_best_trials()
        []
    """

    study: optuna.Study
    live: dict[str, Any]  # trials that this process runs
    dimension: Callable[[Any], Any]

    def refresh(self) -> None:
        """Read the trials that have ended, in whichever process."""
        new = [one for one in ended(self.study) if str(one.number) not in self.trials]
        for one in new:
            self.trials[str(one.number)] = restored(one, self.hyperparameters.space, self.dimension)

    def reload(self) -> None:
        """Read all that KerasTuner's oracle has after its own `reload`: trials, their order, and the space."""
        found: list[Any] = [one for one in ended(self.study) if str(one.number) not in self.live]
        for one in found:
            if STATE in one.user_attrs:
                trial = self.trials[str(one.number)] = restored(one, (), self.dimension)
                if self.tune_new_entries and self.allow_new_entries:
                    self.hyperparameters.merge(trial.hyperparameters, overwrite=False)
        self.refresh()
        self.start_order = [str(one.number) for one in sorted(found, key=lambda one: one.datetime_start)]
        self.end_order = [str(one.number) for one in sorted(found, key=lambda one: one.datetime_complete)]

    def get_trial(self, trial_id: str) -> Any:
        """Return the trial of a number, whichever process ran it."""
        if trial_id not in self.trials:
            self.refresh()
        return super().get_trial(trial_id)

    def ranking(self) -> list[Any]:
        """Return trials that have a score, the best first, as `records.ranked` has it."""
        self.refresh()
        return ranked(self.study, self.trials, -1 if self.objective.direction == "max" else 1)

    def ended(self) -> list[str]:
        """Return numbers of the trials that have ended, the best first."""
        best = [trial.trial_id for trial in self.ranking()]
        return [*best, *sorted({str(one.number) for one in ended(self.study)} - set(best))]

    def get_best_trials(self, num_trials: int = 1) -> list[Any]:
        """Return the best trials of the whole search, whichever process ran them; none that failed."""
        return self.ranking()[:num_trials]


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the runs of a study that have ended, in the order of their numbers.

    Args:
        study: The search's.

    Returns:
        Optuna's trials; each try of a trial that was tried again is one, and those that never ran are none.

    Example:
        >>> ended(optuna.create_study())
        []
    """
    found = study.get_trials(deepcopy=False, states=ENDED)
    return [one for one in found if SURPLUS not in one.user_attrs]


def concluded(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials of a study that are at their end, in the order in which they ended, as KerasTuner counts them.

    Args:
        study: The search's.

    Returns:
        The last try of each trial, unless that one is queued again.

    Example:
        >>> concluded(optuna.create_study())
        []
    """
    again = tried_again(study.get_trials(deepcopy=False))
    found = [one for one in ended(study) if one.number not in again]
    return sorted(found, key=lambda one: (one.datetime_complete, one.number))


def ranked(study: optuna.Study, trials: dict[str, Any], sign: int) -> list[Any]:
    """Return the trials that have a score, the best first: complete ones before those that were stopped.

    Args:
        study: The search's; of several objectives, trials of the Pareto front come first.
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

    def place(one: Any) -> tuple[Any, ...]:
        score = trials[str(one.number)].score
        return one.state == TrialState.PRUNED, one.number not in front, sign * score, one.number

    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    known = [one for one in found if str(one.number) in trials and trials[str(one.number)].score is not None]
    return [trials[str(one.number)] for one in sorted(known, key=place)]


def restored(one: FrozenTrial, space: Sequence[Any], dimension: Callable[[Any], Any]) -> Any:
    """Return KerasTuner's trial of one that has ended.

    Args:
        one: Optuna's.
        space: Hyperparameters that are known; of a trial whose process has ended, the values are read by them.
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
    state = one.user_attrs.get(STATE)
    if state is not None:
        trial = kind.from_state(plain(state))  # which it changes
        trial.trial_id = str(one.number)
        return trial
    hp = keras_tuner.HyperParameters()
    for definition in space:
        found = dimension(definition)
        if found is not None and found.name in one.params:
            hp.merge([definition])
            hp.values[definition.name] = found.value(one.params[found.name])
    trial = kind(hp, str(one.number), "FAILED")
    trial.message = one.user_attrs.get("error")
    return trial


def plain(value: Any) -> Any:
    """Return a state as JSON has it.

    Args:
        value: Dictionaries, lists and tuples of scalars, NumPy's among them.

    Example:
        >>> plain({"a": (np.float64(1.5), None)})
        {'a': [1.5, None]}
    """
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value
