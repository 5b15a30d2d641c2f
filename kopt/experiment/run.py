"""run(recipe): from a recipe to a run folder, in the order of the work."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras

from kopt import distribute, regularizers
from kopt.callbacks import Average, EpochTime, LearningRate
from kopt.data import Baseline, Splits
from kopt.experiment.inference import inference_writer
from kopt.experiment.own_callbacks import beside_schedule
from kopt.experiment.recipe import Recipe
from kopt.experiment.resolving import model_of, resolved
from kopt.experiment.resuming import Begun, begin, going_on, open_folder, resumable, say_new
from kopt.experiment.scoring import log_result, score_and_report
from kopt.experiment.serving import encoded as encoded  # the name that it had here
from kopt.experiment.serving import prepared, served
from kopt.experiment.signals import SignalStop
from kopt.keras_internals import enable_determinism
from kopt.optimizers import Optimizer
from kopt.report import EventLogs, Run, console_log, write_result
from kopt.report.progress_file import ProgressFile
from kopt.report.tracker import Tracking
from kopt.training import Loop, TrainStep
from kopt.training.feed.placement import Jit
from kopt.values.checks import require, shown
from kopt.values.field_paths import replace
from kopt.values.texts import clipped
from kopt.values.types import Json, KerasCallback, Strategy

__all__ = ["build", "run", "train"]


def run(
    recipe: Recipe,
    *,
    callbacks: Sequence[KerasCallback] = (),
    devices: str | None = None,
    folder: str | os.PathLike[str] = "saved_models",
    verbose: bool = True,
    resume: str | os.PathLike[str] | None = None,
    track: str | None = None,
) -> Run:
    """Train a recipe from its seed to a run folder: data, devices, model, regularizer, optimizer, loop, report.

    The result of training is written first. When the run is ended after the first update, by Ctrl-C, SIGTERM or an
    error, its model and history are kept, and "unfinished" in metrics.json says why. A plot or a model card that cannot
    be written is logged and left out.

    A checkpoint is written every 30 s, and when a signal ends the run: it goes on by `resume`, after a kill too, and
    ends with the same weights and history as one that was not ended.

    The events for TensorBoard are in the run's folder from the end of the first epoch on: `tensorboard --logdir
    saved_models` shows runs at work too.

    Args:
        recipe: The recipe to run.
        callbacks: Callbacks of Keras or of kopt, called after the recipe's own: the rate and the scores of an epoch are
            in their logs. They are no part of the recipe, nor of its folder.
        devices: The devices in place of the recipe's, as for `distribute.choose`; None for the recipe's.
        folder: The folder with a folder for each recipe.
        verbose: Whether to print the choices, the progress and the result.
        resume: The folder of an unfinished run of this recipe that goes on, or "latest" for the newest one; the recipe
            may have more epochs than it had. "auto" for the newest one if there is one, else a new run, for a command
            that is started again by itself: the log says which. None for a new run.
        track: Other tools that keep the run too: "mlflow", "wandb" or both with a comma between; None for none.

    Returns:
        The run: its folder, recipe, history and results.

    Raises:
        ImportError: When the data's package is not installed, or a tool that tracks.
        NotWritten: When the trained model could not be written anywhere.
        ValueError: When the folder cannot be written to, a device is not there, data and model do not fit, or nothing
            says whether more of the data's score is better; when the run to resume is finished, at work, none, or of
            another recipe or other data; when a callback is none, or sets the rate beside the schedule.

    Example:
        >>> import tempfile
        >>> from kopt import data, models, schedules
        >>> from kopt.experiment import recipe
        >>> line = recipe.Recipe(
        ...     "digits", data.Digits(examples=60), model=models.MLP((8, 8, 1), 10, scale=1 / 16),
        ...     schedule=schedules.Cosine(0.01), training=recipe.Training(epochs=2),
        ... )
        >>> with tempfile.TemporaryDirectory() as root:
        ...     done = run(line, folder=root, verbose=False)
        ...     sorted(path.name for path in done.folder.iterdir())
        ['README.md', 'environment.json', 'history.csv', 'inference.keras', 'logs', 'metrics.json', 'model.keras', ...]

    Source:
        nanoGPT's train.py, which reads in the order it runs.
    """
    require(isinstance(recipe, Recipe), "recipe", "must be a kopt.Recipe", recipe)
    recipe = recipe if devices is None else replace(recipe, {"devices": devices})
    asked, tracking = beside_schedule(recipe, callbacks), Tracking(track)
    resumed = resumable(resume, folder, recipe)
    recipe = recipe if resumed is None else going_on(recipe, resumed)
    # First: a worker of a cluster must find the others before TensorFlow starts.
    placed = distribute.choose(recipe.devices, collectives=recipe.collectives)
    direction = recipe.data.direction  # refused here, when it is not known, and not after the training
    require(direction in ("max", "min"), "data.direction", "must be 'max' or 'min'", direction)
    chief = distribute.is_chief(placed.strategy)
    place = open_folder(folder, recipe, resumed) if chief else contextlib.nullcontext((None, None))
    with SignalStop() as stop, place as places, console_log(verbose and chief) as log, tracking:
        log.info("devices: %s", placed.reason)
        say_new(resume, resumed, os.path.join(folder, recipe.name))
        begun = begin(placed.strategy, places, recipe, resumed)
        keras.utils.set_random_seed(recipe.seed)
        if recipe.training.deterministic:
            enable_determinism()  # before anything is traced
        raw = recipe.data.load()
        log.info("data: %r, %s examples to train, validate, test on", recipe.data, "/".join(sizes(raw)))
        begun.require_data(raw.checksum)
        baseline = recipe.data.baseline(raw)
        encoder, splits, recipe = prepared(recipe, raw)
        begun = begun.with_recipe(recipe, raw.checksum)
        model = build(recipe, splits, placed.strategy)
        log.info("model: %s, %s parameters", shown(recipe.model), f"{model.count_params():,}")
        log.info("update: %r by %r, penalty %r", recipe.schedule, recipe.rule, recipe.regularizer)
        asked += tracking.begin(begun.folder, begun.final, recipe)
        with stop.deferred():
            trained = train_until_stopped(begun, model, splits, stop, verbose, asked)
            results = results_of(begun, model, baseline, trained, placed.reason)
            done = Run(begun.final, recipe, trained.history, results)
            if begun.folder is not None and trained.updates:
                copies = inference_writer(recipe.data.task, model, encoder, raw.test.x)
                done = write_result(begun.folder, done, served(recipe, model, encoder), splits.checksum, copies)
            if trained.error is not None:
                raise trained.error
        done = score_and_report(begun, done, model, raw, splits, tracking)
        log_result(done, log)
    distribute.from_chief(placed.strategy, [0])  # a worker that ends before the folder is there would end the chief
    return done


def build(recipe: Recipe, splits: Splits, strategy: Strategy) -> keras.Model:
    """Build and compile the network of a recipe under a strategy, with its regularizer.

    Args:
        recipe: The recipe; sizes of its model that are left out are found in the data.
        splits: The data as `encoded` returns them, to check shapes.
        strategy: The distribution strategy of its variables.

    Returns:
        The compiled network.

    Raises:
        ValueError: When data and model do not fit.
    """
    whole = model_of(resolved(recipe, splits))
    if recipe.augment is not None:
        recipe.augment.require_fit(recipe.data.task, splits.train.x, whole.outputs or 0)
    with strategy.scope(), precision(recipe.training.precision):
        model = whole.build()
        optimizer = Optimizer(recipe.rule)
        if recipe.training.precision == "mixed_float16":
            # Keras would wrap it too, but would not save that, and the model's file could not be loaded.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, whole.loss(), metrics=[recipe.data.score()])
        model.optimizer.build(model.trainable_variables)  # so that weights files restore it before the first step
        if recipe.regularizer is not None:
            regularizers.attach(model, recipe.regularizer)
    return model


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Build layers under a Keras dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def train(
    recipe: Recipe,
    model: keras.Model,
    splits: Splits,
    *,
    callbacks: Sequence[KerasCallback] = (),
    verbose: bool = True,
    jit: Jit = "auto",
    **arguments: Any,
) -> keras.callbacks.History:
    """Train a recipe's model on its training split, validating on its validation split.

    Args:
        recipe: The recipe.
        model: The result of `build`.
        splits: The data.
        callbacks: More callbacks.
        verbose: Whether to print progress.
        jit: As for `Loop`.
        **arguments: Arguments of `Loop.fit` in place of the recipe's.

    Returns:
        The History, with the learning rate and seconds of each epoch.
    """
    score, training = f"val_{recipe.data.score().name}", recipe.training
    own: list[KerasCallback] = [LearningRate(recipe.schedule, unit="epoch"), EpochTime()]
    if recipe.average is not None:
        own.append(Average(recipe.average))
    if training.patience is not None:
        stopping = {"mode": recipe.data.direction, "patience": training.patience, "restore_best_weights": True}
        own.append(keras.callbacks.EarlyStopping(score, **stopping))
    fields = {
        "batch_size": training.batch_size,
        "epochs": training.epochs,
        "validation_data": splits.validation,
    }
    count, flat = training.micro_batches, recipe.sharpness
    step = TrainStep(model, micro_batches=count, clip=recipe.clip, augment=recipe.augment, sharpness=flat)
    loop = Loop(model, jit=jit, seed=recipe.seed, step=step, deterministic=training.deterministic)
    return loop.fit(*splits.train, callbacks=[*own, *callbacks], verbose=int(verbose), **fields | arguments)


class Trained(NamedTuple):
    """The result of training: history, number of updates, seconds, and what ended it early."""

    history: dict[str, list[float]]
    updates: int
    seconds: float
    stopped: str | None
    error: BaseException | None


def train_until_stopped(
    begun: Begun,
    model: keras.Model,
    splits: Splits,
    stop: SignalStop,
    verbose: bool,
    callbacks: Sequence[KerasCallback],
) -> Trained:
    """Train; return an error instead of raising it, because the training before it is kept."""
    recipe, checkpoint = begun.recipe, begun.checkpoint
    # What writes checkpoints stops training too, after the last one.
    stops: list[KerasCallback] = [] if checkpoint is not None else [stop]
    logs: list[KerasCallback] = []
    if begun.folder is not None:
        score = recipe.data.score().name, recipe.data.direction
        logs = [EventLogs(begun.folder / "logs", recipe), ProgressFile(begun.folder, *score, recipe.training.epochs)]
    started = time.perf_counter()
    error: BaseException | None = None
    try:
        train(recipe, model, splits, callbacks=[*stops, *callbacks, *logs], verbose=verbose, checkpoint=checkpoint)
    except BaseException as raised:  # it is raised after the result is written
        error = raised
    updates = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    history = model.history.history if updates else {}
    epochs = f"after {len(history.get('loss', ()))} of {recipe.training.epochs} epochs"
    by = stop.name if error is None else f"{type(error).__name__}: {clipped(error)}".rstrip(": ")
    stopped = None if by is None else f"training was ended {epochs}, by {by}"
    seconds = max(time.perf_counter() - started, sum(history.get("seconds", ())))  # those before it was resumed too
    return Trained(history or {"loss": []}, updates, seconds, stopped, error)


def results_of(begun: Begun, model: keras.Model, baseline: Baseline, trained: Trained, devices: str) -> dict[str, Json]:
    """Return the results before the test split is scored."""
    recipe, resumed = begun.recipe, {"resumed": list(begun.resumed)} if begun.resumed else {}
    return resumed | {
        "metric": recipe.data.score().name,
        "value": None,
        "loss": None,
        "target": recipe.target,
        "baseline": baseline.value,
        "baseline_name": baseline.name,
        "parameters": model.count_params(),
        "seconds": trained.seconds,
        "devices": devices,
        "unfinished": trained.stopped or "it was not scored",
    }


def sizes(splits: Splits) -> list[str]:
    return [str(len(part.y)) for part in (splits.train, splits.validation, splits.test)]
