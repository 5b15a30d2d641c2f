"""Retries: requeue the trials of dead processes with the same values, at most RETRIES times."""

import warnings
from collections.abc import Sequence

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from kopt.tuning.search.folder import SearchFolder
from kopt.tuning.search.locks import Locks
from kopt.tuning.search.records import TrialRecord, is_surplus, place_of, tried_again
from kopt.tuning.trial.progress import Progress, discard
from kopt.values.moved_names import moved_names

__all__ = ["RETRIES", "Retries", "queue_again"]
__getattr__ = moved_names(__name__, {"Lost": "Retries"})

RETRIES = 2  # how often a trial whose process has ended is begun again: the trial may be what ends the process


class Retries:
    """Begins the trials of a search, finds those that have lost their process, and requeues them.

    Args:
        study: The search's.
        storage: The study's storage.
        folder: The search's folder.
        locks: What shows which trials still have a process; each kind holds every trial of this process.

    Example:
        >>> import optuna, tempfile
        >>> from kopt.tuning.search.locks import locks_of
        >>> storage = optuna.storages.InMemoryStorage()
        >>> study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(0))
        >>> with tempfile.TemporaryDirectory() as path:
        ...     folder = SearchFolder(path)
        ...     retries = Retries(study, storage, folder, locks_of(study, storage, folder, whole=True))
        ...     value = retries.ask().suggest_float("x", 0, 1)
        ...     running = retries.requeue()
        ...     again = study.ask()
        ...     running, again.number, again.suggest_float("x", 0, 1) == value
        (0, 1, True)
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, folder: SearchFolder, locks: Sequence[Locks]):
        self.study, self.storage, self.folder, self.locks = study, storage, folder, locks

    # ---- who runs which trial -----------------------------------------------------------------------------------

    def ask(self) -> optuna.Trial:
        """Begin a trial without Optuna's own heartbeat, in place of which `hold` records one."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
            return self.study.ask()

    def hold(self, number: int) -> None:
        """Begin to hold a trial, which this process runs from now on."""
        for locks in self.locks:
            locks.hold(number)

    def release(self, number: int) -> None:
        """Hold a trial no longer, for it has ended."""
        for locks in self.locks:
            locks.release(number)

    def drop(self, number: int) -> None:
        """Hold a trial no longer, as if this process had ended in its middle."""
        for locks in self.locks:
            locks.drop(number)

    def requeue(self) -> int:
        """Queue lost trials again, while alone in the search's folder.

        Returns:
            How many trials other processes run that may still be lost.
        """
        lost: set[int] = set()
        for locks in self.locks:
            lost |= {one.number for one in locks.lost(self.running())}
        running = self.running()
        for number in (one.number for one in running if one.number in lost):
            if not self.again(number, RETRIES):
                error = f"The process ended during the trial, {RETRIES + 1} times."
                TrialRecord(error=error).write_to(self.storage, self.storage_id(number))
                discard(self.folder.trial(number))
            self.study.tell(number, state=TrialState.FAIL)
            self.release(number)
        left = [one for one in running if one.number not in lost]
        return sum(any(locks.watches(one) for locks in self.locks) for one in left)

    def again(self, number: int, retries: int, *, raised: bool = False) -> bool:
        """Queue a trial again unless it was tried too often; keep its reports where a checkpoint to go on from is."""
        goes_on = Progress(self.folder.trial(number)).begun
        return queue_again(self.study, self.trial(number), retries, goes_on=goes_on, raised=raised)

    # ---- trials of the study ------------------------------------------------------------------------------------

    def trial(self, number: int) -> FrozenTrial:
        """Return the trial of a number, which is not its index when trials were deleted."""
        return next(one for one in self.study.get_trials(deepcopy=False) if one.number == number)

    def order(self, number: int) -> int:
        """Return the place of a trial in the search, by which its models are seeded."""
        return place_of(self.trial(number), self.study.get_trials(deepcopy=False))

    def running(self) -> list[FrozenTrial]:
        """Return the trials that are recorded as running."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def waiting(self) -> bool:
        """Return whether a trial is queued."""
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def counted(self) -> list[int]:
        """Return the numbers of the trials that count: those that were begun, and not begun again."""
        trials = self.study.get_trials(deepcopy=False)
        again = tried_again(trials)
        return [
            one.number
            for one in trials
            if one.state != TrialState.WAITING and one.number not in again and not is_surplus(one)
        ]

    def replace_report(self, number: int, step: int, value: float) -> None:
        """Write a trial's value of a step, where Optuna's `Trial.report` would keep the value before."""
        self.storage.set_trial_intermediate_value(self.storage_id(number), step, value)

    def storage_id(self, number: int) -> int:
        """Return the identity that a trial has in the storage."""
        study = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, number)


def queue_again(
    study: optuna.Study, trial: FrozenTrial, retries: int = RETRIES, *, goes_on: bool = False, raised: bool = False
) -> bool:
    """Queue a trial's values again, unless they are queued already.

    Args:
        study: The search's.
        trial: A trial that has ended without a result, or is about to.
        retries: How often the same values may be begun again, >= 0.
        goes_on: Whether to keep what the trial has reported, for its last epoch's checkpoint is there.
        raised: Whether the trial's model raised; else its process has ended. Each is counted by itself.

    Returns:
        Whether the values are queued, or were before.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> queue_again(study, study.ask().study.trials[0]), queue_again(study, study.trials[1], retries=1)
        (True, False)
    """
    trials = study.get_trials(deepcopy=False)
    if trial.number in tried_again(trials):
        return True
    record = TrialRecord.of(trial)
    before = [TrialRecord.of(one) for one in trials if one.number in record.tries]
    if sum((one.error is not None) == raised for one in before) >= retries:
        return False
    again = TrialRecord(start=record.start, tries=[*record.tries, trial.number])
    again.enqueue_values_of(study, trial, reports=goes_on)
    return True
