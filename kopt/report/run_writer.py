"""Write a run folder: first the result, then the report."""

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
import types
from collections.abc import Callable, Mapping, Sequence

import matplotlib.figure
import tensorflow as tf

from kopt.keras_internals import is_deterministic
from kopt.report.event_logs import write_logs
from kopt.report.event_summaries import write_outcome
from kopt.report.evidence import Evidence
from kopt.report.model_card import model_card
from kopt.report.not_written import NotWritten
from kopt.report.pictures import PICTURES, evidence_figure, worst_images
from kopt.report.plots import plot
from kopt.report.run import Run
from kopt.report.run_texts import shown_form
from kopt.values.fields import Named, to_json
from kopt.values.texts import clipped
from kopt.values.types import Json, KerasModel
from kopt.values.version import __version__

__all__ = ["NotWritten", "write_metrics", "write_report", "write_result", "write_start"]

PACKAGES = ("keras", "tensorflow", "keras-tuner", "optuna", "numpy", "scikit-learn")
LACKING = "not_written"  # key of metrics.json: the files that could not be written, and why

Writer = Callable[[pathlib.Path], object]
NO_COPIES: Mapping[str, Writer] = types.MappingProxyType({})


def write_start(folder: pathlib.Path, recipe: Named, checksum: str | None, resumed: Sequence[str]) -> dict[str, str]:
    """Write what a killed run is gone on with: its recipe, and the environment.

    Args:
        folder: The folder of the run.
        recipe: The recipe.
        checksum: The sha256 of the data; None before they are loaded.
        resumed: When the run was gone on with, in ISO format.

    Returns:
        The files that could not be written, and why.

    Example:
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_start(pathlib.Path(root), Named("digits"), None, [])
        ...     sorted(os.listdir(root))
        {}
        ['environment.json', 'recipe.json']
    """
    return write_parts(folder, parts_of_start(recipe, checksum, resumed))


def parts_of_start(recipe: Named, checksum: str | None, resumed: Sequence[str]) -> dict[str, Writer]:
    form = json.loads(to_json(recipe))
    content = {"recipe": form, "data_sha256": checksum, "shown": shown_form(recipe, form)}
    machine = environment() | ({"resumed": list(resumed)} if resumed else {})
    return {
        "recipe.json": lambda path: write_json(path, content),
        "environment.json": lambda path: write_json(path, machine),
    }


def write_result(
    folder: pathlib.Path, run: Run, model: KerasModel, checksum: str, copies: Mapping[str, Writer] = NO_COPIES
) -> Run:
    """Write the result of training: model, recipe, environment, history, copies, and the results so far.

    Args:
        folder: The folder of the run.
        run: The run; its `folder` is the final name.
        model: The trained model.
        checksum: The sha256 of the data.
        copies: Name -> the writer of a copy of the model in another form.

    Returns:
        The run; its results name the files that could not be written.

    Raises:
        NotWritten: When the model could not be written, not even to the temporary folder of the system.
    """
    lacking = write_parts(folder, {"model.keras": model.save})
    parts = parts_of_start(run.recipe, checksum, run.metrics.get("resumed", ()))
    parts |= {"history.csv": lambda path: write_history(path, run.history)}
    lacking |= write_parts(folder, parts)
    done = write_metrics(folder, run, {}, lacking)
    if "model.keras" in lacking:
        done = write_metrics(folder, done, {}, {"model.keras": saved_elsewhere(model, lacking["model.keras"])})
    lacking = write_parts(folder, copies)  # last: a run that is ended here has its whole result
    return write_metrics(folder, done, {}, lacking) if lacking else done


def saved_elsewhere(model: KerasModel, why: str) -> str:
    """Save a model to the system's temporary folder, and return a sentence with the place."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kopt-"))
    if write_parts(folder, {"model.keras": model.save}):
        folder.rmdir()
        raise NotWritten(why, model=model)
    return f"{why}; it is {folder / 'model.keras'}"


def write_metrics(
    folder: pathlib.Path | None, run: Run, results: Mapping[str, Json], lacking: Mapping[str, str] | None = None
) -> Run:
    """Rewrite metrics.json with more results.

    Args:
        folder: Its folder; None in a process that writes nothing.
        run: The run with its results so far.
        results: More results; None for "unfinished" removes it.
        lacking: More files that could not be written, and why.

    Returns:
        The run with all results.
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
    """Write plots, the model card, and logs for TensorBoard if there are none; what cannot be written is left out.

    Args:
        folder: The folder with the result.
        run: The run; its `folder` is the final name.
        evidence: The outputs of the model on the test split.

    Returns:
        The run; its results name the files that could not be written.
    """
    figures: dict[str, Callable[[], matplotlib.figure.Figure | None]] = {
        "curves": lambda: plot(run),
        PICTURES[evidence.task][0]: lambda: evidence_figure(evidence)[1],
        "worst": lambda: worst_images(evidence),
    }
    pictures = {name: f"plots/{name}.png" for name in figures}
    parts: dict[str, Writer] = {}
    if not (folder / "logs").is_dir():  # they were not written while it was trained
        parts["logs"] = lambda path: write_logs(path, run.history, run.recipe)
    parts |= {pictures[name]: functools.partial(write_figure, draw) for name, draw in figures.items()}
    lacking = write_parts(folder, parts) | write_events(folder, run, list(pictures.values()))
    shown = [name for name, path in pictures.items() if (folder / path).is_file()]
    card: dict[str, Writer] = {"README.md": lambda path: write_text(path, model_card(run, evidence, shown))}
    return write_metrics(folder, run, {}, lacking | write_parts(folder, card))


def write_events(folder: pathlib.Path, run: Run, pictures: Sequence[str]) -> dict[str, str]:
    """Add the results and the pictures to the events; return the reason when they could not be written."""
    try:
        write_outcome(folder / "logs", run, [folder / path for path in pictures if (folder / path).is_file()])
    except (OSError, tf.errors.OpError) as error:
        return {"logs": reason(error)}
    return {}


def write_parts(folder: pathlib.Path, parts: Mapping[str, Writer]) -> dict[str, str]:
    """Write each part whole or not at all, and return the parts that could not be written, with the reason."""
    lacking = {}
    for name, write in parts.items():
        place = folder / name
        part = place.with_name(f".{place.name}")
        try:
            place.parent.mkdir(exist_ok=True)
            write(part)
            if part.exists():
                part.replace(place)
        except Exception as error:  # any error: a plot must not discard a trained model
            lacking[name] = reason(error)
        finally:
            remove(part)
    return lacking


def reason(error: Exception) -> str:
    """Return a line about an error."""
    plain = error.strerror if isinstance(error, OSError) else None
    return plain or clipped(f"{type(error).__name__}: {error}")


def remove(path: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_figure(draw: Callable[[], matplotlib.figure.Figure | None], path: pathlib.Path) -> None:
    """Draw and save a figure, when there is something to draw."""
    figure = draw()
    if figure is not None:
        figure.savefig(path, dpi=110)


def write_json(path: pathlib.Path, content: Mapping[str, Json]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text such that it is on the disk before the file gets its name."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_history(path: pathlib.Path, history: Mapping[str, list[float]]) -> None:
    """Write one row an epoch, counted from 1."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["epoch", *history])
        rows.writerows([epoch, *values] for epoch, values in enumerate(zip(*history.values()), 1))


def environment() -> dict[str, Json]:
    """Return versions and devices, and nothing that identifies the machine."""
    versions = {"kopt": __version__}  # installed metadata may be missing in a checkout, or older
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
        "deterministic": is_deterministic(),  # whether two runs with the same seed give the same bits
    } | versions
