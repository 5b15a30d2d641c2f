"""Sizes that a recipe's data give: for every model the same numbers as given by hand."""

import importlib.util
import pathlib
from types import ModuleType

import numpy as np
import pytest
from examples import MODELS
from test_models import batch

import kopt
from kopt.experiment.resolving import model_of, resolved
from kopt.experiment.serving import encoded
from kopt.models import Model
from kopt.values.field_paths import replace

ROOT = pathlib.Path(kopt.__file__).resolve().parent.parent
EXACT = {"ratings"}  # its sizes by hand are those of all ratings, and data give those of the training split


def scripts() -> dict[str, ModuleType]:
    """The recipes of the gallery, as modules."""
    found = {}
    for path in sorted((ROOT / "recipes").glob("*.py")):
        if "RECIPE = " in (text := path.read_text()) and "QUICK" in text:
            spec = importlib.util.spec_from_file_location(f"sized_{path.stem}", path)
            assert spec and spec.loader
            found[path.stem] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(found[path.stem])
    return found


def stripped(model: Model) -> Model:
    """The model without the sizes that data give."""
    return replace(model, {name: None for name in model.from_data if name in vars(model)})


@pytest.mark.parametrize("value", [one for one in MODELS if one.from_data])
def test_every_model_finds_the_sizes_that_its_data_have(value: Model) -> None:
    x, _ = batch(value)
    if hasattr(value, "users"):
        x[0] = value.users, value.items
    bare = stripped(value)
    assert bare != value and bare.open_sizes()
    assert bare.sized(x, value.outputs) == value
    assert value.sized(x[:, :1], value.outputs) == value, "what is given stays"
    with pytest.raises(ValueError, match=f"^{bare.open_sizes()[0]} must be given where no recipe finds it"):
        bare.build()


@pytest.mark.parametrize(("name", "script"), scripts().items(), ids=list(scripts()))
def test_a_recipes_model_finds_the_sizes_that_are_written_in_it(name: str, script: ModuleType) -> None:
    recipe = script.RECIPE
    small = replace(recipe, {path: value for path, value in script.QUICK.items() if path == "data.examples"})
    whole = {"tabular", "ratings"}  # the width of the names' one-hot vectors, and the numbers of users and films
    recipe = recipe if name in whole else small
    bare = replace(recipe, {"model": stripped(recipe.model)})
    found = model_of(resolved(bare, encoded(bare, bare.data.load())[1]))
    if name in EXACT:
        pairs = recipe.data.load().train.x
        sizes = {"users": len(np.unique(pairs[:, 0])), "items": len(np.unique(pairs[:, 1]))}
        assert found == replace(recipe.model, sizes)
        assert found.users <= recipe.model.users and found.items <= recipe.model.items
    else:
        assert found == recipe.model
