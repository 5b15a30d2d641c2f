"""Writes the pictures of the textbook's pages in docs/tutorials: each is the `figure` of the block of code before it.

Command   python docs/textbook.py
"""

import pathlib
import re
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "docs" / "tutorials" / name for name in ("textbook.md", "textbook_bugs.md")]
PART = re.compile(r"^```python\n(?P<code>.*?)^```|!\[[^]]*\]\(\.\./pictures/(?P<picture>[\w-]+\.png)\)", re.S | re.M)
COLORS = 64


def parts(text: str) -> list[tuple[str, str]]:
    """Return ("code", a block) and ("picture", a file's name), in the page's order."""
    return [
        ("code", found["code"]) if found["code"] else ("picture", found["picture"]) for found in PART.finditer(text)
    ]


def main() -> None:
    """Run the pages, and save their pictures."""
    for page in PAGES:
        names: dict[str, Any] = {"__name__": "page"}
        for kind, text in parts(page.read_text()):
            if kind == "code":
                exec(compile(text, str(page), "exec"), names)
            else:
                save(names.pop("figure"), ROOT / "docs" / "pictures" / text)


def save(figure: Figure, path: pathlib.Path) -> None:
    """Save a figure with few colors."""
    figure.savefig(path, dpi=130)
    Image.open(path).convert("RGB").quantize(COLORS).save(path, optimize=True)


if __name__ == "__main__":
    main()
