"""Settings: what autotune chooses, as a value, and the recipe that has it."""

import dataclasses
import re
from dataclasses import dataclass

import numpy as np

from kopt.experiment.recipe import Recipe
from kopt.regularizers import L2
from kopt.rules import Adam, AdamW, Rule
from kopt.schedules import Constant, Cosine, Schedule, Warmup
from kopt.values.field_paths import number_paths, paths, read, replace, with_field
from kopt.values.types import FieldValue

LEVELS = ("rate", "end", "low")  # fields of schedules that are rates
TIMES = ("duration", "warmup_duration", "delay_duration", "every", "cycle", "at")  # those that are times
DECAYS = ("rule.weight_decay", "rule.rest.weight_decay")
STRENGTH = "regularizer.strength"
DIGITS = 3  # of a rate


@dataclass(frozen=True)
class Settings:
    """What is chosen for a recipe.

    Attributes:
        rate: The highest learning rate.
        shape: The schedule at any rate.
        penalty: The weight decay of the rule, or where it has none the strength of the regularizer; None for neither.
        batch_size: The number of examples of an update, or "full".
        rule: The update rule.
    """

    rate: float
    shape: Schedule
    penalty: float | None
    batch_size: int | str
    rule: Rule

    @classmethod
    def of(cls, recipe: Recipe) -> "Settings":
        """Return the settings of a recipe that `opened` has opened."""
        path = penalty_path(recipe)
        penalty = None if path is None else float(str(read(recipe, path)))
        return cls(peak(recipe), recipe.schedule, penalty, recipe.training.batch_size, recipe.rule)

    def but(self, **changes: FieldValue) -> "Settings":
        """Return the settings with some others."""
        return dataclasses.replace(self, **changes)

    def changed(self, other: "Settings") -> dict[str, FieldValue]:
        """Return what differs from other settings: name -> what it is here."""
        return {name: value for name, value in vars(self).items() if value != vars(other)[name]}

    def recipe(self, start: Recipe) -> Recipe:
        """Return the recipe of a start with these settings; settings that are the start's are not touched."""
        held = Settings.of(start)
        changes: dict[str, FieldValue] = {}
        if (self.rate, self.shape) != (held.rate, held.shape):
            shape = replace(start, {"schedule": self.shape})
            changes["schedule"] = open_schedule(with_peak(shape, self.rate))
        if self.rule != held.rule:
            changes["rule"] = self.rule
        changes["training.batch_size"] = self.batch_size
        changed = replace(start, changes)
        path = penalty_path(changed)
        if path is None or self.penalty is None:
            return changed
        places = [one for one in DECAYS if one in number_paths(changed)] if path in DECAYS else [path]
        return replace(changed, dict.fromkeys(places, self.penalty))


def peak(recipe: Recipe) -> float:
    """Return the highest rate of a recipe's schedule."""
    if "schedule.rate" in number_paths(recipe):
        return float(str(read(recipe, "schedule.rate")))
    epochs = recipe.training.epochs
    times = np.linspace(0.0, epochs, 1001)
    return float(np.max(recipe.schedule.resolve(float(epochs))(times)))


def with_peak(recipe: Recipe, rate: float) -> Schedule:
    """Return the schedule of a recipe with another highest rate, of the same shape."""
    factor, schedule = rate / peak(recipe), recipe.schedule
    levels = [path for path in number_paths(schedule) if path in LEVELS]
    if "rate" not in levels:
        return schedule * factor
    others = {path: float(str(read(schedule, path))) * factor for path in levels}
    same = {path: rate for path in levels if read(schedule, path) == read(schedule, "rate")}  # exactly, for a constant
    return replace(schedule, others | {"rate": rate} | same)


def penalty_path(recipe: Recipe) -> str | None:
    """Return the path of the number by which a recipe's weights are penalized; None where it has none."""
    return next((path for path in (DECAYS[0], STRENGTH) if path in number_paths(recipe)), None)


