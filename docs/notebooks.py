"""Run the notebooks of docs/notebooks and keep what they show: `python docs/notebooks.py`.

Each runs in a kernel and an empty folder of its own. What a file keeps is what a reader sees: no times, no ids, none of
TensorFlow's lines about the processor, and pictures of few colors.
"""

import base64
import io
import os
import pathlib
import re
import sys
import tempfile

import nbclient
import nbformat
import PIL.Image

FOLDER = pathlib.Path(__file__).resolve().parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
SECONDS = 300  # that a cell may take
COLORS = 64
TENSORFLOW = re.compile(r"(WARNING: All log messages before absl|[IWE]\d{4} ).*")  # it logs these at any level


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run a notebook in a kernel of its own, and return it with its outputs."""
    os.environ |= QUIET  # the kernel inherits them
    with tempfile.TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}})
        return without_tensorflow(client.execute())


def without_tensorflow(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out what TensorFlow itself writes when it starts."""
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [one for one in cell.outputs if not is_of_tensorflow(one)]
    return notebook


def is_of_tensorflow(output: nbformat.NotebookNode) -> bool:
    lines = output.get("text", "").splitlines()
    return output.get("name") == "stderr" and all(TENSORFLOW.fullmatch(line) for line in lines)


def plain(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out what is another in each run and says nothing to a reader, and make pictures small."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
        for output in cell.get("outputs", ()):
            output.get("metadata", {}).clear()
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = small(output.data["image/png"])
    return notebook


def small(picture: str) -> str:
    """Return a picture, as base64, with few colors."""
    file = io.BytesIO()
    drawn = PIL.Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    drawn.quantize(COLORS).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Run all notebooks, or those that are named."""
    for path in [path for path in NOTEBOOKS if not sys.argv[1:] or path.stem in sys.argv[1:]]:
        nbformat.write(plain(run(nbformat.read(path, 4))), path)
        print(f"{path.name}: {path.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
