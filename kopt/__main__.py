"""The command `kopt`, also `python -m kopt`."""

import sys
from collections.abc import Callable, Sequence

import tyro

from kopt.commands.cache import cache
from kopt.commands.cluster import cluster
from kopt.commands.compare import compare
from kopt.commands.devices import devices
from kopt.commands.models import evaluate, export, predict, serve
from kopt.commands.resume import resume
from kopt.commands.runs import runs, show
from kopt.commands.search import report
from kopt.experiment.exit_codes import exit_codes

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, Callable[..., None]] = {
    "cache": cache,
    "compare": compare,
    "devices": devices,
    "evaluate": evaluate,
    "export": export,
    "launch": cluster,
    "predict": predict,
    "report": report,
    "resume": resume,
    "runs": runs,
    "serve": serve,
    "show": show,
}


def main(args: Sequence[str] | None = None) -> None:
    """Run one of the subcommands.

    Args:
        args: The arguments; those of the process when None.
    """
    given = list(sys.argv[1:] if args is None else args)
    # The arguments after the script are the script's: "--" keeps the parser from reading them.
    script = next((place for place, one in enumerate(given) if one.endswith(".py")), None)
    if given[:1] == ["launch"] and script is not None and "--" not in given[:script]:
        given.insert(script, "--")
    with exit_codes():
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="kopt", description=__doc__, args=given)


if __name__ == "__main__":
    main()
