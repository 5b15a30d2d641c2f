"""What commands print of runs: tables of texts from files, and sentences about what is left out."""

import sys
from collections.abc import Sequence

import rich.box
import rich.console
import rich.table
import rich.text

from kopt.report.run_texts import RunText
from kopt.values.texts import clipped, printable

WIDE = 200  # columns, where the output is no terminal


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of texts from files, without markup and control characters."""
    plain = lambda text: rich.text.Text(clipped(text))
    table = rich.table.Table(box=rich.box.SIMPLE)
    for name in names:
        table.add_column(plain(name))
    for row in rows:
        table.add_row(*map(plain, row))
    console = rich.console.Console(width=None if sys.stdout.isatty() else WIDE)
    with console.capture() as drawn:  # rich ends the program with code 1 when nothing reads its output any longer
        console.print(table)
    print(drawn.get(), end="")


def called(run: RunText) -> str:
    """Return the name of a run: <recipe>/<run>."""
    return f"{run.recipe.name}/{run.folder.name}"


def left_out(sentences: Sequence[str]) -> None:
    """Print why runs are left out."""
    for sentence in sentences:
        print(f"left out: {printable(sentence)}", file=sys.stderr)
