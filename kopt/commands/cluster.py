"""The command `kopt launch`."""

import sys

import tyro

from kopt.distribute.processes import GRACE
from kopt.training.signals import DEFAULT, raise_at_once, replace_handlers
from kopt.values import checks, parts


def cluster(
    command: tyro.conf.Positional[tuple[str, ...]],
    workers: int = 2,
    tuners: int | None = None,
    gpus: str | None = None,
    recycle: int | None = None,
    restarts: int = 0,
    grace: float = GRACE,
) -> None:
    """Run a script as several processes on this machine, a training cluster or tuners; its options come after it.

    Args:
        command: The script and its arguments, such as `recipes/vision.py --training.epochs 5`.
        workers: Number of processes of a training cluster.
        tuners: Number of processes that share a search, instead of a cluster.
        gpus: Which GPUs the tuners share out, such as 0,1,2,3; all when it is not given.
        recycle: Number of trials after which a new process replaces a tuner's; never when it is not given.
        restarts: How often all workers are started again when one fails; their script goes on from its checkpoint.
        grace: Seconds that a worker has to write a checkpoint when it is to end.
    """
    of_tuners, of_workers = (gpus, recycle), (restarts, grace)
    checks.require(
        tuners is not None or of_tuners == (None, None), "gpus and recycle", "must come with tuners", of_tuners
    )
    alone = tuners is None or of_workers == (0, GRACE)
    checks.require(alone, "restarts and grace", "must come without tuners", of_workers)
    work = parts.needed("kopt.distribute.launch")
    replace_handlers(DEFAULT, raise_at_once)  # so that the started processes are ended
    if tuners is None:
        sys.exit(work.launch(command, workers=workers, restarts=restarts, grace=grace))
    listed = None if gpus is None else gpus.split(",")
    sys.exit(work.launch_tuners(command, tuners=tuners, gpus=listed, recycle=recycle))
