"""Records: what kopt keeps in a study and in its trials beside Optuna's own fields; no other file names a key."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from kopt.values.moved_names import moved_names
from kopt.values.types import Json

__all__ = [
    "StudyRecord",
    "TrialRecord",
    "is_retry",
    "is_surplus",
    "place_of",
    "tried_again",
    "without_attributes",
]
__getattr__ = moved_names(
    __name__,
    {
        "RecordedOracle": "kopt.tuning.search.trials.RecordedOracle",
        "concluded": "kopt.tuning.search.trials.concluded",
        "ended": "kopt.tuning.search.trials.ended",
        "ranked": "kopt.tuning.search.trials.ranked",
        "restored": "kopt.tuning.search.trials.restored",
    },
)

# The keys are on users' disks: searches of all versions of kopt are read by them.
TRIES, SURPLUS = "tries", "surplus"
HYPERPARAMETER = "hyperparameter "  # what the key of a hyperparameter begins with, before its name


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """What kopt keeps in one trial of a study.

    Args:
        folder: Name of the search's folder in which the trial runs or ran.
        start: Values that the user enqueued, by the names of hyperparameters.
        tries: Numbers of the trials that were begun with the same values before, the first one first.
        error: Why the trial failed, or was too large to be trained.
        stopped: Why the trial was stopped before its end: "pruned", "timeout" or "oversized".
        surplus: Whether the trial does not count, because it yielded to another one before it ran.
        state: KerasTuner's state of the trial.
        parameters: The number of parameters of its model; None when kopt has not trained it.

    Example:
        >>> trial = optuna.create_study().ask()
        >>> TrialRecord(folder="a", error="").write(trial)
        >>> TrialRecord.of(trial) == TrialRecord(folder="a", error="")
        True
    """

    folder: str | None = dataclasses.field(default=None, metadata={"key": "where"})
    start: dict[str, Json] | None = dataclasses.field(default=None, metadata={"key": "start"})
    tries: Sequence[int] = dataclasses.field(default=(), metadata={"key": TRIES})
    error: str | None = dataclasses.field(default=None, metadata={"key": "error"})
    stopped: str | None = dataclasses.field(default=None, metadata={"key": "stopped"})
    surplus: bool = dataclasses.field(default=False, metadata={"key": SURPLUS})
    state: dict[str, Json] | None = dataclasses.field(default=None, metadata={"key": "keras_tuner"})
    parameters: int | None = dataclasses.field(default=None, metadata={"key": "parameters"})

    @classmethod
    def of(cls, trial: optuna.Trial | FrozenTrial) -> "TrialRecord":
        """Read the record of a trial."""
        kept = trial.user_attrs
        return cls(**{field: kept[key] for field, key in keys(cls) if key in kept})

    def attributes(self) -> dict[str, Json]:
        """Return the fields that have a value, by their keys."""
        kept = {key: self.__dict__[field] for field, key in keys(type(self))}
        return {key: plain(value) for key, value in kept.items() if not is_empty(value)}

    def write(self, trial: optuna.Trial) -> None:
        """Add the fields that have a value to the record of a trial that runs."""
        for key, value in self.attributes().items():
            trial.set_user_attr(key, value)

    def write_to(self, storage: BaseStorage, trial_id: int) -> None:
        """Add the fields that have a value to the record of any process' trial.

        Args:
            storage: The study's.
            trial_id: The trial's identity in the storage, which is not its number.
        """
        for key, value in self.attributes().items():
            storage.set_trial_user_attr(trial_id, key, value)

    def enqueue(self, study: optuna.Study) -> None:
        """Queue a trial that has this record and no values yet."""
        study.enqueue_trial({}, user_attrs=self.attributes())

    def enqueue_values_of(self, study: optuna.Study, trial: FrozenTrial, *, reports: bool) -> None:
        """Queue a trial that has this record and another trial's values.

        Args:
            study: The search's.
            trial: The other trial.
            reports: Whether to keep what the other trial has reported.
        """
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=self.attributes(),
                intermediate_values=trial.intermediate_values if reports else None,
            )
        )


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """What kopt keeps in a study.

    Args:
        objectives: Names of the metrics.
        meaning: What decides what a score means, as `meaning.meaning_of` returns it.
        since: Hyperparameter -> how many trials had been begun when the model was first known to ask for it.
        exhausted: Whether the sampler has come to the end of its grid.
        hyperparameters: Name -> the options, or the kind of distribution, that the hyperparameter is drawn from.

    Example:
        >>> study = optuna.create_study()
        >>> StudyRecord(objectives=["loss"], hyperparameters={"units": [16, 32]}).write(study)
        >>> StudyRecord.of(study).hyperparameters
        {'units': [16, 32]}
    """

    objectives: list[str] | None = dataclasses.field(default=None, metadata={"key": "objectives"})
    meaning: dict[str, Json] | None = dataclasses.field(default=None, metadata={"key": "meaning"})
    since: Mapping[str, int] = dataclasses.field(default_factory=dict, metadata={"key": "since"})
    exhausted: bool = dataclasses.field(default=False, metadata={"key": "exhausted"})
    hyperparameters: Mapping[str, Json] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, study: optuna.Study) -> "StudyRecord":
        """Read the record of a study."""
        kept = study.user_attrs
        drawn = {key.removeprefix(HYPERPARAMETER): kept[key] for key in kept if key.startswith(HYPERPARAMETER)}
        return cls(**{field: kept[key] for field, key in keys(cls) if key in kept}, hyperparameters=drawn)

    def write(self, study: optuna.Study) -> None:
        """Add the fields that have a value to the record of a study."""
        kept = {key: self.__dict__[field] for field, key in keys(type(self))}
        for key, value in (kept | {HYPERPARAMETER + name: one for name, one in self.hyperparameters.items()}).items():
            if not is_empty(value):
                study.set_user_attr(key, value)


def plain(value: Json) -> Json:
    """Return a state as JSON keeps it: lists for tuples, and Python's numbers for NumPy's."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def keys(record: type[TrialRecord] | type[StudyRecord]) -> Iterator[tuple[str, str]]:
    """Yield the name of each field that has a key of its own, and the key."""
    return ((one.name, one.metadata["key"]) for one in dataclasses.fields(record) if one.metadata)


