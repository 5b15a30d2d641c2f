"""A table of the parameters that a selector chooses."""

import math
import sys

from rich.console import Console
from rich.table import Table

from kopt.select.base import SelectorLike, as_selector, parameters
from kopt.values.types import KerasModel

__all__ = ["show"]


def show(model: KerasModel, selector: SelectorLike) -> None:
    """Print a table of the parameters of a built model, and mark those that a selector chooses.

    Args:
        model: A built Keras model.
        selector: The selector, or a pattern of paths.

    Raises:
        ValueError: When the model is not built, the selector is neither a selector nor a pattern, or nothing is chosen.

    Example:
        >>> import keras
        >>> from kopt import select
        >>> layers = [keras.Input((2,)), keras.layers.Dense(3, name="body"), keras.layers.Dense(1, name="head")]
        >>> show(keras.Sequential(layers), select.kernels & select.depth(0))
        chosen  path         shape   numbers  trains
        yes     body/kernel  (2, 3)        6  yes
        -       body/bias    (3,)          3  yes
        -       head/kernel  (3, 1)        3  yes
        -       head/bias    (1,)          1  yes
        (kernels & depth(0)): 1 of 4 parameters, 6 of 13 numbers
    """
    selector = as_selector(selector, "selector")
    chosen = {id(parameter.variable) for parameter in selector.choose(model)}
    table = Table(box=None, pad_edge=False, header_style="")
    for title in ("chosen", "path", "shape", "numbers", "trains"):
        table.add_column(title, justify="right" if title == "numbers" else "left", overflow="fold")
    sizes: dict[bool, list[int]] = {True: [], False: []}
    for parameter in parameters(model):
        variable, reached = parameter.variable, id(parameter.variable) in chosen
        size = math.prod(variable.shape)
        sizes[reached].append(size)
        row = ("yes" if reached else "-", parameter.path, str(tuple(variable.shape)), f"{size:,}")
        table.add_row(*row, "yes" if variable.trainable else "frozen")
    console = Console(file=sys.stdout, highlight=False)
    console.print(table)
    count, numbers = len(sizes[True]) + len(sizes[False]), sum(sizes[True]) + sum(sizes[False])
    print(f"{selector!r}: {len(sizes[True])} of {count} parameters, {sum(sizes[True]):,} of {numbers:,} numbers")
