"""Notebooks as pages: each docs/notebooks/NAME.ipynb becomes a page of the site, with the outputs that it holds."""

import json
import pathlib
import re
from typing import Any

from mkdocs.structure.files import File, Files

FENCE = "````"


def on_files(files: Files, config: Any, **_: object) -> Files:
    """Add a page for each notebook: mkdocs calls this once it has listed the files."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        place = pathlib.PurePosixPath(file.src_uri)
        text = page(json.loads(pathlib.Path(file.abs_src_path).read_text()), place.name)
        files.append(File.generated(config, str(place.with_suffix(".md")), content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Have links to notebooks lead to their pages: mkdocs calls this with the text of each page."""
    return re.sub(r"(\]\([^)\s]+)\.ipynb\)", r"\1.md)", markdown)


def page(notebook: dict[str, Any], name: str) -> str:
    """Return a notebook as Markdown, with a link to the file below its title."""
    first, *cells = notebook["cells"]
    title, _, rest = "".join(first["source"]).partition("\n")
    link = f'This page is a notebook: <a href="{name}" download>{name}</a> runs in Jupyter.'
    return "\n\n".join([title, link, rest.strip(), *map(of_cell, cells)]) + "\n"


def of_cell(cell: dict[str, Any]) -> str:
    """Return a cell as Markdown: its text, or its code and what it shows."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"{FENCE}python\n{source}\n{FENCE}", *map(of_output, cell["outputs"])])


def of_output(output: dict[str, Any]) -> str:
    """Return an output as a picture, a table or a text, in the order in which Jupyter prefers them."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "text/html" in data:
        table = re.sub(r"\s*\n\s*", "&#10;", "".join(data["text/html"]))  # a blank line would end the block
        return f"<div>{table}</div>"
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        return f'<p><img alt="what the cell draws" src="data:image/png;base64,{picture}"></p>'
    return f'{FENCE}text title="Output"\n{"".join(data["text/plain"]).rstrip()}\n{FENCE}'
