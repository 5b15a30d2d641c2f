"""Samplers by name: the registry, a row each, which says how a sampler is made and what it can do."""

import dataclasses
from collections.abc import Callable

import optuna
from optuna.samplers import BaseSampler

from kopt.tuning.space.packages import SCIPY, Package, quietly
from kopt.tuning.space.seeded import SeededSampler
from kopt.values.checks import require, unknown
from kopt.values.moved_names import moved_names

__all__ = ["SAMPLERS", "SamplerKind", "sampler_of"]
__getattr__ = moved_names(
    __name__,
    {
        "Steered": "kopt.tuning.space.seeded.SeededSampler",
        "pruner_of": "kopt.tuning.space.pruners.pruner_of",
        "seed_of": "kopt.tuning.space.seeded.seed_of",
    },
)


@dataclasses.dataclass(frozen=True)
class SamplerKind:
    """A row of the registry of samplers.

    Args:
        make: Makes the Optuna sampler from the trial's seed and the search's seed.
        kind: The class that `make` returns; an Optuna sampler that a user passes has the limits of its class.
        stateless: Whether the sampler keeps nothing from trial to trial but a random stream. One is then made for each
            trial, so that a search that was interrupted continues with the same draws.
        finite: Whether the sampler goes through a finite space, each point once; an infinite space is refused.
        needs: The packages that it needs.
        objectives: The greatest number of objectives that it takes; None for no limit.

    Example:
        >>> SAMPLERS["cma"].objectives, SAMPLERS["grid"].finite, [one.name for one in SAMPLERS["gp"].needs]
        (1, True, ['torch', 'scipy'])
    """

    make: Callable[[int, int], BaseSampler]
    kind: type[BaseSampler]
    stateless: bool = False
    finite: bool = False
    needs: tuple[Package, ...] = ()
    objectives: int | None = None


TORCH = Package("torch", how="python -m pip install torch --index-url https://download.pytorch.org/whl/cpu")

# To add a sampler, add a row.
SAMPLERS: dict[str, SamplerKind] = {
    # Fewer random trials and more candidates than Optuna's defaults, 10 and 24: over 80 seeds the median regret of
    # Hartmann-6 at 40 trials is 0.43 for 0.55, of Branin at 30 trials 0.41 for 0.44 (benchmarks/tuner_regret.py).
    "tpe": SamplerKind(
        lambda trial, search: optuna.samplers.TPESampler(seed=trial, n_startup_trials=5, n_ei_candidates=96),
        optuna.samplers.TPESampler,
        stateless=True,
    ),
    # Without a noise term: median regret of Hartmann-6 at 40 trials 0.04 for 0.19 (Optuna alone, 60 seeds), with
    # noise of 0.05 on the values 0.11 for 0.26, with 0.1 0.27 for 0.26; of Branin at 30 with noise of 1 0.28 for 0.22.
    "gp": SamplerKind(
        lambda trial, search: optuna.samplers.GPSampler(
            seed=trial, deterministic_objective=True, warn_independent_sampling=False
        ),
        optuna.samplers.GPSampler,
        needs=(TORCH, SCIPY),
    ),
    "cma": SamplerKind(
        lambda trial, search: optuna.samplers.CmaEsSampler(seed=trial, warn_independent_sampling=False),
        optuna.samplers.CmaEsSampler,
        needs=(Package("cmaes"),),
        objectives=1,
    ),
    "random": SamplerKind(
        lambda trial, search: optuna.samplers.RandomSampler(trial), optuna.samplers.RandomSampler, stateless=True
    ),
    # Points that have been run are not drawn again; Optuna's BruteForceSampler breaks if a model failed within build.
    "grid": SamplerKind(
        lambda trial, search: optuna.samplers.RandomSampler(trial),
        optuna.samplers.RandomSampler,
        stateless=True,
        finite=True,
    ),
    "qmc": SamplerKind(
        lambda trial, search: optuna.samplers.QMCSampler(
            scramble=True,
            seed=search,
            independent_sampler=optuna.samplers.RandomSampler(trial),
            warn_independent_sampling=False,
        ),
        optuna.samplers.QMCSampler,
        needs=(SCIPY,),
    ),
}


def sampler_of(
    sampler: str | BaseSampler, seed: int, *, objectives: int = 1, duplicates: bool = False
) -> SeededSampler:
    """Return the sampler of a name.

    Args:
        sampler: "tpe" (a good first choice), "gp" (few, costly trials over numbers without conditions; needs torch and
            scipy), "cma" (many trials over numbers; needs cmaes), "random", "grid" (every combination once), "qmc"
            (random, but evenly spread; needs scipy), another name in `SAMPLERS`, or any Optuna sampler.
        seed: The seed of the search, >= 0; an Optuna sampler has its own.
        objectives: The number of objectives.
        duplicates: Whether a point of a finite space may be drawn again; never one of a grid.

    Returns:
        The sampler.

    Raises:
        ValueError: When no sampler has the name, or it takes fewer objectives.
        ImportError: When a package is not installed; says which.

    Example:
        >>> sampler_of("tpe", seed=0).stateless
        True
    """
    if isinstance(sampler, BaseSampler):
        for row in SAMPLERS.values():
            if isinstance(sampler, row.kind):
                require_objectives(row, objectives, sampler)
        return SeededSampler(lambda _: sampler, seed, stateless=False, duplicates=duplicates)
    if not isinstance(sampler, str) or sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    row = SAMPLERS[sampler]
    require_objectives(row, objectives, sampler)
    for package in row.needs:
        package.require(f"the sampler {sampler!r}")
    make = lambda one: quietly(row.make, one, seed)
    allowed = duplicates and not row.finite
    return SeededSampler(make, seed, stateless=row.stateless, duplicates=allowed, finite=row.finite)


def require_objectives(row: SamplerKind, objectives: int, sampler: str | BaseSampler) -> None:
    fits = row.objectives is None or objectives <= row.objectives
    require(fits, "sampler", "must be one for several objectives", sampler)
