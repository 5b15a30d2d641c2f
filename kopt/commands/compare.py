"""The command `kopt compare`."""

import importlib
import os

import tyro

from kopt.commands.tables import called, left_out, print_table
from kopt.report.run_finder import read_all
from kopt.report.run_reader import read_run_text
from kopt.values import checks
from kopt.values.places import as_path
from kopt.values.texts import printable


def compare(folders: tyro.conf.Positional[tuple[str, ...]], picture: str = "compare.png") -> None:
    """Print how the recipes and results of runs differ, and draw their curves into one picture.

    Args:
        folders: saved_models/<recipe>/<run>, two or more.
        picture: The file of the picture.
    """
    place = as_path(picture, "picture")
    known = os.path.isdir(place.parent) and place.suffix in (".png", ".svg", ".pdf")
    checks.require(known, "picture", "must be a .png, .svg or .pdf in a folder that is there", picture)
    found, broken = read_all(folders, read_run_text)
    left_out(broken)
    checks.require(len(found) >= 2, "folders", "must be of two whole runs or more", len(found))
    drawing = importlib.import_module("kopt.report.compare")  # which imports matplotlib
    print_table(["", *map(called, found)], [[name, *row] for name, row in drawing.differences(found)])
    try:
        drawing.compare_figure(found).savefig(place, dpi=110)
    except OSError as error:
        raise ValueError(f"picture must be one that can be written, got {picture!r} ({error.strerror}).") from error
    print(f"picture: {printable(picture)}")
