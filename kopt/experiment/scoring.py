"""The end of a run: its score on the test split, its report, and the lines about both."""

import logging

import keras
import numpy as np

from kopt.data import Split, Splits
from kopt.data.base import take
from kopt.experiment.recipe import Recipe
from kopt.experiment.resuming import Begun, remove_checkpoint
from kopt.report import Evidence, Run, write_metrics, write_report
from kopt.report.tracker import Tracking
from kopt.training import Loop
from kopt.values.texts import printable

MOST_OUTPUTS = 2**24  # numbers in the outputs from which a report is made


def score_and_report(
    begun: Begun, done: Run, model: keras.Model, raw: Splits, splits: Splits, tracking: Tracking
) -> Run:
    """Score the model on the test split, write the report, end what is tracked; without a folder, only score."""
    recipe, folder = begun.recipe, begun.folder
    logs = Loop(model).evaluate(*splits.test, verbose=0)
    scores = {"value": logs[done.metrics["metric"]], "loss": logs["loss"]}
    done = write_metrics(folder, done, scores | {"unfinished": "its report was not written"})
    evidence = evidence_of(recipe, model, raw.test, splits.test)
    if folder is not None:
        done = write_report(folder, done, evidence)
    done = write_metrics(folder, done, {"unfinished": None})
    tracking.end(folder, done)
    remove_checkpoint(folder)
    return done


def evidence_of(recipe: Recipe, model: keras.Model, raw: Split, part: Split) -> Evidence:
    """Return the outputs for a split, or for its first rows when all outputs would be too many."""
    outputs = int(np.prod(model.output_shape[1:]))
    rows = slice(max(100, MOST_OUTPUTS // outputs))
    return Evidence(
        recipe.data.task,
        take(raw.x, rows),
        raw.y[rows],
        Loop(model).predict(part.x[rows], verbose=0),
        recipe.data.labels,
        recipe.data.notes(),
    )


def log_result(done: Run, log: logging.Logger) -> None:
    """Log the score, and the files that could not be written."""
    metrics = done.metrics
    target = "" if metrics["target"] is None else f", target {metrics['target']:.4f}"
    reached = metrics["metric"], metrics["value"], metrics["baseline_name"], metrics["baseline"], target
    log.info("test %s: %.4f, %s %.4f%s", *reached)
    lacking = ", ".join(f"{name} ({why})" for name, why in metrics.get("not_written", {}).items())
    if lacking:
        log.warning("could not be written: %s", lacking)
    log.info("run folder: %s", printable(done.folder))
