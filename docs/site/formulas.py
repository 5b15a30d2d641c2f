"""Formulas, written in LaTeX between dollar signs, as MathML: browsers show it by themselves, without a script."""

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)


def on_page_content(text: str, **_: object) -> str:
    """Replace the formulas of a page: mkdocs calls this with the page's HTML."""
    return FORMULA.sub(mathml, text)


def mathml(found: re.Match[str]) -> str:
    """Return a formula's MathML; one in a paragraph of its own is a block."""
    display = "block" if found[1] == "div" else "inline"
    return str(convert(html.unescape(found[2]).strip(), display=display))
