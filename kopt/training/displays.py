"""Where progress is shown: a bar on a terminal, one output of a notebook, or a line an epoch."""

import sys
import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kopt.training.notebook import Shown, in_notebook, show

LAST = 10  # lines of epochs that a notebook's output has
PAUSE = 0.2  # seconds between two changes of a notebook's output
WIDTH = 20  # characters of a bar


class Display(Protocol):
    """Shows the epochs of a run, one after the other."""

    def begin(self, title: str, total: int | None) -> None:
        """Begin an epoch of so many steps."""

    def step(self, done: int, text: str) -> None:
        """Show how far the epoch is."""

    def end(self, line: str) -> None:
        """Show the line of an epoch that has ended."""

    def close(self) -> None:
        """Leave lines only, however training has ended."""


class Lines:
    """A line an epoch, for files and pipes."""

    def begin(self, title: str, total: int | None) -> None: ...

    def step(self, done: int, text: str) -> None: ...

    def end(self, line: str) -> None:
        print(line, flush=True)

    def close(self) -> None: ...


class Bar(Lines):
    """A live bar on a terminal, and a line for each epoch that has ended.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console):
        self.console = console
        self.bar: Progress | None = None
        self.room = 0  # characters for what is beside the bar

    def begin(self, title: str, total: int | None) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(WIDTH), MofNCompleteColumn())
        logs = TextColumn("{task.fields[logs]}", markup=False)
        self.bar = Progress(*columns, logs, console=self.console, transient=True)
        self.task = self.bar.add_task(title, total=total, logs="")
        self.bar.start()
        self.room = max(0, self.console.width - len(title) - WIDTH - 2 * len(str(total)) - 4)  # so that the bar stays

    def step(self, done: int, text: str) -> None:
        if self.bar:
            self.bar.update(self.task, completed=done, logs=text[: self.room])

    def end(self, line: str) -> None:
        self.close()
        super().end(line)

    def close(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None


class NotebookOutput:
    """One output of a notebook: the lines of the last epochs, and a bar below while one is at work."""

    def __init__(self) -> None:
        self.lines, self.bar = list[str](), ""
        self.title, self.total = "", 0
        self.output: Shown | None = None
        self.changed = 0.0

    def begin(self, title: str, total: int | None) -> None:
        self.title, self.total = title, total or 0
        self.step(0, "")

    def step(self, done: int, text: str) -> None:
        full = WIDTH * min(done, self.total) // self.total if self.total else 0
        bar = f"|{'█' * full}{'·' * (WIDTH - full)}| {done}/{self.total}" if self.total else f"{done}"
        self.bar = f"{self.title}  {bar}  {text}"
        self.change()

    def end(self, line: str) -> None:
        self.lines, self.bar = [*self.lines, line], ""
        self.change()

    def close(self) -> None:
        if self.bar or self.lines:
            self.bar = ""
            self.change(at_once=True)

    def change(self, at_once: bool = False) -> None:
        """Write the output anew, unless it was a moment ago."""
        now = time.monotonic()
        if not at_once and now - self.changed < PAUSE:
            return
        before = len(self.lines) - LAST
        more = [f"... {before} epochs before"] if before > 0 else []
        text = "\n".join([*more, *self.lines[-LAST:], *([self.bar] if self.bar else [])])
        self.changed = now
        self.output = show(text, self.output)


def display_for(live: bool | None) -> Display:
    """Return the display of progress.

    Args:
        live: True for a bar, False for lines; None for what fits: a bar on a terminal that can move its cursor, one
            output in a notebook, and lines in a file or a pipe, whatever FORCE_COLOR says.
    """
    console = Console(file=sys.stdout)
    if live is None and in_notebook():
        return NotebookOutput()
    movable = sys.stdout.isatty() and console.is_terminal and not console.is_dumb_terminal
    return Bar(console) if live or live is None and movable else Lines()
