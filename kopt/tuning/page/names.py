"""Names of hyperparameters as the page writes them where there is little room."""

import html
import re

__all__ = ["breakable", "shortened"]

MOST = 30  # characters of a name, and of its conditions


def breakable(name: str) -> str:
    """Return a name as HTML that may go on in the next line after a point, an underscore or a bracket.

    Args:
        name: The name.

    Example:
        >>> breakable("val_loss <")
        'val_<wbr>loss &lt;'
    """
    return re.sub(r"([._\]])", r"\1<wbr>", html.escape(name))


def shortened(name: str) -> str:
    """Return a name that keeps its end, which tells it from others; its conditions keep theirs.

    Args:
        name: The name of a hyperparameter, with the conditions under which it is asked for in brackets.

    Example:
        >>> shortened("rate"), shortened("encoder.block_of_attention.norm.epsilon [kind=layer]")
        ('rate', '…ock_of_attention.norm.epsilon [kind=layer]')
    """
    own, bracket, conditions = name.partition(" [")
    return cut(own) + bracket + cut(conditions)


def cut(text: str) -> str:
    return text if len(text) <= MOST else f"…{text[1 - MOST :]}"
