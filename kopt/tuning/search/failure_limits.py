"""When a search has nothing to show: it ends, and says how its first trial failed."""

from typing import Any

import optuna
from optuna.trial import TrialState

from kopt.tuning.search.records import concluded

__all__ = ["require_hope", "require_success"]

HOPELESS = 10  # failed trials, without any that did not fail, after which a search ends


def require_hope(study: optuna.Study, in_a_row: int | None = None) -> None:
    """Raise when so many trials have failed, and none has not, that it cannot be chance.

    Args:
        study: The search's.
        in_a_row: How many failures one after the other are too many, whatever was before; None for any number. A trial
            that is tried again counts once, when its last try has failed.

    Raises:
        RuntimeError: Then; says how the first one failed.

    Example:
        >>> require_hope(optuna.create_study())
    """
    ended = concluded(study)
    if in_a_row:
        last = ended[-in_a_row:]
        if len(last) == in_a_row and all(map(failed, last)):
            raise failure(last, f"{in_a_row} trials in a row")
    bad = [one for one in ended if failed(one)]
    if len(bad) >= HOPELESS and all(one.state == TrialState.FAIL for one in ended):
        raise failure(bad, f"all {len(bad)} trials")


def require_success(study: optuna.Study) -> None:
    """Raise when a search has ended and all its trials failed.

    Args:
        study: The search's.

    Raises:
        RuntimeError: Then; says how the first one failed.

    Example:
        >>> require_success(optuna.create_study())
    """
    ended = concluded(study)
    bad = [one for one in ended if failed(one)]
    if bad and all(failed(one) or one.state == TrialState.FAIL for one in ended):
        raise failure(bad, f"all {len(bad)} trials")


def failed(trial: Any) -> bool:
    return "error" in trial.user_attrs and trial.state != TrialState.COMPLETE


def failure(trials: list[Any], which: str) -> RuntimeError:
    first = trials[0]
    told = f"{which} failed; trial {first.number}, the first, by:\n{first.user_attrs['error'].rstrip()}"
    return RuntimeError(f"{told}\nWhen that is mended, overwrite=True begins the search anew.")