def is_empty(value: Json) -> bool:
    """Return whether a field has no value, so that nothing is kept for it; an empty text is a value."""
    return value is None or value is False or value == () or value == {}


# Searches ask these of every trial, many times: they read one key, without a record.


def is_surplus(trial: FrozenTrial) -> bool:
    """Return whether a trial does not count, because it yielded to another one before it ran.

    Args:
        trial: One of a study.

    Example:
        >>> is_surplus(optuna.create_trial(value=0.0))
        False
    """
    return SURPLUS in trial.user_attrs


def is_retry(trial: FrozenTrial) -> bool:
    """Return whether a trial was begun with the same values before.

    Args:
        trial: One of a study.

    Example:
        >>> is_retry(optuna.create_trial(value=0.0))
        False
    """
    return TRIES in trial.user_attrs


def tried_again(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that were begun again, or are queued to be.

    Args:
        trials: All trials of a study.

    Example:
        >>> tried_again([])
        set()
    """
    return {number for one in trials for number in one.user_attrs.get(TRIES, ())}


def place_of(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> int:
    """Return a trial's place in the search, which all tries of it share: the number without the retries before.

    Args:
        trial: One of the study's.
        trials: All of them.

    Returns:
        The place, from 0.

    Example:
        >>> from kopt.tuning.search.retries import queue_again
        >>> study = optuna.create_study()
        >>> lost, _, again, other = study.ask(), queue_again(study, study.trials[0]), study.ask(), study.ask()
        >>> [place_of(one, study.trials) for one in study.trials]
        [0, 0, 1]
    """
    first = trial.user_attrs[TRIES][0] if is_retry(trial) else trial.number
    return first - sum(is_retry(one) for one in trials if one.number < first)


def without_attributes(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy of a trial without its record and without what Optuna's samplers and pruners keep in it.

    Args:
        trial: One of a study.

    Example:
        >>> without_attributes(optuna.create_trial(value=0.5)).value
        0.5
    """
    new = copy.copy(trial)
    new.user_attrs, new.system_attrs = {}, {}
    return new
