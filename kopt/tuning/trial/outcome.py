"""Outcome: how a trial, or a part of it, ends: complete, pruned or failed."""

import contextlib
import logging
import traceback
from collections.abc import Iterator

import keras_tuner
import optuna

from kopt.tuning.search.oracle import StudyOracle
from kopt.tuning.trial.execution import is_stopped
from kopt.tuning.trial.objectives import NotFinite
from kopt.tuning.trial.progress import discard
from kopt.values.types import TrialOfTuner

__all__ = ["recording"]

log = logging.getLogger("kopt")


@contextlib.contextmanager
def recording(oracle: StudyOracle, trial: TrialOfTuner) -> Iterator[None]:
    """Record how a block of a trial ends, as the trial's status and message.

    Args:
        oracle: The oracle of the tuner.
        trial: KerasTuner's trial.

    Raises:
        FatalError: When the block raises one, which ends the search.

    Example:
        >>> import types
        >>> trial = types.SimpleNamespace(trial_id="0", status="RUNNING")
        >>> with recording(types.SimpleNamespace(is_duplicate=lambda trial: True), trial):
        ...     raise ValueError("units must be >= 1, got 0.")
        >>> trial.status, trial.message.splitlines()[-1]
        ('INVALID', 'ValueError: units must be >= 1, got 0.')
    """
    try:
        yield
        trial.status = "COMPLETED"
    except optuna.TrialPruned:
        if not is_stopped(oracle, trial):
            oracle.stop(trial, "pruned")
        trial.status = "COMPLETED"
    except keras_tuner.errors.FatalError as error:
        trial.status, trial.message = "FAILED", str(error)
        oracle.end_trial(trial)
        discard(oracle.folder.trial(trial.trial_id))
        raise
    except keras_tuner.errors.FailedTrialError as error:
        trial.status, trial.message = "INVALID" if isinstance(error, NotFinite) else "FAILED", str(error)
    except Exception:  # the fault boundary: a model may raise anything
        trial.status, trial.message = "INVALID", traceback.format_exc()
    if trial.status != "COMPLETED" and not oracle.is_duplicate(trial):
        log.warning("trial %s failed: %s", trial.trial_id, trial.message.strip().splitlines()[-1])
