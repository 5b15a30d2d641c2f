"""Resolving: what a recipe leaves open, a model and its sizes, is found in the recipe's data."""

from kopt.data import Split, Splits
from kopt.data.base import Inputs
from kopt.experiment.recipe import Recipe
from kopt.models import Model
from kopt.models.base import Kind, choices
from kopt.values.checks import require
from kopt.values.field_paths import paths, replace

__all__ = ["chosen", "model_of", "outputs_of", "resolved", "said_of"]

SMALLEST = 8  # pixels each way that an array of four axes has at least to be images


def chosen(recipe: Recipe, splits: Splits) -> Recipe:
    """Return a recipe with a model: its own, or the usual one for the task and the kind of its data.

    Args:
        recipe: The recipe.
        splits: Its raw data.

    Returns:
        The recipe; the sizes of the model may be open.

    Raises:
        ValueError: When it has no model, and there is no usual one for its data.

    Example:
        >>> from kopt import data
        >>> recipe = Recipe("digits", data.Digits())
        >>> chosen(recipe, recipe.data.load()).model
        ConvNet()

    Source:
        `kopt.models.base.choices`.
    """
    if recipe.model is not None:
        return recipe
    x, y = splits.train
    task, usual = recipe.data.task, choices()
    kinds = [recipe.data.kind, finer_kind_of(x), kind_of(x)]
    found = [model for kind in kinds for case, model in usual.items() if case == (kind, task)]
    rule = f"must be given for {task} on {kinds[1]}, for which there is no usual one"
    require(bool(found), "model", rule, recipe.model)
    return replace(recipe, {"model": found[0].suited(x, y)})


def resolved(recipe: Recipe, splits: Splits) -> Recipe:
    """Return a recipe with all sizes of its model, found in its data or checked against them.

    Args:
        recipe: The recipe, with a model.
        splits: Its data as the network takes them.

    Returns:
        The recipe; `run` writes it into its folder.

    Raises:
        ValueError: When a size is given that is not that of the data.

    Example:
        >>> from kopt import data, models
        >>> recipe = Recipe("digits", data.Digits(), model=models.MLP(units=(32,)))
        >>> resolved(recipe, recipe.data.load()).model
        MLP((8, 8, 1), outputs=10, units=(32,))

    Source:
        fastai's DataLoaders, from which a learner takes its sizes.
    """
    x, outputs, named = splits.train.x, outputs_of(recipe, splits), bool(recipe.data.labels)
    model = model_of(recipe).sized(x, outputs)
    same = model.inputs is not None and fits(tuple(model.inputs), x.shape[1:])
    require(same, "model.inputs", f"must be {x.shape[1:]} for these data", model.inputs)
    given = model.outputs or 0
    if recipe.data.task == "classification":
        rule = f"must be >= {outputs}, the classes of these data"
        require(given >= outputs, "model.outputs", rule, given)
        require(not named or given <= outputs, "model.outputs", f"must be {outputs}, the classes of these data", given)
    elif recipe.data.task == "language":
        require(outputs <= given, "data", f"must be numbers below {given} for this model", outputs - 1)
    else:
        require(given == outputs, "model.outputs", f"must be {outputs} for these data", given)
    return recipe if model is recipe.model else replace(recipe, {"model": model})


def model_of(recipe: Recipe) -> Model:
    """Return the model of a recipe that has one.

    Args:
        recipe: What `chosen` returned.

    Returns:
        The model.

    Raises:
        ValueError: When it has none.

    Example:
        >>> from kopt import data
        >>> model_of(Recipe("digits", data.Digits()))
        Traceback (most recent call last):
        ValueError: model must be given, or chosen for the data, got None.

    Source:
        See `chosen`.
    """
    require(recipe.model is not None, "model", "must be given, or chosen for the data", recipe.model)
    assert recipe.model is not None
    return recipe.model


def outputs_of(recipe: Recipe, splits: Splits) -> int:
    """Return how many classes, numbers or items the targets of data have; for texts, of which numbers they are below.

    Args:
        recipe: The recipe.
        splits: Its data, raw or encoded.

    Returns:
        The number of outputs.

    Example:
        >>> from kopt import data
        >>> recipe = Recipe("digits", data.Digits())
        >>> outputs_of(recipe, recipe.data.load())
        10

    Source:
        The losses of `kopt.tasks`.
    """
    parts: tuple[Split, ...] = splits[:3]
    if recipe.data.task == "classification":
        return max(len(recipe.data.labels), int(max(part.y.max() for part in parts)) + 1)
    if recipe.data.task == "language":
        return int(max(part.x.max() for part in parts)) + 1
    return splits.train.y.shape[1] if splits.train.y.ndim > 1 else 1


def said_of(recipe: Recipe, whole: Recipe, sized: Recipe) -> list[str]:
    """Return sentences about what was chosen and found, for the log of a run.

    Args:
        recipe: The recipe as it was given.
        whole: What `chosen` made of it.
        sized: What `resolved` made of that.

    Returns:
        The sentences.

    Example:
        >>> from kopt import data, models
        >>> recipe = Recipe("digits", data.Digits(), model=models.MLP(outputs=10))
        >>> said_of(recipe, recipe, resolved(recipe, recipe.data.load()))
        ['inputs (8, 8, 1) found in the data']

    Source:
        Folklore: what is inferred is said.
    """
    before, after = paths(model_of(whole)), paths(model_of(sized))
    usual = f"none was given; {model_of(whole)!r} is the usual one for {recipe.data.task} on such data"
    there = [name for name, value in before.items() if value is None and after.get(name) is not None]
    sizes = [f"{name} {after[name]!r}" for name in there]
    found = [f"{', '.join(sizes)} found in the data"] if sizes else []
    return [*([usual] if recipe.model is None else []), *found, *model_of(sized).notes()]


def kind_of(x: Inputs) -> Kind:
    """Return the kind of raw inputs, as models take them: "columns", "texts" or "numbers"."""
    return "columns" if isinstance(x, dict) else "texts" if x.dtype.kind == "O" else "numbers"


def finer_kind_of(x: Inputs) -> Kind:
    """Return the kind of raw inputs; numbers of three axes are windows, those of four are images if large enough."""
    kind = kind_of(x)
    if kind == "numbers" and x.ndim == 4 and min(x.shape[1:3]) >= SMALLEST:
        return "images"
    return "windows" if kind == "numbers" and x.ndim == 3 else kind


def fits(given: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    """Return whether a shape is the given one, of which None is any size."""
    return len(given) == len(shape) and all(one in (None, size) for one, size in zip(given, shape))
