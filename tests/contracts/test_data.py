"""What holds of every data set."""

import numpy as np
import pytest
from examples import DATA

from kopt import fields
from kopt.data import Data

every_data = pytest.mark.parametrize("data", DATA, ids=repr)


@every_data
def test_loads_the_same_splits_each_time(data: Data) -> None:
    one, other = data.load(), data.load()
    for left, right in zip(one[:3], other[:3]):
        np.testing.assert_array_equal(left.x, right.x)
        np.testing.assert_array_equal(left.y, right.y)
    assert one.checksum == other.checksum and len(one.checksum) == 64


@every_data
def test_splits_are_dense_finite_and_share_no_row(data: Data) -> None:
    splits = data.load()
    rows = [{row.tobytes() for row in part.x} for part in splits[:3]]
    for part in splits[:3]:
        assert len(part.x) == len(part.y) > 0
        assert np.all(np.isfinite(part.x)) and part.x.dtype == np.float32
    assert not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])


@every_data
def test_the_test_split_does_not_depend_on_the_validation_share(data: Data) -> None:
    other = fields.replace(data, {"validation": 0.3})
    np.testing.assert_array_equal(data.load().test.x, other.load().test.x)


@every_data
def test_the_baseline_beats_guessing(data: Data) -> None:
    splits = data.load()
    name, value = data.baseline(splits)
    guess = max(np.mean(splits.test.y == label) for label in np.unique(splits.train.y))
    assert name and guess < value <= 1


@every_data
@pytest.mark.parametrize(
    ("field", "value"), [("validation", 0), ("validation", 1), ("test", 0.9), ("examples", 5), ("seed", "a")]
)
def test_bad_arguments_are_refused(data: Data, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{field} must .*, got "):
        fields.replace(data, {field: value})