# A wide form, in which more settings are numbers and so recipes are members of one program


def opened(recipe: Recipe, kernels: int) -> Recipe:
    """Return an equal recipe in which the weight decay and the end of the schedule are numbers.

    Adam is AdamW without decay, a constant rate a cosine from it to itself, and no penalty the L2 penalty of 0.

    Args:
        recipe: The recipe.
        kernels: The number of kernels of its model: a penalty needs one.
    """
    changes: dict[str, FieldValue] = {"schedule": open_schedule(recipe.schedule)}
    rule = recipe.rule
    if type(rule) is Adam:
        changes["rule"] = AdamW(rule.beta_1, rule.beta_2, rule.epsilon, corrected=rule.corrected, weight_decay=0.0)
    whole = replace(recipe, changes)
    if penalty_path(whole) is None and whole.regularizer is None and kernels:
        whole = replace(whole, {"regularizer": L2(0.0)})
    return whole


def open_schedule(schedule: Schedule) -> Schedule:
    """Return an equal schedule with an end, for a constant one and for a warm-up to one."""
    match schedule:
        case Constant():
            return Cosine(schedule.rate, end=schedule.rate)
        case Warmup(of=Constant()):
            return with_field(schedule, "of", open_schedule(schedule.of))
    return schedule


def closed_schedule(schedule: Schedule) -> Schedule:
    """Return the schedule that `open_schedule` opened."""
    match schedule:
        case Cosine(duration=None) if schedule.end == schedule.rate:
            return Constant(schedule.rate)
        case Warmup(of=Cosine()):
            return with_field(schedule, "of", closed_schedule(schedule.of))
    return schedule


def closed(recipe: Recipe, start: Recipe) -> Recipe:
    """Return an equal recipe as a person would write it.

    Args:
        recipe: A recipe of settings.
        start: The recipe that was given.
    """
    rule, changes = recipe.rule, dict[str, FieldValue]()
    changes["schedule"] = closed_schedule(recipe.schedule)
    if type(rule) is AdamW and rule.weight_decay == 0.0 and type(start.rule) is not AdamW:
        changes["rule"] = Adam(rule.beta_1, rule.beta_2, rule.epsilon, corrected=rule.corrected)
    if recipe.regularizer == L2(0.0) and start.regularizer is None:
        changes["regularizer"] = None
    return replace(recipe, changes)


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    """Return a recipe of fewer epochs whose schedule is compressed to them; it has no patience.

    Args:
        recipe: The recipe.
        epochs: The number of epochs, at most the recipe's.
    """
    share = epochs / recipe.training.epochs
    if share == 1.0:
        return recipe
    changes: dict[str, FieldValue] = {"training.epochs": epochs, "training.patience": None}
    for path, value in paths(recipe.schedule).items():
        if path.split(".")[-1] in TIMES and isinstance(value, float):
            changes[f"schedule.{path}"] = value * share
        elif path.split(".")[-1] == "times" and isinstance(value, tuple):
            changes[f"schedule.{path}"] = tuple(share * float(str(one)) for one in value)
    return replace(recipe, changes)


def rounded(rate: float) -> float:
    """Return a rate with three digits."""
    return float(f"{rate:.{DIGITS}g}")


def changes_of(recipe: Recipe, start: Recipe) -> dict[str, FieldValue]:
    """Return by which fields a recipe differs from the start: path -> field."""
    found = {path: read(recipe, path) for path in ("schedule", "rule", "regularizer", "training.batch_size")}
    return {path: value for path, value in found.items() if value != read(start, path)}


def code_of(recipe: Recipe, path: str) -> str:
    """Return the field of a recipe at a path as code that begins with kopt."""
    room = {"schedule": "schedules", "rule": "rules", "regularizer": "regularizers"}.get(path)
    text = repr(read(recipe, path))
    return text if room is None else re.sub(r"\b(?=[A-Z]\w*\()", f"kopt.{room}.", text)
