"""Definitions: what the records of a search stand for, so that they stand for it whenever the search goes on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from kopt.tuning.space.distributions import Dimension
from kopt.values.checks import require

__all__ = ["Definitions"]

OBJECTIVES = "objectives"
MEANING = "meaning"  # what decides what a score means
SINCE = "since"  # hyperparameter -> how many trials had been begun when the model was first known to ask for it


class Definitions:
    """A study's record of its objectives and of what each hyperparameter is drawn from.

    A value of a Choice may be recorded by its place in it, and all metrics of one direction look alike: with others,
    the trials before would be taken for what they are not. The ends of an interval may change.

    Args:
        study: The search's.

    Example:
        >>> import optuna
        >>> definitions = Definitions(optuna.create_study())
        >>> definitions.require_objectives(["val_loss"])
        >>> definitions.require_objectives(["loss"])
        Traceback (most recent call last):
        ValueError: objective must be ['val_loss'], as in the trials before, got ['loss'].
    """

    def __init__(self, study: optuna.Study):
        self.study = study
        self.known: dict[str, Any] = {}

    def require_objectives(self, names: Sequence[str]) -> None:
        """Refuse other objectives than those of the trials before.

        Raises:
            ValueError: When they are others.
        """
        before = self.recorded(OBJECTIVES, list(names))
        require(before == list(names), "objective", f"must be {before}, as in the trials before", list(names))

    def named(self, found: Dimension) -> Dimension:
        """Give a hyperparameter that is defined otherwise than in the trials before a name of its own."""
        options = found.grid or getattr(found.distribution, "choices", None)
        drawn = list(options) if options else type(found.distribution).__name__
        same = rounded(self.recorded(f"hyperparameter {found.name}", drawn)) == rounded(drawn)
        return found if same else Dimension(f"{found.name} of {drawn}", found.distribution, found.hp, found.grid)

    def require_same(self, given: Mapping[str, Any]) -> None:
        """Refuse what would give the trials to come other scores; before the first trial anything may change.

        Args:
            given: Name -> what JSON keeps: a number, a text, or a description of data with names in it.

        Raises:
            ValueError: When one is not as in the trials before; says what it was, and how to begin anew.
        """
        begun = any(one.state != TrialState.WAITING for one in self.study.get_trials(deepcopy=False))
        before = self.study.user_attrs.get(MEANING) if begun else None
        if before is None:
            self.study.set_user_attr(MEANING, dict(given))
            return
        for name in [*given, *before]:
            for place, old, new in differences(name, before.get(name), given.get(name)):
                rule = f"must be {old!r}, as in the trials before (overwrite=True begins anew)"
                raise ValueError(f"{place} {rule}, got {new!r}.")

    def since(self, names: Sequence[str]) -> int:
        """Give the number of the first trial that knew all hyperparameters which a model is known to ask for."""
        before = self.study.user_attrs.get(SINCE, {})
        new = [name for name in names if name not in before]
        if new:
            begun = len(self.study.get_trials(deepcopy=False)) if before else 0
            before = before | dict.fromkeys(new, begun)
            self.study.set_user_attr(SINCE, before)
        return max((before[name] for name in names), default=0)

    def recorded(self, name: str, value: Any) -> Any:
        """What is recorded; the value, which is recorded now, where nothing is."""
        if name not in self.known:
            found = self.study.user_attrs
            if name not in found:
                self.study.set_user_attr(name, value)
            self.known[name] = found.get(name, value)
        return self.known[name]


def differences(place: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the differences of two descriptions, as deep as both have the same names."""
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() == new.keys():
        for name in old:
            yield from differences(f"{place}'s {name}", old[name], new[name])
    elif nested(old) and nested(new) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new)):
            yield from differences(f"{place}[{number}]", one, other)
    else:
        yield place, old, new


def nested(described: Any) -> bool:
    return isinstance(described, list) and bool(described) and isinstance(described[0], (list, Mapping))


def rounded(drawn: Any) -> Any:
    """Return options without the last digits of floats, which versions of kopt have written otherwise."""
    if not isinstance(drawn, list):
        return drawn
    return [float(f"{one:.10g}") if isinstance(one, float) else one for one in drawn]
