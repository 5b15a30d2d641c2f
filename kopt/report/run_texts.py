"""Recipes as texts: what lists and comparisons of runs show, kept beside the recipe so that they need not build it."""

import hashlib
import json
import pathlib
from typing import NamedTuple, Protocol, runtime_checkable

from kopt.values.field_paths import paths
from kopt.values.fields import Named
from kopt.values.types import Json
from kopt.values.version import __version__

__all__ = ["FieldText", "RecipeText", "RunText", "recipe_text", "shown_form", "text_in"]


KEYS = ("name", "code", "direction", "fields")  # of a RecipeText in a file; the digest of its recipe, and whose texts
DIGEST, VERSION = "sha256", "kopt"


class FieldText(NamedTuple):
    """A field of a recipe as a text, with the name of its type."""

    kind: str
    text: str


class RecipeText(NamedTuple):
    """A recipe as texts.

    Attributes:
        name: Its name.
        code: Its `repr`.
        direction: Whether "max" or "min" of its score is better, as its data declare it; None when they do not.
        fields: Path -> field, as `values.paths` lists them.
    """

    name: str
    code: str
    direction: str | None
    fields: dict[str, FieldText]


class RunText(NamedTuple):
    """A run as `Run`, with the texts of its recipe."""

    folder: pathlib.Path
    recipe: RecipeText
    history: dict[str, list[float]]
    metrics: dict[str, Json]


@runtime_checkable
class Judged(Protocol):
    """Data that declare the direction of their score."""

    direction: str


def recipe_text(recipe: Named) -> RecipeText:
    """Return a recipe as texts.

    Args:
        recipe: Any value with a name.

    Returns:
        The texts.

    Example:
        >>> recipe_text(Named("digits"))
        RecipeText(name='digits', code="Named('digits')", direction=None, fields={'name': FieldText(...)})
    """
    found = paths(recipe)
    texts = {path: FieldText(type(field).__name__, field_text(field)) for path, field in found.items()}
    return RecipeText(recipe.name, repr(recipe), direction_in(found.get("data")), texts)


def field_text(field: object) -> str:
    """Return a field or a result as a text, numbers with four digits."""
    return f"{field:.4g}" if isinstance(field, float) else str(field)


def direction_in(data: object) -> str | None:
    """Return the direction that data declare, or None."""
    try:
        return data.direction if isinstance(data, Judged) else None
    except ValueError:  # data of the user's whose metric does not say
        return None


def shown_form(recipe: Named, form: Json) -> Json:
    """Return the texts of a recipe for its file.

    Args:
        recipe: The recipe.
        form: Its JSON form, which stands in the file too; the texts hold its digest.

    Returns:
        JSON, which `text_in` reads.

    Example:
        >>> sorted(shown_form(Named("digits"), {"config": {"name": "digits"}}))
        ['code', 'direction', 'fields', 'kopt', 'name', 'sha256']
    """
    return dict(zip(KEYS, recipe_text(recipe))) | {DIGEST: digest(form), VERSION: __version__}


def digest(form: Json) -> str:
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()


def text_in(content: Json) -> RecipeText | None:
    """Return the texts that a recipe.json holds, when they are of the recipe in it.

    Args:
        content: The content of the file.

    Returns:
        The texts; None for a file of another version, and for one in which the recipe was changed by hand.

    Example:
        >>> form = {"config": {"name": "digits"}}
        >>> text_in({"recipe": form, "shown": shown_form(Named("digits"), form)}).code
        "Named('digits')"
        >>> text_in({"recipe": form}) is None
        True
    """
    found = content.get("shown")
    if not isinstance(found, dict) or set(found) != {*KEYS, DIGEST, VERSION}:
        return None
    name, code, direction, fields = (found[key] for key in KEYS)
    whole = isinstance(name, str) and isinstance(code, str) and isinstance(fields, dict)
    if not whole or direction not in (None, "max", "min") or not all(map(is_field, fields.values())):
        return None
    if found[DIGEST] != digest(content.get("recipe")) or found[VERSION] != __version__:
        return None
    return RecipeText(name, code, direction, {path: FieldText(*field) for path, field in fields.items()})


def is_field(field: Json) -> bool:
    return isinstance(field, (list, tuple)) and len(field) == 2 and all(isinstance(one, str) for one in field)
