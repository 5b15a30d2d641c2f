"""StudySchema: what the records of a search stand for, so that they still do when the search goes on."""

from collections.abc import Iterator, Mapping, Sequence

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from kopt.tuning.search.records import StudyRecord
from kopt.tuning.space.distributions import Dimension
from kopt.values.checks import require
from kopt.values.moved_names import moved_names
from kopt.values.types import Json

__all__ = ["StudySchema"]
__getattr__ = moved_names(__name__, {"Definitions": "StudySchema"})


class StudySchema:
    """Checks a search against a study's record of its objectives, its hyperparameters and what its scores mean.

    A value of a Choice may be recorded by its index, and all metrics of one direction look alike: with other options
    or another metric, the trials before would be misread. The ends of an interval may change.

    Args:
        study: The search's.

    Example:
        >>> import optuna
        >>> schema = StudySchema(optuna.create_study())
        >>> schema.require_objectives(["val_loss"])
        >>> schema.require_objectives(["loss"])
        Traceback (most recent call last):
        ValueError: objective must be ['val_loss'], as in the trials before, got ['loss'].
    """

    def __init__(self, study: optuna.Study):
        self.study = study
        self.known: dict[str, Json] = {}  # hyperparameter -> what the study draws it from

    def require_objectives(self, names: Sequence[str]) -> None:
        """Refuse other objectives than those of the trials before.

        Raises:
            ValueError: When the names differ.
        """
        before = StudyRecord.of(self.study).objectives
        if before is None:
            StudyRecord(objectives=list(names)).write(self.study)
        else:
            require(before == list(names), "objective", f"must be {before}, as in the trials before", list(names))

    def named(self, found: Dimension) -> Dimension:
        """Give a hyperparameter that is defined otherwise than in the trials before another name."""
        chosen = found.distribution.choices if isinstance(found.distribution, CategoricalDistribution) else ()
        options = found.grid or chosen
        drawn = list(options) if options else type(found.distribution).__name__
        same = rounded(self.recorded(found.name, drawn)) == rounded(drawn)
        return found if same else Dimension(f"{found.name} of {drawn}", found.distribution, found.hp, found.grid)

    def recorded(self, name: str, drawn: Json) -> Json:
        """Return what a hyperparameter is recorded to be drawn from; record it where nothing is recorded."""
        if name not in self.known:
            before = StudyRecord.of(self.study).hyperparameters
            if name not in before:
                StudyRecord(hyperparameters={name: drawn}).write(self.study)
            self.known[name] = before.get(name, drawn)
        return self.known[name]

    def require_same(self, given: Mapping[str, Json]) -> None:
        """Refuse what would give later trials other scores; before the first trial anything may change.

        Args:
            given: Name -> what JSON keeps: a number, a text, or a description of data with names in it.

        Raises:
            ValueError: When one is not as in the trials before; says what it was, and how to begin anew.
        """
        begun = any(one.state != TrialState.WAITING for one in self.study.get_trials(deepcopy=False))
        before = StudyRecord.of(self.study).meaning if begun else None
        if before is None:
            StudyRecord(meaning=dict(given)).write(self.study)
            return
        for name in [*given, *before]:
            for place, old, new in differences(name, before.get(name), given.get(name)):
                rule = f"must be {old!r}, as in the trials before (overwrite=True begins anew)"
                raise ValueError(f"{place} {rule}, got {new!r}.")

    def since(self, names: Sequence[str]) -> int:
        """Return the number of the first trial that knew all hyperparameters which a model is known to ask for."""
        before = dict(StudyRecord.of(self.study).since)
        new = [name for name in names if name not in before]
        if new:
            begun = len(self.study.get_trials(deepcopy=False)) if before else 0
            before |= dict.fromkeys(new, begun)
            StudyRecord(since=before).write(self.study)
        return max((before[name] for name in names), default=0)


def differences(place: str, old: Json, new: Json) -> Iterator[tuple[str, Json, Json]]:
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


def nested(described: Json) -> bool:
    return isinstance(described, list) and bool(described) and isinstance(described[0], (list, Mapping))


def rounded(drawn: Json) -> Json:
    """Return options without the last digits of floats, in which versions of kopt differ."""
    if not isinstance(drawn, list):
        return drawn
    return [float(f"{one:.10g}") if isinstance(one, float) else one for one in drawn]
