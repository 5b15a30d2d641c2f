"""predict and evaluate: a run's model on later rows, in the names of its data."""

import functools
import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from kopt.data import Data
from kopt.experiment.given_rows import inputs_for
from kopt.experiment.given_targets import targets_for, targets_in
from kopt.experiment.inference import HIDDEN, final
from kopt.experiment.recipe import Recipe
from kopt.experiment.tokens import window_of, windows_in
from kopt.report import Run, read_run
from kopt.state.loading import load_model
from kopt.values.checks import is_whole, needs, require
from kopt.values.places import as_path
from kopt.values.types import ArrayLike

__all__ = ["evaluate", "model_of", "predict", "predictions", "recipe_of"]

Place = Run | str | os.PathLike[str]
OF_TABLES, OF_OTHERS = 8192, 256  # rows of a batch: of columns, and of arrays and texts, of which a row may be large


def predict(run: Place, rows: ArrayLike, *, batch_size: int | None = None, top: int = 10) -> ArrayLike:
    """Predict rows by the model of a run, in the names of its data.

    A model that was used is kept in memory, two at most, so that calls for a few rows each take milliseconds.

    Args:
        run: A run, or its folder.
        rows: What the data of the run took: a pandas frame or columns by name, as in the source, in any order; an
            array; texts; the path of a .csv, .parquet, .npy, .npz or .txt file, of an image or of a folder of images or
            texts; several paths of images.
        batch_size: Number of rows that are computed at a time, >= 1; None for 8,192 of a table and 256 of others.
        top: Number of items that are recommended, for a run that ranks items, >= 1.

    Returns:
        A pandas DataFrame with a row for each row, and the index of a frame that was given. For classes "class" and the
        probability of each by its name; for numbers the target's name, or "value" when it has none; for a forecast
        "t+1", "t+2" and so on; for items "item 1" and so on, the best first, and their scores, "score 1" and so on.

    Raises:
        ImportError: When pandas is not installed; `kopt predict` does without.
        ValueError: When there is no such run, rows do not fit its model, or the run is of a language model.

    Example:
        >>> import kopt, tempfile
        >>> recipe = kopt.Recipe(
        ...     "digits", kopt.data.Digits(examples=60), model=kopt.models.MLP((8, 8, 1), 10, scale=1 / 16),
        ...     schedule=kopt.schedules.Cosine(0.01), training=kopt.Training(epochs=2),
        ... )
        >>> with tempfile.TemporaryDirectory() as root:
        ...     done = kopt.run(recipe, folder=root, verbose=False)
        ...     list(kopt.predict(done, np.zeros((3, 8, 8, 1))).columns)
        ['class', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']

    Source:
        `sklearn.base.ClassifierMixin.predict_proba`.
    """
    pandas = needs("pandas", "recipes")
    found = predictions(run, rows, batch_size=batch_size, top=top)
    return pandas.DataFrame(found, index=rows.index if isinstance(rows, pandas.DataFrame) else None)


def predictions(run: Place, rows: ArrayLike, *, batch_size: int | None = None, top: int = 10) -> dict[str, np.ndarray]:
    """Predict rows as `predict` does, without pandas.

    Args:
        run: As for `predict`.
        rows: As for `predict`.
        batch_size: As for `predict`.
        top: As for `predict`.

    Returns:
        Column -> (n,) array.

    Raises:
        ValueError: As for `predict`.

    Example:
        >>> predictions("nowhere", [])
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        See `predict`.
    """
    require(is_whole(top) and top >= 1, "top", "must be a whole number >= 1", top)
    recipe, task = recipe_of(run), recipe_of(run).data.task
    require(task != "language", "run", "must not be of a language model, which has no value for a row", recipe.name)
    model = model_of(run)
    size = rows_at_a_time(model, batch_size)
    outputs = model.predict(inputs_for(model, recipe.data, rows), batch_size=size, verbose=0)
    return with_names(recipe.data, final(outputs, task), top)


