"""Failure limits: when a search whose trials fail ends, with the first error."""

import optuna
from optuna.trial import FrozenTrial, TrialState

from kopt.tuning.search.records import TrialRecord
from kopt.tuning.search.trials import concluded
from kopt.values.moved_names import moved_names

__all__ = ["require_few_failures", "require_success"]
__getattr__ = moved_names(__name__, {"require_hope": "require_few_failures"})

MAX_FAILURES = 10  # failed trials after which a search ends when no other trial has ended


def require_few_failures(study: optuna.Study, in_a_row: int | None = None) -> None:
    """Raise when all of MAX_FAILURES or more trials have failed, or too many in a row.

    Args:
        study: The search's.
        in_a_row: How many failures one after the other are too many, whatever was before; None for no limit. A trial
            that is tried again counts once, when its last try has failed.

    Raises:
        RuntimeError: With the error of the first trial.

    Example:
        >>> require_few_failures(optuna.create_study())
    """
    ended = concluded(study)
    if in_a_row:
        last = ended[-in_a_row:]
        if len(last) == in_a_row and all(map(failed, last)):
            raise failure(last, f"{in_a_row} trials in a row")
    bad = [one for one in ended if failed(one)]
    if len(bad) >= MAX_FAILURES and all(one.state == TrialState.FAIL for one in ended):
        raise failure(bad, f"all {len(bad)} trials")


def require_success(study: optuna.Study) -> None:
    """Raise when a search has ended and all its trials failed.

    Args:
        study: The search's.

    Raises:
        RuntimeError: With the error of the first trial.

    Example:
        >>> require_success(optuna.create_study())
    """
    ended = concluded(study)
    bad = [one for one in ended if failed(one)]
    if bad and all(failed(one) or one.state == TrialState.FAIL for one in ended):
        raise failure(bad, f"all {len(bad)} trials")


def failed(trial: FrozenTrial) -> bool:
    return TrialRecord.of(trial).error is not None and trial.state != TrialState.COMPLETE


def failure(trials: list[FrozenTrial], which: str) -> RuntimeError:
    """Return the error that says how the first of failed trials failed."""
    first, error = trials[0], TrialRecord.of(trials[0]).error or ""
    text = f"{which} failed; trial {first.number}, the first, by:\n{error.rstrip()}"
    return RuntimeError(f"{text}\nWhen that is mended, overwrite=True begins the search anew.")
