"""The commands `kopt runs` and `kopt show`."""

import sys

import tyro

from kopt.commands.tables import called, left_out, print_table
from kopt.report.run_finder import find
from kopt.report.run_reader import read_run_text
from kopt.report.run_texts import RunText
from kopt.report.run_watch import watch_runs
from kopt.values.texts import clipped, printable


def runs(folder: str = "saved_models", sort: str = "folder", watch: bool = False) -> None:
    """List runs with their scores and baselines.

    Args:
        folder: The folder with a folder for each recipe.
        sort: "folder"; "value" for the best of each metric first; "seconds" or "parameters" for the least first.
        watch: Whether to show them again and again until Ctrl-C, those at work with epoch, score so far and time left.
    """
    if watch:
        watch_runs(folder)
        return
    found, broken = find(folder, sort, read_run_text)
    if found:
        print_table(["run", "metric", "value", "baseline", "seconds", "parameters"], [row_of(run) for run in found])
    else:
        print(f"no runs in {printable(folder)}: they are <folder>/<recipe>/<run>")
    for run in found:
        if "unfinished" in run.metrics:
            print(f"unfinished: {clipped(called(run))}: {clipped(run.metrics['unfinished'])}", file=sys.stderr)
    left_out(broken)


def row_of(run: RunText) -> list[str]:
    """Return the cells of a run in the list."""
    results = run.metrics
    value = "-" if results["value"] is None else f"{results['value']:.4f}"
    numbers = f"{results['baseline']:.4f}", f"{results['seconds']:.1f}", f"{results['parameters']:,}"
    return [called(run), results["metric"], value, *numbers]


def show(folder: tyro.conf.Positional[str]) -> None:
    """Print the recipe and the results of a run.

    Args:
        folder: saved_models/<recipe>/<run>.
    """
    run = read_run_text(folder)
    print(printable(run.recipe.code))
    for name, value in run.metrics.items():
        print(f"{clipped(name):14} {clipped(value)}")
