"""Samplers and pruners by name, and a seed for each trial."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import optuna
from optuna import pruners, samplers
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from kopt.tuning.search.records import TrialRecord, place_of
from kopt.tuning.space.finite import count, holds, nth, written
from kopt.tuning.space.points import Points, Taken
from kopt.values.checks import needs, require, unknown

__all__ = ["Steered", "pruner_of", "sampler_of", "seed_of"]

SamplerName = Literal["tpe", "gp", "cma", "random", "grid", "qmc"]
PrunerName = Literal["asha", "hyperband", "median", "wilcoxon"]
# These keep nothing from trial to trial but a random stream, so a new one can be made for each trial.
STATELESS = ("tpe", "random", "grid")
REDRAWS = 20  # as KerasTuner's: what is drawn again so often is chosen from what is left


class Steered(BaseSampler):
    """A sampler whose every trial has a seed of its own, by its place, and whose values can be given.

    The draws of a trial then depend on the seed, its place and the trials before, whoever runs it: a search that was
    interrupted or killed goes on as it would have, and processes never draw the same points.

    Args:
        make: Makes a sampler from a seed.
        seed: Of the search.
        fresh: Whether to make one for each trial; once for all where the sampler keeps more than a random stream.
        duplicates: Whether a point may be drawn again, else what `points` holds is not.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=Steered(optuna.samplers.RandomSampler, seed=0))
        >>> trial = study.ask()
        >>> study.sampler.forced["x"] = 0.5
        >>> trial.suggest_float("x", 0, 1)
        0.5
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, *, fresh: bool = True, duplicates: bool = True):
        self.make, self.seed, self.fresh, self.duplicates = make, seed, fresh, duplicates
        self.inner: BaseSampler | None = None
        self.forced: dict[str, Any] = {}
        self.relative: dict[str, Any] = {}  # what was drawn together
        self.points: Points | None = None  # those that are not drawn again
        self.whole: Any = None  # the study, of which Hyperband shows a sampler but one bracket
        self.place = 0  # of the trial that is drawn for
        self.exhausted = False
        self.finite = False  # whether it goes through a grid

    def before_trial(self, study: Any, trial: Any) -> None:
        """Seed the trial, before anything of it is drawn."""
        self.place = place_of(trial, (self.whole or study).get_trials(deepcopy=False))
        if self.fresh or self.inner is None:
            self.inner = self.make(seed_of(self.seed, self.place))
        self.forced.clear()
        self.relative = {}
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """Draw what is drawn together, and return nothing, so that each value is asked for separately.

        With values that are given nothing is drawn together.
        """
        if TrialRecord.of(trial).start is None:
            space = self._of(trial).infer_relative_search_space(study, trial)
            self.relative = self._of(trial).sample_relative(study, trial, space)
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        """Return nothing: `infer_relative_search_space` has drawn."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """Draw one value, unless it is given, that does not lead to a point which has been run.

        Raises:
            Taken: When every value does, or the one that is given.
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

    def _drawn(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return written(distribution, self._of(trial).sample_independent(study, trial, name, distribution))

    def _another(self, trial: Any, distribution: Any, taken: set[Any]) -> Any:
        """Return one of the values that are not taken, each as likely; there is one."""
        random = np.random.default_rng(seed_of(self.seed, self.place, len(trial.params)))
        while True:
            value = nth(distribution, int(random.integers(count(distribution) or 1)))
            if value not in taken:
                return value

    def after_trial(self, study: Any, trial: Any, state: Any, values: Sequence[float] | None) -> None:
        """Let the sampler learn that a trial ended; a grid may be at its end."""
        stoppable: Any = Stoppable(study, self)
        self._of(trial).after_trial(stoppable, trial, state, values)

    def reseed_rng(self) -> None:
        """Nothing: each trial has a seed of its own."""

    def _of(self, trial: Any) -> BaseSampler:
        """The sampler; one of this trial's seed when the trial was begun elsewhere."""
        if self.inner is None:
            self.inner = self.make(seed_of(self.seed, trial.number))
        return self.inner


class Stoppable:
    """A study for a sampler that stops it at the grid's end; Optuna's own can only be stopped within `optimize`."""

    def __init__(self, study: Any, sampler: Steered):
        self.study, self.sampler = study, sampler

    def __getattr__(self, name: str) -> Any:
        return getattr(self.study, name)

    def stop(self) -> None:
        self.sampler.exhausted = True


def seed_of(*parts: int) -> int:
    """Mix numbers into a seed: near ones give streams that have nothing in common.

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


def sampler_of(sampler: str | BaseSampler, seed: int, *, objectives: int = 1, duplicates: bool = False) -> Steered:
    """Give the sampler of a name.

    Args:
        sampler: "tpe" (a good first choice), "gp" (few, costly trials over numbers without conditions; needs torch and
            scipy), "cma" (many trials over numbers; needs cmaes), "random", "grid" (every combination once), "qmc"
            (random, but evenly spread; needs scipy), or any Optuna sampler.
        seed: Of the search, >= 0; an Optuna sampler has its own.
        objectives: How many there are.
        duplicates: Whether a point of a finite space may be drawn again; never one of a grid.

    Returns:
        The sampler.

    Raises:
        ValueError: When no sampler has the name, or it takes one objective only.
        ImportError: When a package is not installed; says which.

    Example:
        >>> sampler_of("tpe", seed=0).fresh
        True
    """
    one_only = sampler == "cma" or isinstance(sampler, samplers.CmaEsSampler)
    require(objectives == 1 or not one_only, "sampler", "must be one for several objectives", sampler)
    if isinstance(sampler, BaseSampler):
        return Steered(lambda _: sampler, seed, fresh=False, duplicates=duplicates)
    if sampler not in get_args(SamplerName):
        raise unknown("sampler", sampler, get_args(SamplerName))
    if sampler == "gp":
        require_torch()
    if sampler in ("gp", "qmc"):
        needs("scipy", "tune")
    if sampler == "cma":
        needs("cmaes", "tune")
    make, finite = SAMPLERS[sampler], sampler == "grid"
    how = {"fresh": sampler in STATELESS, "duplicates": duplicates and not finite}
    found = Steered(lambda one: quietly(make, one, seed), seed, **how)
    found.finite = finite
    return found


def pruner_of(pruner: str | BasePruner | None, *, objectives: int = 1, executions: int = 1) -> BasePruner:
    """Give the pruner of a name.

    Args:
        pruner: "asha" (the better half goes on, at 3, 6, 12 ... epochs), "hyperband" (asha with several first rungs),
            "median" (stop what is worse than half of the others), "wilcoxon" (stop between folds what is worse than
            the best on the same folds; needs scipy), any Optuna pruner, or None for none.
        objectives: How many there are; with several, nothing can be pruned.
        executions: How many models a trial trains.

    Returns:
        The pruner.

    Raises:
        ValueError: When no pruner has the name, or it does not fit.
        ImportError: When scipy is not installed for "wilcoxon".

    Example:
        >>> pruner_of("median")
        <optuna.pruners._median.MedianPruner object at ...>
    """
    require(objectives == 1 or pruner is None, "pruner", "must be None with several objectives", pruner)
    if pruner is None or isinstance(pruner, BasePruner):
        return pruner or pruners.NopPruner()
    if pruner not in get_args(PrunerName):
        raise unknown("pruner", pruner, get_args(PrunerName))
    if pruner == "wilcoxon":
        require(executions > 1, "pruner", "must have folds or executions_per_trial > 1 to compare", pruner)
        needs("scipy", "tune")
    return quietly(PRUNERS[pruner])


def require_torch() -> None:
    """Say how to get torch for the CPU, which an extra cannot."""
    try:
        needs("torch", "tune")
    except ImportError as error:
        how = "python -m pip install torch --index-url https://download.pytorch.org/whl/cpu"
        raise ImportError(f"torch must be installed for the sampler 'gp', by: {how}") from error


def quietly(make: Callable[..., Any], *args: Any) -> Any:
    """Make a part of Optuna without its notice that it is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(*args)


# Each from a seed of its own and the search's.
SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    # Fewer random trials and more candidates than Optuna's defaults, 10 and 24: over 80 seeds the median regret of
    # Hartmann-6 at 40 trials is 0.43 for 0.55, of Branin at 30 trials 0.41 for 0.44 (benchmarks/tuner_regret.py).
    "tpe": lambda one, _: samplers.TPESampler(seed=one, n_startup_trials=5, n_ei_candidates=96),
    # Without a noise of its own: median regret of Hartmann-6 at 40 trials 0.04 for 0.19 (Optuna alone, 60 seeds), with
    # noise of 0.05 on the values 0.11 for 0.26, with 0.1 0.27 for 0.26; of Branin at 30 with noise of 1 0.28 for 0.22.
    "gp": lambda one, _: samplers.GPSampler(seed=one, deterministic_objective=True, warn_independent_sampling=False),
    "cma": lambda one, _: samplers.CmaEsSampler(seed=one, warn_independent_sampling=False),
    "random": lambda one, _: samplers.RandomSampler(one),
    # Points that have been run are not drawn again; Optuna's BruteForceSampler breaks once a model failed within build.
    "grid": lambda one, _: samplers.RandomSampler(one),
    "qmc": lambda one, whole: samplers.QMCSampler(
        scramble=True, seed=whole, independent_sampler=samplers.RandomSampler(one), warn_independent_sampling=False
    ),
}
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "asha": lambda: pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=2),
    "hyperband": lambda: pruners.HyperbandPruner(min_resource=1, reduction_factor=3),
    "median": lambda: pruners.MedianPruner(),
    "wilcoxon": lambda: pruners.WilcoxonPruner(),
}
