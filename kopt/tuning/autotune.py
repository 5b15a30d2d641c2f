"""autotune(recipe | model): the numbers of a training found by a population of short runs, then the whole run."""

import dataclasses
import math
import time

import keras

from kopt import distribute
from kopt.data import Data
from kopt.experiment.recipe import Recipe
from kopt.experiment.run import build
from kopt.experiment.serving import prepared
from kopt.report import Run
from kopt.training.execute.choices import one_line
from kopt.training.feed.placement import Jit
from kopt.tuning.autotuning.costs import Budget, Costs, costs_of
from kopt.tuning.autotuning.given import recipe_of
from kopt.tuning.autotuning.result import Autotuned
from kopt.tuning.autotuning.search import Search, Trial
from kopt.tuning.autotuning.settings import changes_of, closed, opened
from kopt.tuning.autotuning.stages import try_finer, try_rates, try_variants, try_whole
from kopt.values.checks import is_among, is_whole, require
from kopt.values.types import ArrayLike, KerasModel

__all__ = ["autotune"]


@one_line()
def autotune(
    recipe: Recipe | KerasModel,
    x: ArrayLike | Data | None = None,
    y: ArrayLike | None = None,
    budget: str | float = "2x",
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    jit: Jit = "auto",
) -> Autotuned:
    """Choose rate, schedule, penalty, batch size and rule by short runs on the validation split, then train whole.

    Rates around the start's and around the usual one of its rule are tried in runs of a tenth of the epochs, with the
    schedule compressed to them. What differs in one thing from the best of them, in this order penalty, schedule,
    nearer rates, batch size, rule, is tried in longer runs; then the best settings and the start are trained whole, and
    the better one on the validation split is returned. So it is not worse than the start there. Runs that differ in
    numbers alone are one program (`tuning.population.train`). The test split is scored, and decides nothing.

    A budget in runs is counted, so that the same call gives the same result. A program counts as 1.2 s to compile, and
    an update of its K members as 0.2 ms + K * (4 ns a parameter + 75 ps a multiplication of the forward pass on the
    batch), or as K updates alone where the model has convolutions or recurrent layers, whose members take turns; all in
    plain whole runs. Small models are tried in whole runs at once, and "2x" pays for rates and penalties, "4x" for
    batch sizes and rules too. Where each member costs about a whole run, the whole runs of the start and of another
    one take all of "2x", and three short runs of rates come on top: 2.3 in all, up to 2.4 for 5 epochs. A budget in
    seconds is measured, and gives another result on another machine.

    Args:
        recipe: The recipe to start from; or a Keras model, which starts from the optimizer it is compiled with, or from
            Adam at the constant rate 0.001. Its runs are judged by the task's score, not by the metrics of its compile.
        x: For a Keras model: the inputs, or a data set of inputs and targets such as `data.arrays(x, y, split="time")`.
        y: For a Keras model: the targets; left out for a data set.
        budget: What all runs together may take, the whole run included: "2x", at most twice the plain whole run; or a
            time, "30s", "5m".
        epochs: For a Keras model: the epochs of a whole run, 20 when None.
        batch_size: For a Keras model: the examples of an update to start from, 32 when None.
        seed: The seed of all runs; None for the recipe's, or 0.
        jit: As for `training.Loop`.

    Returns:
        The recipe that was chosen, its run with the trained model, the table of all runs, why, and code to paste.

    Raises:
        ValueError: When the recipe is none, has no validation split or asks for several devices; when the model's
            optimizer is unknown, or its loss is not that of the task (cross-entropy, mean squared error, mean absolute
            error of a forecast); when the budget is none, or does not pay for two short runs beside the whole one.

    Example:
        >>> from kopt import data, models, schedules
        >>> from kopt.experiment.recipe import Training
        >>> model = models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16)
        >>> digits, slow = data.Digits(examples=120), schedules.Constant(1e-6)
        >>> start = Recipe("digits", digits, model=model, schedule=slow, training=Training(epochs=4))
        >>> found = autotune(start, jit=False)
        >>> found.recipe.schedule.rate > 1e-4, found.cost <= found.budget == 2.0
        (True, True)

    Source:
        Successive halving of Jamieson and Talwalkar, 2016; Li et al., A System for Massively Parallel Hyperparameter
        Tuning, 2020; coordinates in turn, as in Godbole et al., Deep Learning Tuning Playbook, 2023.
    """
    asked, started = Budget.of(budget), time.perf_counter()
    require(is_among(jit, "auto", True, False), "jit", "must be 'auto', True or False", jit)
    require(seed is None or is_whole(seed), "seed", "must be a whole number >= 0 or None", seed)
    if isinstance(recipe, Recipe):
        for name, value in (("x", x), ("y", y), ("epochs", epochs), ("batch_size", batch_size)):
            require(value is None, name, "must be left out with a recipe, which has its own", value)
        given, start = None, recipe if seed is None else dataclasses.replace(recipe, seed=seed)
    else:
        require(isinstance(recipe, keras.Model), "recipe", "must be a kopt.Recipe or a Keras model", recipe)
        given, start = recipe, recipe_of(recipe, x, y, epochs, batch_size, seed or 0)
    require_alone(start)
    costs = counted(start)
    wide = opened(start, 0 if costs.penalized else costs.kernels)  # a penalty takes the place of a layer's own
    search = Search(wide, costs, asked.runs or 2.5, jit)
    began = time.perf_counter()
    before, now = try_rates(search), time.perf_counter()
    if asked.seconds is not None:
        search.limit = measured(search, asked.seconds, now - started, now - began)
    best = try_whole(search, try_finer(search, try_variants(search, before)))
    return found_by(search, best, start, given)


