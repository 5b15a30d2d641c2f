"""Links from pages to files outside docs/: each such file becomes a page or a picture of the site, under source/."""

import os
import pathlib
import re
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
LANGUAGES = {".py": "python", ".cfg": "ini", ".json": "json"}
PICTURES = (".png", ".svg")


def on_files(files: Files, config: Any, **_: object) -> Files:
    """Add what is linked, and what that links in turn: mkdocs calls this once it has listed the files."""
    waiting = [ROOT / "docs" / file.src_uri for file in files if file.src_uri.endswith(".md")]
    seen = set(waiting)
    while waiting:
        for target in targets(waiting.pop()):
            if target not in seen and not target.is_relative_to(DOCS):
                seen.add(target)
                waiting += [target] if target.suffix == ".md" else []
                files.append(made(target, config))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: object) -> str:
    """Rewrite the links of a page: mkdocs calls this with the page's text."""
    here, uri = origin(page.file.src_uri), pathlib.PurePosixPath(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        target = (here.parent / found[1]).resolve()
        if re.match(r"[a-z]+:", found[1]) or not target.is_file():
            return found[0]
        path = os.path.relpath(uri_of(target), uri.parent)
        return f"]({path}{found[2] or ''})"

    return LINK.sub(link, markdown)


def targets(page: pathlib.Path) -> list[pathlib.Path]:
    """Return the files of this project that a page links."""
    found = [(page.parent / path).resolve() for path, _ in LINK.findall(page.read_text())]
    return [path for path in found if path.is_file() and path.is_relative_to(ROOT)]


def origin(uri: str) -> pathlib.Path:
    """Return the file of a page of the site."""
    return ROOT / uri.removeprefix("source/").removesuffix(".code.md") if uri.startswith("source/") else DOCS / uri


def uri_of(path: pathlib.Path) -> str:
    """Return the place in the site of a file of this project."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    code = "" if path.suffix in (".md", *PICTURES) else ".code.md"
    return f"source/{path.relative_to(ROOT).as_posix()}{code}"


def made(path: pathlib.Path, config: Any) -> File:
    """Return the file of the site for a file of this project; one of code is shown as code and not searched."""
    if path.suffix in PICTURES:
        return File.generated(config, uri_of(path), abs_src_path=str(path))
    text = path.read_text()
    if path.suffix != ".md":
        title = path.relative_to(ROOT).as_posix()
        language = LANGUAGES.get(path.suffix, "text")
        text = f"---\nsearch: {{exclude: true}}\n---\n# {title}\n\n````{language}\n{text}````\n"
    return File.generated(config, uri_of(path), content=text)
