"""Known-good starts: values that a search tries before it draws any."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np

from kopt.tuning.space.distributions import dimension
from kopt.values.checks import require, unknown

__all__ = ["enqueue_start"]


def enqueue_start(tuner: Any, values: Mapping[str, Any]) -> None:
    """Queue a trial with given values, unless it has been queued before, by whichever process.

    Args:
        tuner: The `Tuner`.
        values: Hyperparameter -> value; what is left open is drawn.

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
        ...     enqueue_start(tuner, {"x": 0.25})
        ...     tuner.search(verbose=0)
        ...     tuner.study.best_value
        0.25
    """
    require(bool(values), "enqueue()", "must be given values", dict(values))
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    known = asked_for(tuner, values)
    for name, value in values.items():
        require_value(tuner, name, value, known)
    with tuner.oracle.place.alone():
        before = [one.user_attrs.get("start") for one in tuner.study.get_trials(deepcopy=False)]
        if values not in before:
            room = tuner.oracle.remaining_trials() != 0
            require(room, "max_trials", "must leave a trial to be begun for a start", tuner.oracle.max_trials)
            tuner.study.enqueue_trial({}, user_attrs={"start": values})


def asked_for(tuner: Any, values: Mapping[str, Any]) -> list[Any]:
    """The definitions that hold with these values; of names that the model does not ask for then, all there are."""
    known = tuner.oracle.get_space().space
    if tuner.hypermodel is None or not tuner.trains_itself():
        return known
    asked = keras_tuner.HyperParameters()
    asked.values = dict(values)
    try:
        tuner.hypermodel.build(asked)
    except Exception:  # a value that no definition takes may break the model anywhere
        for name, value in values.items():
            require_value(tuner, name, value, [*known, *asked.space])
        raise
    held = [hp for hp in asked.space if asked.is_active(hp)]
    names = {hp.name for hp in held}
    return held + [hp for hp in known if hp.name not in names]


def require_value(tuner: Any, name: str, value: Any, known: Sequence[Any]) -> None:
    """Refuse a value that no definition of a name takes."""
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
