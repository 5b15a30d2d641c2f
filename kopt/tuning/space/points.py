"""Points: which values of a finite space lead to nothing that has not been run."""

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from kopt.tuning.search.records import is_retry, is_surplus, tried_again
from kopt.tuning.space.finite import count, holds, written
from kopt.values.types import ParameterValue

__all__ = ["Points", "Taken"]

Step = tuple[str, BaseDistribution, ParameterValue]  # name, what the value was drawn from, the value
Path = Sequence[Step]
ENDED_WELL = (TrialState.COMPLETE, TrialState.PRUNED)


class Taken(Exception):
    """Every value that a hyperparameter may still take leads to a point that has been run.

    Example:
        >>> raise Taken
        Traceback (most recent call last):
        kopt.tuning.space.points.Taken
    """


class Points:
    """The points of a study that have been run, are being run, or are queued again, failed ones included.

    A point is a path: values in the order in which the model asked for them. What it asks for after a value is known
    from the paths before; a value of which all continuations have been run is taken. A space with a number without
    steps has no end, so nothing of it is ever taken.

    Args:
        study: The search's.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        >>> for value in (1, 2):
        ...     study.enqueue_trial({"x": value})
        ...     trial = study.ask()
        ...     study.tell(trial, trial.suggest_int("x", 1, 3))
        FrozenTrial(...
        >>> points, number = Points(study), study.ask().number
        >>> begun = study.trials[number]
        >>> sorted(points.taken(begun, "x", optuna.distributions.IntDistribution(1, 3)))
        [1, 2]
        >>> points.all_taken(), len(points.paths())
        (False, 2)
    """

    def __init__(self, study: optuna.Study):
        self.study = study
        self.known: dict[str, BaseDistribution] = {}  # what this process' model draws from
        self.ended: dict[int, Path] = {}  # of trials that change no more
        self.since = 0  # trials before this one knew fewer hyperparameters, so they are no points of the space

    def paths(self, but: int | None = None) -> list[Path]:
        """Give the paths of all trials but one, in the order of their numbers."""
        return [self.path_of(one) for one in self.points(but)]

    def path_of(self, trial: FrozenTrial) -> Path:
        """Give a trial's path."""
        if trial.number in self.ended:
            return self.ended[trial.number]
        drawn_from = trial.distributions
        path = [(name, drawn_from[name], written(drawn_from[name], value)) for name, value in trial.params.items()]
        if trial.state.is_finished():
            self.ended[trial.number] = path
        return path

    def points(self, but: int | None = None) -> list[FrozenTrial]:
        """Give the trials that are points of the space, in the order of their numbers.

        A trial that failed or runs, and asked for less than whole trials with the same names, is not a point yet; one
        that failed so twice is.
        """
        trials = self.study.get_trials(deepcopy=False)
        again = tried_again(trials)
        found = [one for one in trials if one.number >= self.since and one.number not in again and is_point(one)]
        whole = {tuple(one.params) for one in found if one.state in ENDED_WELL}
        unsure = [one for one in found if one.state not in ENDED_WELL and tuple(one.params) not in whole]
        early = {one.number for one in unsure if any(names[: len(one.params)] == tuple(one.params) for names in whole)}
        paths = [list(one.params.items()) for one in unsure if one.state == TrialState.FAIL]
        twice = {one.number for one in unsure if is_retry(one) or paths.count(list(one.params.items())) > 1}
        return [one for one in found if one.number != but and (one.number not in early or one.number in twice)]

    def taken(self, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> set[ParameterValue]:
        """Give the values that lead to nothing new.

        Args:
            trial: Which asks; its values so far are in it.
            name: What it asks for.
            distribution: What that is drawn from.
        """
        if count(distribution) is None:
            return set()
        depth = len(trial.params)
        alike = [self.path_of(one) for one in self.points(but=trial.number) if begins_with(one, trial)]
        alike = [path for path in alike if len(path) > depth and path[depth][0] == name]
        return {value for value, group in grouped(alike, depth).items() if is_full(group, depth + 1, self.known)}

    def all_taken(self, *, strict: bool = False) -> bool:
        """Return whether nothing is left to be run.

        Args:
            strict: Whether to say so only where this process knows each hyperparameter that is in question, for
                another version of the script may have had other ranges.
        """
        paths = self.paths()
        return bool(paths) and is_full(paths, 0, self.known, strict)


def begins_with(trial: FrozenTrial, other: FrozenTrial) -> bool:
    """Return whether a trial has the other's values first, in the same order."""
    for (name, value), (same, given) in zip(trial.params.items(), other.params.items()):
        if name != same or value != given and written(trial.distributions[name], value) != given:
            return False
    return len(trial.params) >= len(other.params)


def is_point(trial: FrozenTrial) -> bool:
    """Return whether a trial has come to a point; not when it ended before it asked for anything."""
    return not is_surplus(trial) and (bool(trial.params) or trial.state in ENDED_WELL)


def is_full(paths: Sequence[Path], depth: int, known: Mapping[str, BaseDistribution], strict: bool = False) -> bool:
    """Return whether paths that are alike up to a depth leave nothing else to be run below it."""
    further = [path for path in paths if len(path) > depth]
    if not further:
        return True
    name, recorded, _ = further[-1][depth]
    if strict and name not in known:
        return False
    distribution = known.get(name, recorded)
    size = count(distribution)
    groups = grouped([path for path in further if path[depth][0] == name], depth)
    if size is None or len(groups) < size:
        return False
    inside = [group for value, group in groups.items() if holds(distribution, value)]
    return len(inside) == size and all(is_full(group, depth + 1, known, strict) for group in inside)


def grouped(paths: Sequence[Path], depth: int) -> dict[ParameterValue, list[Path]]:
    groups: dict[ParameterValue, list[Path]] = {}
    for path in paths:
        groups.setdefault(path[depth][2], []).append(path)
    return groups
