"""The command `kopt`, also `python -m kopt`."""

import sys
from collections.abc import Sequence

import tensorflow as tf
import tyro

from kopt import distribute
from kopt.report import read_run

__all__ = ["main"]


def devices(devices: str = "auto") -> None:
    """Say which devices there are, and what a recipe would train on.

    Args:
        devices: What the recipe would be told.
    """
    for device in tf.config.list_logical_devices():
        print(device.name)
    chosen = distribute.choose(devices)
    strategy = chosen.strategy
    print(f"{devices} -> {chosen.reason}: {type(strategy).__name__}, {strategy.num_replicas_in_sync} replicas")


def show(folder: tyro.conf.Positional[str]) -> None:
    """Say what a run did and reached.

    Args:
        folder: saved_models/<recipe>/<run>.
    """
    run = read_run(folder)
    print(run.recipe)
    for name, value in run.metrics.items():
        print(f"{name:14} {value}")


def main(args: Sequence[str] | None = None) -> None:
    """Run one of the subcommands.

    Args:
        args: The arguments; those of the process when None.
    """
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"devices": devices, "show": show}, prog="kopt", description=__doc__, args=args
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
