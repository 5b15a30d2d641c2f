"""What TensorBoard shows of a run besides its curves: the recipe, hyperparameters, the score and the pictures."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

import tensorflow as tf
from tensorboard.plugins.hparams import api, api_pb2
from tensorboard.plugins.hparams.summary import session_end_pb

from kopt.report.model_card import written_recipe
from kopt.report.run import Run
from kopt.report.run_folder import UNFINISHED
from kopt.values.field_paths import paths
from kopt.values.fields import Named, Value
from kopt.values.texts import in_code
from kopt.values.types import FieldValue

__all__ = ["hyperparameters", "write_beginning", "write_outcome"]


def hyperparameters(recipe: Named) -> dict[str, bool | int | float | str]:
    """Return the fields of a recipe as hyperparameters: numbers and texts by their paths.

    Args:
        recipe: The recipe.

    Returns:
        Path -> number, True, False or text; of a nested value its kind; fields that are None are left out.

    Example:
        >>> from kopt.schedules import Cosine
        >>> hyperparameters(Cosine(0.1).warmup(5))
        {'rate': 0.1, 'end': 0.0, 'warmup_duration': 5.0, 'start': 0.0, 'shape': 'linear'}
    """
    return {path: plain(field) for path, field in paths(recipe).items() if field is not None}


def plain(field: FieldValue) -> bool | int | float | str:
    """Return a field as TensorBoard and other trackers take it."""
    if isinstance(field, Value):
        return type(field).__name__
    return field if isinstance(field, (bool, int, float, str)) else repr(field)


def write_beginning(folder: pathlib.Path, recipe: Named) -> None:
    """Write the recipe as text, and its fields for the tab HPARAMS.

    Args:
        folder: The folder of the events, in a run's folder.
        recipe: The recipe.

    Example:
        >>> import tempfile
        >>> from kopt.schedules import Cosine
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_beginning(pathlib.Path(root), Cosine(0.1))
        ...     len(list(pathlib.Path(root).iterdir()))
        1

    Source:
        `tensorboard.plugins.hparams`.
    """
    run = folder.parent.name.removeprefix(UNFINISHED)
    session = api.hparams_pb(hyperparameters(recipe), trial_id=run or "run").SerializeToString()
    with writing(folder, step=0):
        tf.summary.text("recipe", f"```python\n{in_code(written_recipe(recipe))}\n```")
        tf.summary.experimental.write_raw_pb(session)


def write_outcome(folder: pathlib.Path, run: Run, pictures: Sequence[pathlib.Path]) -> None:
    """Write the results, the pictures of the report, and that the run has ended.

    Args:
        folder: The folder of the events, in the run's folder.
        run: The run with its score on the test split.
        pictures: PNG files.

    Example:
        >>> import tempfile
        >>> run = Run(pathlib.Path("run"), None, {"loss": [1.0]}, {"metric": "mae", "value": 0.5, "loss": 0.25})
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_outcome(pathlib.Path(root), run, [])
        ...     len(list(pathlib.Path(root).iterdir()))
        1

    Source:
        `tf.summary`.
    """
    ended = session_end_pb(api_pb2.STATUS_SUCCESS).SerializeToString()
    metrics = run.metrics
    with writing(folder, step=len(run.history["loss"])):
        for name, value in ((metrics["metric"], metrics["value"]), ("loss", metrics["loss"])):
            tf.summary.scalar(f"test_{name}", value)
        tf.summary.text("results", "\n".join(f"    {name} {value}" for name, value in metrics.items()))
        for file in pictures:
            tf.summary.image(f"report/{file.stem}", tf.io.decode_png(file.read_bytes(), channels=3)[None])
        tf.summary.experimental.write_raw_pb(ended)


@contextlib.contextmanager
def writing(folder: pathlib.Path, step: int) -> Iterator[None]:
    """Write a file of events of one step within the block."""
    writer = tf.summary.create_file_writer(str(folder))
    try:
        with writer.as_default(step=step):
            yield
    finally:
        writer.close()
