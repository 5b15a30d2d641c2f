"""What a notebook shows: one output that is written anew, in place of lines that pile up."""

import importlib
import sys
from typing import Protocol

__all__ = ["Shown", "in_notebook", "show"]


class Shown(Protocol):
    """An output of a notebook, as `IPython.display.display` returns it."""

    def update(self, content: object) -> None:
        """Write the output anew."""


class Plain:
    """A text for an output of a notebook: it stays as it is, line by line.

    Args:
        text: The text.
    """

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


def in_notebook() -> bool:
    """Return whether this is a kernel of Jupyter, whose outputs a page shows; False in IPython on a terminal.

    Example:
        >>> in_notebook()
        False
    """
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def show(text: str, output: Shown | None = None) -> Shown:
    """Show a text as one output of the notebook, or in place of what an output has.

    Args:
        text: The text.
        output: What an earlier call returned; None for a new output.

    Returns:
        The output.

    Example:
        >>> class Output:
        ...     def update(self, content):
        ...         print(content)
        >>> output = show("epoch 1/2", Output())
        epoch 1/2
    """
    if output is None:
        return importlib.import_module("IPython.display").display(Plain(text), display_id=True)
    output.update(Plain(text))
    return output
