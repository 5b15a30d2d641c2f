"""SeededSampler: an Optuna sampler with a seed for each trial, which draws each point of a finite space once."""

from collections.abc import Callable, Sequence

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from kopt.tuning.search.records import TrialRecord, place_of
from kopt.tuning.space.finite import count, holds, nth, written
from kopt.tuning.space.points import Points, Taken
from kopt.values.types import ParameterValue

__all__ = ["SeededSampler", "seed_of"]

REDRAWS = 20  # as in KerasTuner: after so many draws of taken points, one of the others is chosen


class SeededSampler(BaseSampler):
    """A sampler that seeds each trial by the trial's place in the search, and that takes enqueued values.

    The draws of a trial then depend on the seed, the trial's place and the trials before, in whichever process it runs:
    a search that was interrupted or killed continues with the same draws, and processes never draw the same points.

    Args:
        make: Makes a sampler from a seed.
        seed: The seed of the search.
        stateless: Whether to make a sampler for each trial; else one is made for all trials.
        duplicates: Whether a point may be drawn again; else no point in `points` is.
        finite: Whether the sampler goes through a finite space, each point once.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=SeededSampler(optuna.samplers.RandomSampler, seed=0))
        >>> trial = study.ask()
        >>> study.sampler.forced["x"] = 0.5
        >>> trial.suggest_float("x", 0, 1)
        0.5
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        seed: int,
        *,
        stateless: bool = True,
        duplicates: bool = True,
        finite: bool = False,
    ):
        self.make, self.seed = make, seed
        self.stateless, self.duplicates, self.finite = stateless, duplicates, finite
        self.inner: BaseSampler | None = None
        self.forced: dict[str, ParameterValue] = {}  # enqueued values of the trial that is drawn for
        self.relative: dict[str, ParameterValue] = {}  # values that were drawn together
        self.points: Points | None = None  # points that are not drawn again
        self.whole: Study | None = None  # the study; Hyperband passes a sampler one bracket of it
        self.place = 0  # of the trial that is drawn for
        self.exhausted = False

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the trial, before any of its values is drawn."""
        self.place = place_of(trial, (self.whole or study).get_trials(deepcopy=False))
        if self.stateless or self.inner is None:
            self.inner = self.make(seed_of(self.seed, self.place))
        self.forced.clear()
        self.relative = {}
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Draw the values that are drawn together, and return nothing, so that each value is asked for separately.

        Nothing is drawn together for a trial with enqueued values.
        """
        if TrialRecord.of(trial).start is None:
            space = self._of(trial).infer_relative_search_space(study, trial)
            self.relative = self._of(trial).sample_relative(study, trial, space)
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, ParameterValue]:
        """Return nothing: `infer_relative_search_space` has drawn."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> ParameterValue:
        """Return the enqueued value, or draw one that leads to a point which has not been run.

        Raises:
            Taken: When every value, or the enqueued one, leads to points that have been run.
        """
        taken = self.points.taken(trial, param_name, param_distribution) if self.points else set()
        if param_name in self.forced:
            value = self.forced.pop(param_name)
            if value in taken:
                raise Taken
            return value
        if taken and len(taken) == count(param_distribution):
            raise Taken
        value = written(param_distribution, self.relative.get(param_name))
        if value is None or not holds(param_distribution, value):
            value = self._drawn(study, trial, param_name, param_distribution)
        for _ in range(REDRAWS):
            if value not in taken:
                return value
            value = self._drawn(study, trial, param_name, param_distribution)
        return self._another(trial, param_distribution, taken)

    def _drawn(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> ParameterValue:
        return written(distribution, self._of(trial).sample_independent(study, trial, name, distribution))

    def _another(
        self, trial: FrozenTrial, distribution: BaseDistribution, taken: set[ParameterValue]
    ) -> ParameterValue:
        """Return one of the values that are not taken, each with the same probability; there is one."""
        random = np.random.default_rng(seed_of(self.seed, self.place, len(trial.params)))
        while True:
            value = nth(distribution, int(random.integers(count(distribution) or 1)))
            if value not in taken:
                return value

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Pass the end of a trial to the sampler, which may stop the search."""
        self._of(trial).after_trial(Stoppable(study, self), trial, state, values)  # type: ignore[arg-type]

    def reseed_rng(self) -> None:
        """Do nothing: each trial has its own seed."""

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        """Return the sampler; make it with the trial's seed if another process began the trial."""
        if self.inner is None:
            self.inner = self.make(seed_of(self.seed, trial.number))
        return self.inner


class Stoppable:
    """A study that a sampler may stop at any time; Optuna's own can only be stopped within `optimize`."""

    def __init__(self, study: Study, sampler: SeededSampler):
        self.study, self.sampler = study, sampler

    def __getattr__(self, name: str) -> object:
        return getattr(self.study, name)

    def stop(self) -> None:
        self.sampler.exhausted = True


def seed_of(*parts: int) -> int:
    """Return a seed mixed from numbers; similar numbers give independent streams.

    Args:
        *parts: Whole numbers >= 0.

    Returns:
        A seed in [0, 2 ** 32).

    Example:
        >>> seed_of(0, 1) != seed_of(1, 0)
        True

    Source:
        `numpy.random.SeedSequence`.
    """
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
