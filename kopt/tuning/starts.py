"""Known-good starts: values that a search tries before it draws any."""

from collections.abc import Mapping
from typing import Any

import keras_tuner

from kopt.checks import require, unknown
from kopt.tuning.draws import dimension

__all__ = ["enqueue_start"]


def enqueue_start(tuner: Any, values: Mapping[str, Any]) -> None:
    """Queue a trial with given values, unless it has been queued before, by whichever process.

    Args:
        tuner: The `Tuner`.
        values: Hyperparameter -> value; what is left open is drawn.

    Raises:
        ValueError: When the model does not ask for a name, or not for such a value.

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
    known = asked_for(tuner, values)
    for name, value in values.items():
        definitions = [hp for hp in known.space if hp.name == name]
        require_value(tuner, name, value, definitions, sorted({hp.name for hp in known.space}))
    with tuner.oracle.place.alone():
        before = [one.user_attrs.get("start") for one in tuner.study.get_trials(deepcopy=False)]
        if dict(values) not in before:
            tuner.study.enqueue_trial({}, user_attrs={"start": dict(values)})


def asked_for(tuner: Any, values: Mapping[str, Any]) -> Any:
    """What the model asks for with these values; what it asks for with others too."""
    known = tuner.oracle.get_space()
    if tuner.hypermodel is not None and tuner.trains_itself():
        for name, value in values.items():
            definitions = [hp for hp in known.space if hp.name == name]
            if definitions:
                require_value(tuner, name, value, definitions, [])
        asked = keras_tuner.HyperParameters()
        asked.values = dict(values)
        tuner.hypermodel.build(asked)
        known.merge([hp for hp in asked.space if hp not in known.space])
    return known


def require_value(tuner: Any, name: str, value: Any, definitions: Any, names: Any) -> None:
    """Refuse a value that no definition of a name takes."""
    if not definitions:
        if tuner.trains_itself():
            raise unknown("enqueue()", name, names)
        return  # a `fit` or `run_trial` of the user's may ask for it; the trial's end says when none did
    refusals = []
    for hp in definitions:
        found = dimension(hp)
        try:
            require(found is not None or value == hp.default, name, f"must be {hp.default}", value)
            if found is not None:
                found.recorded(value)
            return
        except ValueError as error:
            refusals.append(error)
    raise refusals[0]
