"""Writes docs/gallery.md from recipes/results.json, the recipes' docstrings and docs/pictures; a test compares.

Command   python docs/gallery.py                   writes the page
          python docs/gallery.py saved_models      takes the pictures of the newest run of each recipe, then writes it
"""

import ast
import json
import pathlib
import re
import sys

from PIL import Image

from kopt.tasks.task import better

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE, PICTURES = pathlib.Path(__file__).with_suffix(".md"), ROOT / "docs" / "pictures"
RECIPES = ROOT / "recipes"
WIDTH, COLORS = 900, 64
HEAD = """# Gallery

Each recipe is one file of at most 80 lines, to run and to copy from, on data that come inside packages. Scores are
those of the test split, mean and deviation over three seeds; what was tuned was tuned on the validation split. The
baseline is computed on the same split; the better one of the two is bold. Pictures are those of one run, as it leaves
them in its folder: learning curves, and what its task needs. `python recipes/benchmarks/gallery.py` measures the
scores, `python docs/gallery.py` writes this page.

| recipe | what it shows | on the test split, 3 seeds | baseline on the same split |
|---|---|---|---|
"""


def docstring(path: pathlib.Path) -> str:
    """Return a file's docstring."""
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def entry(text: str, name: str) -> str:
    """Return an entry of a docstring's head, such as its Result, on one line."""
    found = re.search(rf"^{name} {{2,}}(.*(?:\n {{4,}}.*)*)", text, re.M)
    return " ".join(found[1].split()).replace("+-", "±") if found else ""


def scores(found: dict) -> tuple[str, str]:
    """Return score and baseline, the better one in bold."""
    ahead = (found["mean"] > found["baseline"]) == (better(found["metric"]) == "max")
    score, other = f"{found['mean']:.4f} ± {found['spread']:.4f}", f"{found['baseline']:.4f}"
    score, other = (f"**{score}**", other) if ahead else (score, f"**{other}**")
    return f"{found['metric']} {score}", f"{found['baseline_name']} {other}"


def title(path: pathlib.Path) -> str:
    """Return what a recipe shows: the first line of its docstring."""
    return docstring(path).split("\n")[0].rstrip(".")


def row(path: pathlib.Path, results: dict) -> str:
    """Return a recipe's line of the table."""
    name, found = path.stem, results.get(path.stem)
    if found is None:
        score, baseline = entry(docstring(path), "Result"), ""
    else:
        score, baseline = scores(found)
        score += f" in {found['seconds']:.0f} s"
    return f"| [{name}](#{name}) | {title(path)} | {score} | {baseline} |\n"


def pictures(name: str) -> str:
    """Return the pictures of a recipe."""
    found = sorted(PICTURES.glob(f"{name}-*.png"))
    kinds = [path.stem.removeprefix(f"{name}-") for path in found]
    return "".join(f"\n![{name}: {kind}](pictures/{path.name})\n" for kind, path in zip(kinds, found))


def section(path: pathlib.Path, results: dict) -> str:
    """Return a recipe's part of the page."""
    text, name = docstring(path), path.stem
    rows = [
        (word, entry(text, word)) for word in ("Data", "Baseline", "Target", "Result", "Memory", "Helped", "In vain")
    ]
    if name in results:
        seconds, weights = results[name]["seconds"], results[name]["parameters"]
        rows.append(("Time", f"{seconds:.0f} s for {weights:,} parameters, the training of one seed on 2 cores"))
    else:
        rows.append(("Time", entry(text, "Time")))
    body = "".join(f"| {word} | {value.replace('|', chr(92) + '|')} |\n" for word, value in rows if value)
    source = f"[recipes/{name}.py](../recipes/{name}.py)"
    return f"\n## {name}\n\n{title(path)}.\n\n| {source} | |\n|---|---|\n{body}{pictures(name)}"


def page() -> str:
    """Return the text of docs/gallery.md: recipes with a score first."""
    results = json.loads((RECIPES / "results.json").read_text())
    paths = sorted(RECIPES.glob("*.py"), key=lambda path: (path.stem not in results, path.stem))
    table = "".join(row(path, results) for path in paths)
    return HEAD + table + "".join(section(path, results) for path in paths)


def take_pictures(folder: pathlib.Path) -> None:
    """Copy the pictures of the newest run of each recipe, smaller and with fewer colors."""
    PICTURES.mkdir(exist_ok=True)
    for name in json.loads((RECIPES / "results.json").read_text()):
        for picture in sorted(max((folder / name).iterdir()).glob("plots/*.png")):
            image = Image.open(picture).convert("RGB")
            image.thumbnail((WIDTH, WIDTH))
            image.quantize(COLORS).save(PICTURES / f"{name}-{picture.stem}.png", optimize=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        take_pictures(pathlib.Path(sys.argv[1]))
    PAGE.write_text(page())
