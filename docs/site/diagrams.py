"""Mermaid diagrams as SVG that is drawn beforehand: no script of a megabyte, and nothing from the network.

Command   python docs/site/diagrams.py node_modules/mermaid/dist/mermaid.min.js    draws what has changed, by chromium
"""

import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile

DOCS = pathlib.Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.S | re.M)
# The browser draws into #drawn, and prints its page when all is done.
PAGE = """<div id="drawn"></div><script src="{script}"></script><script type="module">
mermaid.initialize({{startOnLoad: false, securityLevel: "loose", fontFamily: "sans-serif"}});
const {{svg}} = await mermaid.render("{name}", {code});
document.getElementById("drawn").innerHTML = svg;
</script>"""


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace the diagrams of a page: mkdocs calls this with the page's text."""
    return BLOCK.sub(lambda found: f'<div class="diagram" markdown="0">{drawn(found[1])}</div>', markdown)


def place(code: str) -> pathlib.Path:
    """Return the file of a diagram, which is named by its content."""
    return DOCS / "assets" / f"diagram-{hashlib.sha256(code.encode()).hexdigest()[:8]}.svg"


def drawn(code: str) -> str:
    """Return the SVG of a diagram."""
    if not place(code).is_file():
        raise FileNotFoundError(f"{place(code)}: a diagram has changed, docs/site/diagrams.py draws it")
    return place(code).read_text()


def draw(code: str, script: pathlib.Path) -> str:
    """Return the SVG of a diagram, by mermaid in a browser."""
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "page.html"
        quoted = "`" + code.replace("\\", "\\\\").replace("`", "\\`") + "`"
        page.write_text(PAGE.format(script=script.resolve().as_uri(), code=quoted, name=place(code).stem))
        command = ["chromium", "--headless", "--no-sandbox", "--allow-file-access-from-files", "--dump-dom"]
        done = subprocess.run(
            [*command, "--virtual-time-budget=20000", page.as_uri()], capture_output=True, text=True, check=True
        )
    found = re.search(r'<div id="drawn">(<svg.*?</svg>)</div>', done.stdout, re.S)
    if found is None:
        raise ValueError(f"mermaid has drawn nothing: {done.stdout[-2000:]}")
    return found[1] + "\n"


def main(script: str) -> None:
    """Draw the diagrams that are not there, and remove those that no page has."""
    codes = [code for page in sorted(DOCS.rglob("*.md")) for code in BLOCK.findall(page.read_text())]
    for code in codes:
        if not place(code).is_file():
            place(code).write_text(draw(code, pathlib.Path(script)))
    for path in set(DOCS.glob("assets/diagram-*.svg")) - set(map(place, codes)):
        path.unlink()


if __name__ == "__main__":
    main(sys.argv[1])
