"""A run's folder: whole or absent."""

import contextlib
import csv
import datetime
import importlib.metadata
import itertools
import json
import os
import pathlib
import platform
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from kopt.checks import require
from kopt.fields import from_json, to_json
from kopt.recipe import Recipe
from kopt.report.evidence import Evidence
from kopt.report.model_card import model_card
from kopt.report.pictures import evidence_figure, worst_images
from kopt.report.plots import plot
from kopt.report.run import Run

__all__ = ["read_run", "run_folder", "write_run"]

RESULTS = ("metric", "value", "baseline", "seconds", "parameters")
PACKAGES = ("kopt", "keras", "tensorflow", "keras-tuner", "optuna", "numpy", "scikit-learn")


@contextlib.contextmanager
def run_folder(root: str | os.PathLike[str], recipe: str) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """Make a run's folder under a temporary name, and give it its own when the block ends well; else remove it.

    Args:
        root: Where the recipes' folders are.
        recipe: The recipe's name.

    Returns:
        The temporary folder to write into, and what it will be called: <root>/<recipe>/<date>_<time>.

    Raises:
        ValueError: When the folder cannot be written to; nothing has been done then.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     with run_folder(root, "vision") as (unfinished, final):
        ...         written = (unfinished / "note.txt").write_text("whole")
        ...     (final / "note.txt").read_text()
        'whole'

    Source:
        Folklore: write, then rename.
    """
    parent = pathlib.Path(root) / recipe
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    try:
        unfinished, final = reserved(parent, stamp)
    except OSError as error:
        raise ValueError(f"folder must be one that can be written to, got {str(root)!r} ({error.strerror}).") from error
    try:
        yield unfinished, final
        unfinished.rename(final)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        with contextlib.suppress(OSError):  # it is not empty: other runs are there
            parent.rmdir()


def reserved(parent: pathlib.Path, stamp: str) -> tuple[pathlib.Path, pathlib.Path]:
    """The unfinished folder and the final name of the first that no other run has or is making."""
    parent.mkdir(parents=True, exist_ok=True)
    for count in itertools.count(1):
        name = stamp if count == 1 else f"{stamp}-{count}"
        unfinished, final = parent / f".unfinished-{name}", parent / name
        with contextlib.suppress(FileExistsError):  # another process was faster
            unfinished.mkdir()
            if not final.exists():
                return unfinished, final
            unfinished.rmdir()
    raise AssertionError


def write_run(folder: pathlib.Path, run: Run, model: Any, checksum: str, evidence: Evidence) -> None:
    """Write everything that a run leaves: model, recipe, environment, history, results, plots, logs and model card.

    Args:
        folder: An empty folder.
        run: What to write; its own `folder` is the final name.
        model: The trained model.
        checksum: The data's sha256.
        evidence: What the model made of the test split.
    """
    model.save(folder / "model.keras")
    write_json(folder / "recipe.json", {"recipe": json.loads(to_json(run.recipe)), "data_sha256": checksum})
    write_json(folder / "environment.json", environment())
    write_json(folder / "metrics.json", run.metrics)
    write_history(folder / "history.csv", run.history)
    write_logs(folder / "logs", run.history)
    (folder / "plots").mkdir()
    name, drawn = evidence_figure(evidence)
    figures = {"curves": plot(run), name: drawn, "worst": worst_images(evidence)}
    pictures = {name: figure for name, figure in figures.items() if figure is not None}
    for name, figure in pictures.items():
        figure.savefig(folder / "plots" / f"{name}.png", dpi=110)
    (folder / "README.md").write_text(model_card(run, evidence, list(pictures)))


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run's folder; the model is in its `model.keras`, for `keras.saving.load_model`.

    Args:
        folder: saved_models/<recipe>/<run>.

    Returns:
        The run.

    Raises:
        ValueError: When it is no run's folder.

    Example:
        >>> read_run("nowhere")
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        The reverse of `write_run`.
    """
    folder = pathlib.Path(folder)
    for name in ("recipe.json", "history.csv", "metrics.json"):
        require((folder / name).is_file(), "folder", f"must be a run's, with a {name}", str(folder))
    try:
        recipe = from_json(json.dumps(json.loads((folder / "recipe.json").read_text())["recipe"]))
        metrics = json.loads((folder / "metrics.json").read_text())
        with open(folder / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        history = {name: [number(row[name]) for row in rows] for name in rows[0] if name != "epoch"}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"folder must be a run's, whole and of this kopt, got {str(folder)!r} ({error!r}).") from error
    absent = [name for name in RESULTS if name not in metrics]
    require(
        isinstance(recipe, Recipe) and not absent, "folder", f"must be a run's, with {', '.join(RESULTS)}", str(folder)
    )
    return Run(folder, recipe, history, metrics)


def number(text: str) -> float:
    return float(text) if text else float("nan")


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def write_history(path: pathlib.Path, history: Mapping[str, list[float]]) -> None:
    """One row an epoch, counted from 1."""
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["epoch", *history])
        rows.writerows([epoch, *values] for epoch, values in enumerate(zip(*history.values()), 1))


def write_logs(folder: pathlib.Path, history: Mapping[str, list[float]]) -> None:
    """The history for TensorBoard, training and validation as two runs of one chart."""
    for run, prefix in (("train", ""), ("validation", "val_")):
        writer = tf.summary.create_file_writer(str(folder / run))
        with writer.as_default():
            for name, values in history.items():
                if name.startswith("val_") == bool(prefix):
                    for epoch, value in enumerate(values):
                        tf.summary.scalar(f"epoch_{name.removeprefix(prefix)}", value, step=epoch)
        writer.close()


def environment() -> dict[str, Any]:
    """What the run ran on: versions and devices, nothing that names the machine."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    devices = [device.device_type for device in tf.config.list_logical_devices()]
    system = f"{platform.system()} {platform.machine()}"
    return {
        "python": platform.python_version(),
        "system": system,
        "cores": os.cpu_count(),
        "devices": devices,
    } | versions
