"""Points: the points of a finite space that have been run, and the values that lead to no other points."""

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from kopt.tuning.search.records import is_retry, is_surplus, tried_again
from kopt.tuning.space.finite import count, holds, written
from kopt.values.types import ParameterValue

__all__ = ["Points", "Taken"]

Step = tuple[str, BaseDistribution, ParameterValue]  # name, distribution, value
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
    """The points of a study that have been run, are being run, or are requeued, including failed ones.

    A point is a path: values in the order in which the model asked for them. Earlier paths show what the model asks for
    after a value; a value is taken when all its continuations have been run. A space that has a number without a step
    is infinite, so none of its values is ever taken.

    Args:
        study: The study of the search.

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
        self.known: dict[str, BaseDistribution] = {}  # from which the model of this process draws
        self.ended: dict[int, Path] = {}  # of trials that have ended
        self.since = 0  # earlier trials knew fewer hyperparameters, so they are no points of the space

    def paths(self, but: int | None = None) -> list[Path]:
        """Return the paths of all points but one, in the order of their trials' numbers."""
        return [self.path_of(one) for one in self.points(but)]

    def path_of(self, trial: FrozenTrial) -> Path:
        """Return the path of a trial."""
        if trial.number in self.ended:
            return self.ended[trial.number]
        drawn_from = trial.distributions
        path = [(name, drawn_from[name], written(drawn_from[name], value)) for name, value in trial.params.items()]
        if trial.state.is_finished():
            self.ended[trial.number] = path
        return path

    def points(self, but: int | None = None) -> list[FrozenTrial]:
        """Return the trials that are points of the space, in the order of their numbers.

        A failed or running trial is no point yet when its names are only the first names of a trial that ended well.
        If it fails again with the same values, it is a point.
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
        """Return the values of a hyperparameter that lead only to points that have been run.

        Args:
            trial: The trial that asks, with its values so far.
            name: The name of the hyperparameter.
            distribution: The distribution of the hyperparameter.
        """
        if count(distribution) is None:
            return set()
        depth = len(trial.params)
        alike = [self.path_of(one) for one in self.points(but=trial.number) if begins_with(one, trial)]
        alike = [path for path in alike if len(path) > depth and path[depth][0] == name]
        return {value for value, group in grouped(alike, depth).items() if is_full(group, depth + 1, self.known)}

    def all_taken(self, *, strict: bool = False) -> bool:
        """Return whether all points of the space have been run.

        Args:
            strict: Whether to return False when this process does not know a hyperparameter: the recorded range may
                be that of another version of the script.
        """
        paths = self.paths()
        return bool(paths) and is_full(paths, 0, self.known, strict)


def begins_with(trial: FrozenTrial, other: FrozenTrial) -> bool:
    """Return whether the first values of a trial are those of the other, in the same order."""
    for (name, value), (same, given) in zip(trial.params.items(), other.params.items()):
        if name != same or value != given and written(trial.distributions[name], value) != given:
            return False
    return len(trial.params) >= len(other.params)


def is_point(trial: FrozenTrial) -> bool:
    """Return whether a trial can be a point: it has asked for a value, or it ended well without one."""
    return not is_surplus(trial) and (bool(trial.params) or trial.state in ENDED_WELL)


def is_full(paths: Sequence[Path], depth: int, known: Mapping[str, BaseDistribution], strict: bool = False) -> bool:
    """Return whether paths that are equal up to a depth include all points below it."""
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
    """Return the paths by their value at a depth."""
    groups: dict[ParameterValue, list[Path]] = {}
    for path in paths:
        groups.setdefault(path[depth][2], []).append(path)
    return groups
