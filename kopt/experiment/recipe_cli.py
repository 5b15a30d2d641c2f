"""The command of a recipe script: one run, or a few seeds against the recipe's target."""

import os

import numpy as np

from kopt.experiment.exit_codes import exit_codes
from kopt.experiment.recipe import Command, Recipe
from kopt.experiment.resuming import saved_recipe
from kopt.experiment.run import run
from kopt.report import Run, find_unfinished
from kopt.report.tracker import tools_of
from kopt.values.checks import require
from kopt.values.field_paths import replace
from kopt.values.places import as_path
from kopt.values.texts import printable

__all__ = ["check_target", "resume_run", "run_command"]

SEEDS = 3


def run_command(command: Command) -> Run:
    """Run a recipe as its command line says; with --check-target, train three seeds and judge their mean.

    Args:
        command: The result of `command_line`.

    Returns:
        The run.

    Raises:
        SystemExit: After --check-target, with code 0 when the target is reached and 1 when it is missed. Otherwise with
            code 2 and a sentence after a refused argument, 1 when the model could not be written, 130 after Ctrl-C,
            and 143 after SIGTERM.

    Example:
        >>> import kopt, tempfile
        >>> recipe = kopt.Recipe(
        ...     "digits", kopt.data.Digits(examples=60), model=kopt.models.MLP((8, 8, 1), 10, scale=1 / 16),
        ...     schedule=kopt.schedules.Cosine(0.01), training=kopt.Training(epochs=2),
        ... )
        >>> with tempfile.TemporaryDirectory() as root:
        ...     done = run_command(kopt.Command(recipe, folder=root))
        devices: ...

    Source:
        See `run` and `check_target`.
    """
    with exit_codes():
        alone = command.resume is None or not command.check_target
        require(alone, "resume", "must be given without --check-target", command.resume)
        untracked = command.track is None or not command.check_target
        require(untracked, "track", "must be given without --check-target", command.track)
        if command.check_target:
            raise SystemExit(0 if check_target(command.of, folder=command.folder) else 1)
        return run(command.of, folder=command.folder, resume=command.resume, track=command.track)
    raise AssertionError  # exit_codes lets nothing through


def resume_run(run_folder: str | os.PathLike[str], epochs: int | None = None) -> Run:
    """Go on with an unfinished run by the recipe in its folder, kept by the tools that have kept it.

    Args:
        run_folder: <folder>/<recipe>/<run>.
        epochs: Number of epochs, as many as the run was to have or more; None for as many.

    Returns:
        The run, as from `run`.

    Raises:
        ValueError: When it is no unfinished run of a recipe, or as for `run`.

    Example:
        >>> resume_run("/nowhere/vision/2026-01-31")
        Traceback (most recent call last):
        ValueError: resume must be 'latest', 'auto' or the folder of a run in /nowhere/vision, got ...

    Source:
        See `run`.
    """
    parent = as_path(run_folder, "run").absolute().parent
    recipe = saved_recipe(run_folder, parent.parent, parent.name)
    if epochs is not None:
        recipe = replace(recipe, {"training.epochs": epochs})
    track = tools_of(find_unfinished(run_folder, parent.parent, parent.name).folder)
    return run(recipe, folder=parent.parent, resume=run_folder, track=track)


def check_target(recipe: Recipe, *, folder: str | os.PathLike[str] = "saved_models") -> bool:
    """Train a recipe from three seeds, and return whether their mean score on the test split reaches the target.

    Args:
        recipe: The recipe to train, with its own seed and the two after it.
        folder: The folder of all run folders.

    Returns:
        Whether the mean is at least the target, or at most the target when less is better.

    Raises:
        ValueError: When the recipe has no target.

    Example:
        >>> import kopt, tempfile
        >>> recipe = kopt.Recipe(
        ...     "digits", kopt.data.Digits(examples=60), model=kopt.models.MLP((8, 8, 1), 10, scale=1 / 16),
        ...     schedule=kopt.schedules.Cosine(0.01), training=kopt.Training(epochs=2), target=0.05,
        ... )
        >>> with tempfile.TemporaryDirectory() as root:
        ...     check_target(recipe, folder=root)
        seed 0: accuracy ...
        True

    Source:
        Bouthillier et al., Accounting for Variance in Machine Learning Benchmarks, 2021.
    """
    require(recipe.target is not None, "target", "must be set to be checked", recipe.target)
    assert recipe.target is not None
    values = []
    for seed in range(recipe.seed, recipe.seed + SEEDS):
        done = run(replace(recipe, {"seed": seed}), folder=folder, verbose=False)
        values.append(done.metrics["value"])
        print(
            f"seed {seed}: {result_text(done)}, {done.metrics['seconds']:.0f} s, {printable(done.folder)}", flush=True
        )
    name, mean = done.metrics["metric"], float(np.mean(values))
    reached = mean >= recipe.target if recipe.data.direction == "max" else mean <= recipe.target
    spread = float(np.std(values, ddof=1))
    verdict = "reached" if reached else "missed"
    print(f"mean {name} {mean:.4f} +- {spread:.4f}, target {recipe.target:.4f} {verdict}", flush=True)
    return reached


def result_text(done: Run) -> str:
    """Return the score of a run beside its baseline."""
    metrics = done.metrics
    return f"{metrics['metric']} {metrics['value']:.4f}, {metrics['baseline_name']} {metrics['baseline']:.4f}"
