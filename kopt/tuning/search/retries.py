"""Lost: trials whose process ended in their middle are queued again, with the same values, but not for ever."""

import warnings
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from kopt.tuning.search.locks import RESTORE, Heartbeat, Place
from kopt.tuning.search.storage import GRACE, HEARTBEAT
from kopt.tuning.trial.checkpoints import discard

__all__ = ["RETRIES", "SURPLUS", "Lost", "place_of", "queue_again", "tried_again"]

SURPLUS = "surplus"  # attribute of a trial that does not count, for it yielded to another before it ran
RETRIES = 2  # how often a trial is begun again whose process has ended: it may be the trial that ends them


class Lost:
    """Finds the trials that nobody runs any more, and counts those that are not to be run again.

    Args:
        study: The search's.
        storage: Where it is.
        place: The search's folder.
        own: Whether all trials of the study are run from this folder.

    Example:
        >>> import optuna, tempfile
        >>> storage = optuna.storages.InMemoryStorage()
        >>> study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lost = Lost(study, storage, Place(folder), own=True)
        ...     value = lost.ask().suggest_float("x", 0, 1)
        ...     running = lost.requeue()
        ...     again = study.ask()
        ...     running, again.number, again.suggest_float("x", 0, 1) == value
        (0, 1, True)
    """

    def __init__(self, study: optuna.Study, storage: Any, place: Place, *, own: bool):
        self.study, self.storage, self.place, self.own = study, storage, place, own
        self.beats = getattr(storage, "get_heartbeat_interval", lambda: None)() is not None

    def ask(self) -> optuna.Trial:
        """Begin a trial; its heartbeat is ours."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
            return self.study.ask()

    def requeue(self) -> int:
        """Queue lost trials again, while `place.alone()`.

        Returns:
            How many trials others run that may still be lost.
        """
        if self.beats:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                optuna.storages.fail_stale_trials(self.study)
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        lost = [one for one in running if self.place.is_lost(one, own=self.own, grace=GRACE)]
        for one in lost:
            if not self.again(one.number, RETRIES):
                error = f"The process ended during the trial, {RETRIES + 1} times."
                self.storage.set_trial_user_attr(self.storage_id(one.number), "error", error)
                discard(self.place.trial(one.number))
            self.study.tell(one.number, state=TrialState.FAIL)
            self.place.release(one.number)
        known = [one for one in running if self.beats or one.user_attrs.get("where") == self.place.name]
        return len([one for one in known if one not in lost])

    def again(self, number: int, retries: int, *, raised: bool = False) -> bool:
        """Queue a trial again if it has not been tried so often; with what it reported where it can go on."""
        goes_on = (self.place.trial(number) / "progress.json").exists()
        return queue_again(self.study, self.trial(number), retries, goes_on=goes_on, raised=raised)

    def trial(self, number: int) -> FrozenTrial:
        """Return the trial of a number; trials may have been deleted, so it need not be in the place of its number."""
        return next(one for one in self.study.get_trials(deepcopy=False) if one.number == number)

    def order(self, number: int) -> int:
        """The place of a trial in the search, by which its models are seeded."""
        return place_of(self.trial(number), self.study.get_trials(deepcopy=False))

    def waiting(self) -> bool:
        """Return whether a trial is queued."""
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def counted(self) -> list[int]:
        """Numbers of the trials that count: begun, and not begun again."""
        trials = self.study.get_trials(deepcopy=False)
        again = tried_again(trials)
        return [
            one.number
            for one in trials
            if one.state != TrialState.WAITING and one.number not in again and SURPLUS not in one.user_attrs
        ]

    def hearts(self, number: int) -> list[Heartbeat]:
        """Begin with a trial's signs of life: its lock, and a beat in a storage that keeps beats."""
        found = [Heartbeat(self.place.restore, RESTORE)]
        if self.beats:
            identity = self.storage_id(number)
            found.append(Heartbeat(lambda: self.storage.record_heartbeat(identity), HEARTBEAT))
        for heart in found:
            heart.start()
        return found

    def storage_id(self, number: int) -> int:
        study = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, number)


def queue_again(
    study: optuna.Study, trial: FrozenTrial, retries: int = RETRIES, *, goes_on: bool = False, raised: bool = False
) -> bool:
    """Queue a trial's values again, unless they are queued already.

    Args:
        study: The search's.
        trial: One that has ended, or will be told to have, without a result.
        retries: How often the same values may be begun again, >= 0.
        goes_on: Whether to keep what it has reported, for its last epoch's checkpoint is there.
        raised: Whether its model raised; else its process has ended. Each is counted by itself.

    Returns:
        Whether they are queued, or were.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> queue_again(study, study.ask().study.trials[0]), queue_again(study, study.trials[1], retries=1)
        (True, False)
    """
    trials = study.get_trials(deepcopy=False)
    if trial.number in tried_again(trials):
        return True
    tries = trial.user_attrs.get("tries", [])
    alike = [one for one in trials if one.number in tries and ("error" in one.user_attrs) == raised]
    if len(alike) >= retries:
        return False
    kept = {name: trial.user_attrs[name] for name in ("start",) if name in trial.user_attrs}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=kept | {"tries": [*tries, trial.number]},
            intermediate_values=trial.intermediate_values if goes_on else None,
        )
    )
    return True


def tried_again(trials: list[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that were begun again, or are queued to be.

    Args:
        trials: All of a study.

    Example:
        >>> tried_again([])
        set()
    """
    return {number for one in trials for number in one.user_attrs.get("tries", [])}


def place_of(trial: FrozenTrial, trials: list[FrozenTrial]) -> int:
    """Return a trial's place, that all its tries have: its number, had none before it been begun again.

    Args:
        trial: One of the study's.
        trials: All of them.

    Returns:
        Its place, from 0.

    Example:
        >>> import optuna
        >>> study = optuna.create_study()
        >>> lost, _, again, other = study.ask(), queue_again(study, study.trials[0]), study.ask(), study.ask()
        >>> [place_of(one, study.trials) for one in study.trials]
        [0, 0, 1]
    """
    first = trial.user_attrs.get("tries", [trial.number])[0]
    return first - sum("tries" in one.user_attrs for one in trials if one.number < first)
