"""What holds of every data set."""

import importlib.util

import numpy as np
import pytest
from examples import DATA as EXAMPLES

from kopt.data import Data, Parquet, Split, summary
from kopt.data.shuffled import Shuffled
from kopt.tasks.task import better
from kopt.values import paths, replace

# Parquet files need pyarrow, which the extra [parquet] installs.
DATA = [data for data in EXAMPLES if not isinstance(data, Parquet) or importlib.util.find_spec("pyarrow")]
every_data = pytest.mark.parametrize("data", DATA)
SHUFFLED = [data for data in DATA if isinstance(data, Shuffled)]


def columns(part: Split) -> list[np.ndarray]:
    return [*part.x.values()] if isinstance(part.x, dict) else [part.x]


def rows(part: Split, targets: bool) -> set[tuple]:
    """Each row as one thing, with its target or without."""
    arrays = [*columns(part), part.y] if targets else columns(part)
    return {
        tuple(tuple(value.ravel().tolist()) if isinstance(value, np.ndarray) else value for value in row)
        for row in zip(*arrays)
    }


@every_data
def test_loads_the_same_splits_each_time(data: Data) -> None:
    one, other = data.load(), data.load()
    for left, right in zip(one[:3], other[:3]):
        for x, same in zip([*columns(left), left.y], [*columns(right), right.y]):
            np.testing.assert_array_equal(x, same)
    assert one.checksum == other.checksum and len(one.checksum) == 64


@every_data
def test_splits_are_whole_and_of_plain_types(data: Data) -> None:
    for part in data.load()[:3]:
        assert {len(column) for column in columns(part)} == {len(part.y)} and len(part.y) > 0
        assert part.y.dtype in (np.int32, np.float32)
        for column in columns(part):
            if column.dtype.kind == "O":
                assert all(isinstance(text, str) for text in column)
            else:
                assert column.dtype in (np.float32, np.int32) and np.all(np.isfinite(column))


@every_data
def test_no_row_is_in_two_splits(data: Data) -> None:
    train, validation, test = (rows(part, targets=True) for part in data.load()[:3])
    assert not (train & validation or train & test or validation & test)


@pytest.mark.parametrize("data", SHUFFLED)
def test_the_test_split_does_not_depend_on_the_validation_share(data: Data) -> None:
    other = replace(data, {"validation": 0.3})
    for one, same in zip(columns(data.load().test), columns(other.load().test)):
        np.testing.assert_array_equal(one, same)


@every_data
def test_the_baseline_beats_guessing(data: Data) -> None:
    splits = data.load()
    name, value = data.baseline(splits)
    y, score = splits.test.y, data.score().name
    constant = {
        "classification": lambda: np.tile(np.bincount(splits.train.y).astype("float32"), (len(y), 1)),
        "ranking": lambda: np.where(splits.test.x > 0, -1e9, np.random.default_rng(0).normal(size=y.shape)),
        "language": lambda: np.zeros((*y.shape, 256), "float32"),
    }.get(data.task, lambda: np.broadcast_to(splits.train.y.mean(0), y.shape).astype("float32"))()
    guess = data.scored(y, constant)
    assert name and (value > guess if better(score) == "max" else value < guess)


@every_data
def test_the_summary_has_rows_and_columns(data: Data) -> None:
    splits, found = data.load(), summary(data)
    assert found.rows == tuple(len(part.y) for part in splits[:3])
    assert len(found.columns) == len(columns(splits.train))
    assert str(found).count("\n") == len(found.columns) + 2 + len(found.notes) + len(found.warnings)
    assert found.targets.startswith("y: ")


@every_data
def test_labels_name_every_class_or_item(data: Data) -> None:
    if data.labels:
        counted = {"classification": lambda part: int(part.y.max()) + 1, "ranking": lambda part: part.y.shape[1]}
        assert len(set(data.labels)) > 1 and len(data.labels) == counted[data.task](data.load().train)


@every_data
def test_later_rows_become_inputs_as_those_of_training(data: Data) -> None:
    """Inputs are rows, too: what is made of them is themselves."""
    x = data.load().test.x
    if isinstance(x, dict) and any(name not in x for name in data.read_as() if name != "y"):
        return  # dates and words have several inputs or another name
    found = data.columns_of(x)
    for name in x if isinstance(x, dict) else [None]:
        one, same = (x, found) if name is None else (x[name], found[name])
        assert one.dtype == same.dtype and one.shape == same.shape
        np.testing.assert_array_equal(one, same)


@every_data
@pytest.mark.parametrize(
    ("field", "value"), [("validation", 0), ("validation", 1), ("test", 0.9), ("examples", 5), ("seed", "a")]
)
def test_bad_arguments_are_refused(data: Data, field: str, value: object) -> None:
    if field in paths(data):
        with pytest.raises(ValueError, match=f"^{field} must .*, got "):
            replace(data, {field: value})
