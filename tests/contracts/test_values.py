"""What holds of every value."""

import copy
import dataclasses
import json
import math
import pickle

import keras
import pytest
from examples import EXAMPLES, VALUES, within

from kopt import augment, data, models, regularizers, rules, schedules, select
from kopt.callbacks import EMA
from kopt.experiment.recipe import Command, Recipe, Training
from kopt.regularizers import L1, L2
from kopt.select.base import Named
from kopt.training import clips, sharpness
from kopt.tuning import Choice, Range
from kopt.values import from_json, number_paths, paths, read, replace, to_json
from kopt.values.fields import Value

NAMES = (
    {
        kind.__name__: kind
        for kind in (
            Choice,
            Command,
            EMA,
            Named,
            Range,
            Recipe,
            Training,
        )
    }
    | dict(vars(schedules))
    | dict(vars(rules))
    | dict(vars(regularizers))
    | dict(vars(clips))
    | dict(vars(sharpness))
    | dict(vars(models))
    | dict(vars(data))
    | dict(vars(augment))
    | {name: getattr(select, name) for name in select.__all__}
)

every_value = pytest.mark.parametrize("value", VALUES)


@pytest.mark.parametrize("family", EXAMPLES)
def test_every_registered_class_has_an_example(family: str) -> None:
    registry, examples = EXAMPLES[family]
    assert set(registry.values()) <= set().union(*map(within, examples))


@every_value
def test_survives_config_json_keras_pickle_and_copy(value: Value) -> None:
    assert from_json(to_json(value)) == value
    # To Keras, L1 and L2 tell what Keras' own would: the samples are in the strength.
    samples = getattr(value, "samples", None) if isinstance(value, (L1, L2)) else None
    told = replace(value, {"strength": value.strength / (2 * samples), "samples": None}) if samples else value
    assert type(value).from_config(json.loads(json.dumps(value.get_config()))) == told
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(value)) == told
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value


@every_value
def test_repr_is_the_code_that_makes_it(value: Value) -> None:
    assert eval(repr(value), NAMES) == value


@every_value
def test_is_frozen_and_hashable(value: Value) -> None:
    assert hash(value) == hash(copy.deepcopy(value))
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, 1)


@every_value
def test_every_path_can_be_read_and_replaced_by_itself(value: Value) -> None:
    for name, inner in paths(value).items():
        assert read(value, name) == inner
        assert replace(value, {name: inner}) == value


@every_value
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, "1", True])
def test_numbers_are_finite_numbers(value: Value, bad: object) -> None:
    for name in number_paths(value):
        with pytest.raises(ValueError, match=rf"^{name.split('.')[-1]} must be .*, got "):
            replace(value, {name: bad})


@every_value
def test_an_unknown_path_names_the_nearest(value: Value) -> None:
    for name in paths(value):
        with pytest.raises(ValueError, match=f"did you mean '{name}'"):
            replace(value, {f"{name}x": 1.0})


@every_value
def test_numbers_are_equal_however_they_were_written(value: Value) -> None:
    import numpy as np

    for name in number_paths(value):
        same = replace(value, {name: np.float64(read(value, name))})
        assert same == value and type(read(same, name)) is float
