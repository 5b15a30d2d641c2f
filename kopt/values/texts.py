"""Texts of files and users, escaped for a terminal, for Markdown and for a picture."""

import html

__all__ = ["clipped", "in_code", "in_markdown", "in_picture", "printable"]

MOST = 300  # characters of a text that are kept


def printable(text: object) -> str:
    """Escape control characters, so that a text cannot steer the terminal.

    Args:
        text: A text, or an object that `str` turns into one.

    Returns:
        The text; control, bidirectional and lone surrogate characters are escaped as Python escapes them.

    Example:
        >>> printable("a\\x1b[31mb")
        'a\\\\x1b[31mb'
    """
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(text))


def clipped(text: object, most: int = MOST) -> str:
    """Escape control characters and keep the beginning of a long text.

    Args:
        text: A text, or an object that `str` turns into one.
        most: The number of characters to keep.

    Returns:
        The text, with "..." at its end when it was cut.

    Example:
        >>> clipped("a" * 10, 3)
        'aaa...'
    """
    whole = str(text)
    return printable(whole[:most]) + ("..." if len(whole) > most else "")


def in_markdown(text: object) -> str:
    """Escape the characters that have a meaning in Markdown or HTML, and join the lines of the text.

    Args:
        text: A text, or an object that `str` turns into one.

    Returns:
        The text for a line or for a cell of a table.

    Example:
        >>> in_markdown("a | <b> *c*")
        'a \\\\| &lt;b&gt; \\\\*c\\\\*'
    """
    line = html.escape(printable(" ".join(str(text).split())), quote=False)
    return "".join(f"\\{one}" if one in "\\`*_[]|" else one for one in line)


def in_code(text: str) -> str:
    """Return text as code in Markdown, its backticks as Python escapes, so that the block does not end early.

    Args:
        text: Python code; a backtick in it is inside a text.

    Returns:
        The code, of as many lines.

    Example:
        >>> in_code('name = "`"')
        'name = "\\\\x60"'
    """
    return "\n".join(printable(line) for line in text.replace("`", "\\x60").split("\n"))


def in_picture(text: object) -> str:
    """Escape the characters that matplotlib would read as a formula.

    Args:
        text: A text, or an object that `str` turns into one.

    Returns:
        The text for a title, a label or a legend.

    Example:
        >>> in_picture("US$ and $x")
        'US\\\\$ and \\\\$x'
    """
    return clipped(text).replace("$", r"\$")
