"""Pruners by name: the registry, a row each, which says how a pruner is made and what it needs."""

import dataclasses
from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner

from kopt.tuning.space.packages import SCIPY, Package, quietly
from kopt.values.checks import require, unknown

__all__ = ["PRUNERS", "PrunerKind", "pruner_of"]


@dataclasses.dataclass(frozen=True)
class PrunerKind:
    """A row of the registry of pruners. Every pruner takes one objective: Optuna prunes no trial of several.

    Args:
        make: Makes the Optuna pruner.
        needs: The packages that it needs.
        executions: The least number of models that a trial must train.

    Example:
        >>> PRUNERS["wilcoxon"].executions, [one.name for one in PRUNERS["wilcoxon"].needs]
        (2, ['scipy'])
    """

    make: Callable[[], BasePruner]
    needs: tuple[Package, ...] = ()
    executions: int = 1


# To add a pruner, add a row.
PRUNERS: dict[str, PrunerKind] = {
    "asha": PrunerKind(lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=2)),
    "hyperband": PrunerKind(lambda: optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=3)),
    "median": PrunerKind(lambda: optuna.pruners.MedianPruner()),
    "wilcoxon": PrunerKind(lambda: optuna.pruners.WilcoxonPruner(), needs=(SCIPY,), executions=2),
}


def pruner_of(pruner: str | BasePruner | None, *, objectives: int = 1, executions: int = 1) -> BasePruner:
    """Return the pruner of a name.

    Args:
        pruner: "asha" (the better half goes on, at 3, 6, 12 ... epochs), "hyperband" (asha with several first rungs),
            "median" (stop what is worse than half of the others), "wilcoxon" (stop between folds what is worse than
            the best on the same folds; needs scipy), another name in `PRUNERS`, any Optuna pruner, or None for none.
        objectives: The number of objectives; with several, no trial can be pruned.
        executions: The number of models that a trial trains.

    Returns:
        The pruner.

    Raises:
        ValueError: When no pruner has the name, or it does not fit.
        ImportError: When a package is not installed; says which.

    Example:
        >>> pruner_of("median")
        <optuna.pruners._median.MedianPruner object at ...>
    """
    require(objectives == 1 or pruner is None, "pruner", "must be None with several objectives", pruner)
    if pruner is None or isinstance(pruner, BasePruner):
        return pruner or optuna.pruners.NopPruner()
    if not isinstance(pruner, str) or pruner not in PRUNERS:
        raise unknown("pruner", pruner, PRUNERS)
    row = PRUNERS[pruner]
    enough = executions >= row.executions
    require(enough, "pruner", "must have folds or executions_per_trial > 1 to compare", pruner)
    for package in row.needs:
        package.require(f"the pruner {pruner!r}")
    return quietly(row.make)
