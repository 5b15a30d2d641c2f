"""Importances: the share of each hyperparameter in how scores differ, as a table in a notebook."""

from kopt.values.html_table import html_table

__all__ = ["Importances"]


class Importances(dict[str, float]):
    """Hyperparameter -> its share, the largest first; a notebook shows them as a table.

    Example:
        >>> Importances(rate=0.9, units=0.1)
        {'rate': 0.9, 'units': 0.1}
    """

    def _repr_html_(self) -> str:
        rows = [(name, f"{share:.1%}") for name, share in self.items()]
        return html_table("importances", rows, ("hyperparameter", "share"))
