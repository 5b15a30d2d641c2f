"""Figure: a matplotlib figure that a notebook shows as a picture."""

import io

import matplotlib.figure

__all__ = ["Figure"]


class Figure(matplotlib.figure.Figure):
    """A figure of matplotlib that shows itself in a notebook, without pyplot and its inline backend.

    Where that backend is at work, it takes the figure as one of its own, and shows it once as well.

    Args:
        figsize: Width and height in inches.

    Example:
        >>> Figure(figsize=(1, 1))._repr_png_()[:4]
        b'\\x89PNG'

    Source:
        IPython's rich display: the method `_repr_png_`.
    """

    def __init__(self, *, figsize: tuple[float, float]):
        super().__init__(figsize=figsize, layout="constrained")

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
