"""Enqueue: trials with known-good values, which a search runs before it draws any."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import keras_tuner
import numpy as np
import optuna

from kopt.tuning.search.oracle import StudyOracle
from kopt.tuning.search.records import TrialRecord
from kopt.tuning.space.distributions import dimension
from kopt.values.checks import require, unknown
from kopt.values.moved_names import moved_names
from kopt.values.types import HyperModelLike, HyperParameter, HyperParameters, Json

__all__ = ["enqueue_trial"]
__getattr__ = moved_names(__name__, {"enqueue_start": "enqueue_trial"})


class Enqueuing(Protocol):
    """A tuner, as far as a trial is enqueued by it."""

    oracle: StudyOracle
    hypermodel: HyperModelLike

    @property
    def study(self) -> optuna.Study: ...

    def trains_itself(self) -> bool: ...


def enqueue_trial(tuner: Enqueuing, values: Mapping[str, Json]) -> None:
    """Queue a trial with given values, unless any process has queued them before.

    Args:
        tuner: The `Tuner`.
        values: Hyperparameter -> value; the hyperparameters that are left out are drawn.

    Raises:
        ValueError: When the model does not ask for a name, or not for such a value, or no trial is left to be begun.

    Example:
        >>> import tempfile
        >>> from kopt.tuning.tuner import Tuner
        >>> class Search(Tuner):
        ...     def run_trial(self, trial, **_):
        ...         return trial.hyperparameters.Float("x", 0, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = Search(max_trials=1, directory=folder)
        ...     enqueue_trial(tuner, {"x": 0.25})
        ...     tuner.search(verbose=0)
        ...     tuner.study.best_value
        0.25
    """
    require(bool(values), "enqueue()", "must be given values", dict(values))
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    known = asked_for(tuner, values)
    for name, value in values.items():
        require_value(tuner, name, value, known)
    with tuner.oracle.folder.alone():
        before = [TrialRecord.of(one).start for one in tuner.study.get_trials(deepcopy=False)]
        if values not in before:
            room = tuner.oracle.remaining_trials() != 0
            require(room, "max_trials", "must leave a trial to be begun for a start", tuner.oracle.max_trials)
            TrialRecord(start=values).enqueue(tuner.study)


def asked_for(tuner: Enqueuing, values: Mapping[str, Json]) -> list[HyperParameter]:
    """Return the definitions that hold with these values; for a name that the model does not ask for, all of them."""
    known = tuner.oracle.get_space().space
    if tuner.hypermodel is None or not tuner.trains_itself():
        return known
    asked: HyperParameters = keras_tuner.HyperParameters()
    asked.values = dict(values)
    try:
        tuner.hypermodel.build(asked)
    except Exception:  # a value that no definition allows may break the model anywhere
        for name, value in values.items():
            require_value(tuner, name, value, [*known, *asked.space])
        raise
    held = [hp for hp in asked.space if asked.is_active(hp)]
    names = {hp.name for hp in held}
    return held + [hp for hp in known if hp.name not in names]


def require_value(tuner: Enqueuing, name: str, value: Json, known: Sequence[HyperParameter]) -> None:
    """Refuse a value that no definition of a hyperparameter allows."""
    refusals = []
    for hp in known:
        if hp.name != name:
            continue
        found = dimension(hp)
        try:
            require(found is not None or value == hp.default, name, f"must be {hp.default}", value)
            if found is not None:
                found.recorded(value)
            return
        except ValueError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
    if tuner.trains_itself():
        raise unknown("enqueue()", name, {hp.name for hp in known})
    # A `fit` or `run_trial` of the user's may ask for it; the trial's end says when none did.
