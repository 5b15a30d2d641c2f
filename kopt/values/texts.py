"""Text from files and users, made safe for a terminal, for Markdown and for a picture."""

import html

__all__ = ["clipped", "in_markdown", "in_picture", "printable"]

MOST = 300  # characters of a text that are printed


def printable(text: object) -> str:
    """Escape control characters, so that a text cannot steer the terminal.

    Args:
        text: Any text, or what `str` makes one.

    Returns:
        The text; control, bidirectional and lone surrogate characters as Python writes them.

    Example:
        >>> printable("a\\x1b[31mb")
        'a\\\\x1b[31mb'
    """
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(text))


def clipped(text: object, most: int = MOST) -> str:
    """Escape control characters and keep the beginning of a long text.

    Args:
        text: Any text, or what `str` makes one.
        most: How many characters to keep.

    Returns:
        The text, with "..." where it was cut.

    Example:
        >>> clipped("a" * 10, 3)
        'aaa...'
    """
    whole = str(text)
    return printable(whole[:most]) + ("..." if len(whole) > most else "")


def in_markdown(text: object) -> str:
    """Escape what Markdown and HTML would read as their own; the text keeps to its line.

    Args:
        text: Any text, or what `str` makes one.

    Returns:
        The text for a line or a table's cell.

    Example:
        >>> in_markdown("a | <b> *c*")
        'a \\\\| &lt;b&gt; \\\\*c\\\\*'
    """
    line = html.escape(printable(" ".join(str(text).split())), quote=False)
    return "".join(f"\\{one}" if one in "\\`*_[]|" else one for one in line)


def in_picture(text: object) -> str:
    """Escape what matplotlib would read as a formula.

    Args:
        text: Any text, or what `str` makes one.

    Returns:
        The text for a title, a label or a legend.

    Example:
        >>> in_picture("US$ and $x")
        'US\\\\$ and \\\\$x'
    """
    return clipped(text).replace("$", r"\$")
