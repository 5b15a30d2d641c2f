"""What a run leaves in its folder: first its result, then its report."""

import contextlib
import csv
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from kopt.report.evidence import Evidence
from kopt.report.model_card import model_card
from kopt.report.pictures import PICTURES, evidence_figure, worst_images
from kopt.report.plots import plot
from kopt.report.run import Run
from kopt.values.fields import to_json
from kopt.values.texts import clipped

__all__ = ["NotWritten", "write_metrics", "write_report", "write_result"]

PACKAGES = ("kopt", "keras", "tensorflow", "keras-tuner", "optuna", "numpy", "scikit-learn")
LACKING = "not_written"  # the key of metrics.json under which stands what could not be written, and why

Writer = Callable[[pathlib.Path], Any]


class NotWritten(OSError):
    """A trained model could not be written anywhere; `model` is it.

    Example:
        >>> raise NotWritten("No space left on device", model=None)
        Traceback (most recent call last):
        kopt.report.run_writer.NotWritten: model.keras could not be written (No space left on device).
    """

    def __init__(self, why: str, *, model: Any):
        super().__init__(f"model.keras could not be written ({why}).")
        self.model = model


def write_result(folder: pathlib.Path, run: Run, model: Any, checksum: str) -> Run:
    """Write what training gave: model, recipe, environment, history, and what is known of the results.

    Args:
        folder: An empty folder.
        run: What to write; its own `folder` is the final name.
        model: The trained model.
        checksum: The data's sha256.

    Returns:
        The run; what could not be written is among its results.

    Raises:
        NotWritten: When the model could not be written, to the system's temporary folder neither.
    """
    recipe = {"recipe": json.loads(to_json(run.recipe)), "data_sha256": checksum}
    lacking = write_parts(folder, {"model.keras": model.save})
    parts: dict[str, Writer] = {
        "recipe.json": lambda path: write_json(path, recipe),
        "environment.json": lambda path: write_json(path, environment()),
        "history.csv": lambda path: write_history(path, run.history),
    }
    lacking |= write_parts(folder, parts)
    done = write_metrics(folder, run, {}, lacking)
    if "model.keras" in lacking:
        done = write_metrics(folder, done, {}, {"model.keras": saved_elsewhere(model, lacking["model.keras"])})
    return done


def saved_elsewhere(model: Any, why: str) -> str:
    """Save a model to the system's temporary folder, and say so."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kopt-"))
    if write_parts(folder, {"model.keras": model.save}):
        folder.rmdir()
        raise NotWritten(why, model=model)
    return f"{why}; it is {folder / 'model.keras'}"


def write_metrics(
    folder: pathlib.Path | None, run: Run, results: Mapping[str, Any], lacking: Mapping[str, str] | None = None
) -> Run:
    """Write metrics.json anew.

    Args:
        folder: Where it is; None for a process that writes nothing.
        run: Its results so far.
        results: More of them; "unfinished" as None takes it out.
        lacking: What else could not be written, and why.

    Returns:
        The run with all of these results.
    """
    metrics = {**run.metrics, **results}
    if metrics.get("unfinished") is None:
        metrics.pop("unfinished", None)
    if lacking:
        metrics[LACKING] = {**metrics.get(LACKING, {}), **lacking}
    if folder is not None and (also := write_parts(folder, {"metrics.json": lambda path: write_json(path, metrics)})):
        metrics[LACKING] = {**metrics.get(LACKING, {}), **also}
    return Run(run.folder, run.recipe, run.history, metrics)


def write_report(folder: pathlib.Path, run: Run, evidence: Evidence) -> Run:
    """Write logs for TensorBoard, plots and the model card, as many of them as can be.

    Args:
        folder: Where the result is.
        run: What to report; its own `folder` is the final name.
        evidence: What the model made of the test split.

    Returns:
        The run; what could not be written is among its results.
    """
    figures: dict[str, Callable[[], Any]] = {
        "curves": lambda: plot(run),
        PICTURES[evidence.task][0]: lambda: evidence_figure(evidence)[1],
        "worst": lambda: worst_images(evidence),
    }
    pictures = {name: f"plots/{name}.png" for name in figures}
    parts: dict[str, Writer] = {"logs": lambda path: write_logs(path, run.history)}
    parts |= {pictures[name]: functools.partial(write_figure, draw) for name, draw in figures.items()}
    lacking = write_parts(folder, parts)
    shown = [name for name, path in pictures.items() if (folder / path).is_file()]
    card: dict[str, Writer] = {"README.md": lambda path: write_text(path, model_card(run, evidence, shown))}
    return write_metrics(folder, run, {}, lacking | write_parts(folder, card))


def write_parts(folder: pathlib.Path, parts: Mapping[str, Writer]) -> dict[str, str]:
    """Write each part, whole or not at all; those that could not be written, and why."""
    lacking = {}
    for name, write in parts.items():
        place = folder / name
        part = place.with_name(f".{place.name}")
        try:
            place.parent.mkdir(exist_ok=True)
            write(part)
            if part.exists():
                part.replace(place)
        except Exception as error:  # of any kind: no plot may throw away what was trained
            lacking[name] = reason(error)
        finally:
            remove(part)
    return lacking


def reason(error: Exception) -> str:
    """Return what has gone wrong, in a line."""
    plain = error.strerror if isinstance(error, OSError) else None
    return plain or clipped(f"{type(error).__name__}: {error}")


def remove(path: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_figure(draw: Callable[[], Any], path: pathlib.Path) -> None:
    """Draw, where there is something to draw."""
    figure = draw()
    if figure is not None:
        figure.savefig(path, dpi=110)


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write_history(path: pathlib.Path, history: Mapping[str, list[float]]) -> None:
    """Write one row an epoch, counted from 1."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["epoch", *history])
        rows.writerows([epoch, *values] for epoch, values in enumerate(zip(*history.values()), 1))


def write_logs(folder: pathlib.Path, history: Mapping[str, list[float]]) -> None:
    """Write the history for TensorBoard, training and validation as two runs of one chart."""
    for run, prefix in (("train", ""), ("validation", "val_")):
        writer = tf.summary.create_file_writer(str(folder / run))
        with writer.as_default():
            for name, values in history.items():
                if name.startswith("val_") == bool(prefix):
                    for epoch, value in enumerate(values):
                        tf.summary.scalar(f"epoch_{name.removeprefix(prefix)}", value, step=epoch)
        writer.close()


def environment() -> dict[str, Any]:
    """Return what the run ran on: versions and devices, nothing that names the machine."""
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