def require_alone(start: Recipe) -> None:
    """Raise ValueError when a recipe asks for several devices, or nothing says which score is better."""
    require(start.devices in ("auto", "cpu"), "devices", "must be 'auto' or 'cpu' for autotune", start.devices)
    direction = start.data.direction
    require(direction in ("max", "min"), "data.direction", "must be 'max' or 'min'", direction)


def counted(start: Recipe) -> Costs:
    """Count what the runs of a recipe take, by its data and model."""
    raw = start.data.load()
    require(len(raw.validation.y) > 0, "data", "must have a validation split", start.data)
    _, splits, whole = prepared(start, raw)
    keras.utils.set_random_seed(start.seed)
    return costs_of(start, build(whole, splits, distribute.strategy("cpu")), len(splits.train.y))


def measured(search: Search, seconds: float, passed: float, stage: float) -> float:
    """Return a budget of seconds in plain whole runs, by the time that the first stage took.

    Args:
        search: The search after its first stage.
        seconds: The seconds in all.
        passed: The seconds that have passed.
        stage: Those of the first stage.
    """
    run = stage / search.spent
    left, needed = (seconds - passed) / run, math.ceil(passed + search.reserve * run)
    require(left >= search.reserve, "budget", f"must be about {needed}s or more for this recipe here", f"{seconds:g}s")
    return search.spent + left


def found_by(search: Search, best: Trial, start: Recipe, given: KerasModel | None) -> Autotuned:
    """Return the result of a search."""
    chosen = start if best.settings == search.held else closed(best.settings.recipe(search.start), start)
    run = with_recipe(best.run, chosen)
    return Autotuned(
        chosen, start, run, search.rows(), why(search, best, chosen, start), search.limit, search.spent, given
    )


def with_recipe(run: Run, recipe: Recipe) -> Run:
    """Return a run with an equal recipe, and with what a member of a population has beside it."""
    found = type(run)(run.folder, recipe, run.history, run.metrics)
    vars(found).update(vars(run))
    return found


def why(search: Search, best: Trial, chosen: Recipe, start: Recipe) -> str:
    """Return what was chosen and by how much it was better on the validation split, in a few sentences."""
    name = f"validation {start.data.score().name}"
    kept = best.settings == search.held
    changes = ", ".join(f"{path} {value!r}" for path, value in changes_of(chosen, start).items())
    same = [one for one in search.trials if one.settings == search.held]
    before = max(same, key=lambda one: one.epochs) if not kept else best
    said = f"autotune kept the start: nothing was better than its {name} of {best.score:.5g}."
    if not kept:
        gain = (best.score - before.score) * (1 if start.data.direction == "max" else -1)
        said = f"autotune chose {changes}: {name} {best.score:.5g} after {best.epochs} epochs, {abs(gain):.2g} "
        said += f"{'better' if gain >= 0 else 'worse'} than the start's {before.score:.5g} after {before.epochs}."
    spread, epochs, seeds = search.spread()
    if math.isnan(spread):
        return f"{said} The spread over seeds was not measured."
    return f"{said} The start's spread over {seeds} seeds after {epochs} epochs is {spread:.2g}."