def evaluate(
    run: Place, rows: ArrayLike, y: ArrayLike | None = None, *, batch_size: int | None = None
) -> dict[str, float | int]:
    """Score the model of a run on rows with targets, by the loss and the score of the run.

    Args:
        run: A run, or its folder.
        rows: As for `predict`, with the targets where `y` is None: the target's column, `y` in a .npz file, or the
            folders of images or texts, one a class. For a language model the path of a .txt file, whose next token is
            the target of each, or its windows of tokens.
        y: The targets: names of classes, or numbers of classes where these have no names; numbers.
        batch_size: As for `predict`.

    Returns:
        "rows", "loss" and the score by its name.

    Raises:
        ValueError: When there is no such run, rows do not fit its model, or a class is unknown.

    Example:
        >>> evaluate("nowhere", [])
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        `keras.Model.evaluate`.
    """
    recipe, model = recipe_of(run), model_of(run)
    size = rows_at_a_time(model, batch_size)
    if recipe.data.task == "language" and is_text_file(rows):
        require(y is None, "y", "must be left out with a text file, which has the targets", type(y).__name__)
        rows, y = windows_in(as_path(rows, "rows"), window_of(model), recipe.data.labels)
    x = inputs_for(model, recipe.data, rows)
    count = len(next(iter(x.values())) if isinstance(x, dict) else x)
    targets = targets_for(recipe.data, targets_in(recipe.data, rows) if y is None else y)
    require(len(targets) == count, "y", f"must be of {count} rows, as many as there are", len(targets))
    logs = model.evaluate(x, targets, batch_size=size, verbose=0, return_dict=True)
    name = recipe.data.score().name
    return {"rows": count, name: float(logs[name]), "loss": float(logs["loss"])}


def is_text_file(rows: ArrayLike) -> bool:
    """Return whether rows are the path of a text file that is there."""
    return isinstance(rows, (str, os.PathLike)) and str(rows).lower().endswith(".txt") and os.path.isfile(rows)


def recipe_of(run: Place) -> Recipe:
    """Return the recipe of a run.

    Args:
        run: A run, or its folder.

    Raises:
        ValueError: When there is no such run.

    Example:
        >>> recipe_of("nowhere")
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.
    """
    recipe = (run if isinstance(run, Run) else read_run(run)).recipe
    require(isinstance(recipe, Recipe), "run", "must be of a kopt.Recipe", recipe)
    assert isinstance(recipe, Recipe)
    return recipe


def model_of(run: Place) -> keras.Model:
    """Return the model of a run, from raw inputs.

    Args:
        run: A run, or its folder.

    Raises:
        ValueError: When there is no model in the folder.

    Example:
        >>> model_of("nowhere")
        Traceback (most recent call last):
        ValueError: run must have a model.keras in its folder, got 'nowhere'.
    """
    folder = run.folder if isinstance(run, Run) else as_path(run, "run")
    path = folder / "model.keras"
    require(path.is_file(), "run", "must have a model.keras in its folder", str(folder))
    return loaded(path.absolute(), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=2)
def loaded(path: pathlib.Path, changed: int) -> keras.Model:
    """Return the model of a file that was last changed at a time."""
    return load_model(path)


def rows_at_a_time(model: keras.Model, given: int | None) -> int:
    """Return the size of a batch, as given or by what a row is."""
    require(given is None or (is_whole(given) and given >= 1), "batch_size", "must be a whole number >= 1", given)
    return given or (OF_TABLES if isinstance(model.input, dict) else OF_OTHERS)


def with_names(data: Data, outputs: np.ndarray, top: int) -> dict[str, np.ndarray]:
    """Return final outputs as columns by name."""
    if data.task == "classification":
        return of_classes(outputs, data.labels)
    if data.task == "ranking":
        return of_items(outputs, data.labels, top)
    numbers = outputs.reshape(len(outputs), -1)
    if data.task == "forecast":
        return {f"t+{step}": numbers[:, step - 1] for step in range(1, numbers.shape[1] + 1)}
    name = data.target_column or "value"
    names = [name] if numbers.shape[1] == 1 else [f"{name} {place + 1}" for place in range(numbers.shape[1])]
    return {one: numbers[:, place] for place, one in enumerate(names)}


def of_classes(probabilities: np.ndarray, labels: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the most probable class of each row and the probability of each class, by the names of classes."""
    count = probabilities.shape[1]
    known = [*labels, *map(str, range(len(labels), count))]  # a model may have more outputs than the data have classes
    numbers = probabilities.argmax(1)
    first = "class" if "class" not in known else "predicted class"
    found = {first: np.array(known, object)[numbers] if labels else numbers}
    return found | {name: probabilities[:, place] for place, name in enumerate(known)}


def of_items(scores: np.ndarray, labels: Sequence[str], top: int) -> dict[str, np.ndarray]:
    """Return the best items of each row by name, and their scores; None and NaN where there are no more."""
    top = min(top, scores.shape[1])
    best = np.argsort(-scores, 1, kind="stable")[:, :top]
    found = np.take_along_axis(scores, best, 1)
    hidden = found <= HIDDEN
    names = np.array(labels, object)[best] if labels else best.astype(object)
    names[hidden] = None
    shown = np.where(hidden, np.nan, found)
    items = {f"item {place + 1}": names[:, place] for place in range(top)}
    return items | {f"score {place + 1}": shown[:, place] for place in range(top)}
