"""Tables as people have them, from the CSV file over summary and splits to the vectors that a network gets."""

import keras
import messy_tables
import numpy as np
import pytest

from kopt import data
from kopt.data.base import Splits
from kopt.models.columns import columns_encoder


def encoded(splits: Splits) -> list[np.ndarray]:
    """The vectors of each split, by an encoder from the training split."""
    encoder = columns_encoder(splits.train.x, bins=8)
    tensors = lambda x: {name: keras.ops.convert_to_tensor(column.tolist()) for name, column in x.items()}
    vectors = [encoder.predict(tensors(part.x), verbose=0) for part in splits[:3]]
    assert all(np.isfinite(part).all() and len(part) == len(split.y) for part, split in zip(vectors, splits[:3]))
    return vectors


def error(vectors: list[np.ndarray], splits: Splits) -> float:
    """The share of the variance of the test targets that ridge regression on the vectors leaves."""
    x, mean = vectors[0] - vectors[0].mean(0), splits.train.y.mean()
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (splits.train.y - mean))
    outputs = (vectors[2] - vectors[0].mean(0)) @ weights + mean
    return float(np.mean((outputs - splits.test.y) ** 2) / splits.test.y.var())


def test_a_table_of_mixed_types(tmp_path) -> None:
    path = messy_tables.write(tmp_path / "houses.csv", messy_tables.houses())
    with pytest.raises(ValueError, match=r"^columns must have no missing values in .*, got \{'area \(m2\)': 6, 'dist"):
        data.csv(path, "price")
    with pytest.raises(ValueError, match="^column 'zip' begins with 0, and must be named in texts or in numbers, got "):
        data.csv(path, "price", missing="impute")
    given = data.csv(path, "price", missing="impute", texts=("zip",))
    assert given.task == "regression"
    shown = str(data.summary(given))
    for line in (
        "note: column 'area (m2)': '-' (6), 'NULL' (6), 'n/a' (6) taken as missing",
        "note: column 'area (m2)': numbers, as 99.1 % of its cells are; the others (5) taken as missing: 'ab",
        "note: column 'district': 'N/A' (7) taken as missing",
        "note: column 'sold on': dates, taken as year, month, weekday and days since 1970",
        "note: column 'description': texts of several words, taken as a bag of words",
        "note: missing values that the model imputes: area (m2) 29, district 15",
        "look: 'House ID' is another value in each row, as an identifier is: ignore=('House ID',)",
        "look: 'country' is XY in 100.0 % of the rows, which says little: ignore=('country',)",
        "area_m2: float32 of numbers, ",
        "garden: float32 of true or false, ",
    ):
        assert line in shown
    given = data.csv(path, "price", missing="impute", texts=("zip",), ignore=("House ID", "country"))
    splits = given.load()
    assert [len(part.y) for part in splits[:3]] == [390, 90, 120]
    assert error(encoded(splits), splits) < 0.05
    baseline = given.baseline(splits)  # of the same inputs, gaps and words included
    assert baseline.name == "gradient boosting" and baseline.value < 0.4 * splits.test.y.std()


def test_a_table_by_time(tmp_path) -> None:
    given = data.csv(messy_tables.write(tmp_path / "sales.csv", messy_tables.sales()), "sold", split="time", by="when")
    splits = given.load()
    hours = [part.x["when.days"] * 24 for part in splits[:3]]
    assert hours[0].max() < hours[1].min() and hours[1].max() < hours[2].min()
    shown = str(data.summary(given))
    assert "note: column 'when': dates, taken as year, month, weekday and days since 1970, and hour" in shown
    assert "note: split by time: trained on the first rows by 'when', tested on the last" in shown
    assert set(splits.train.x) == {"store", *(f"when.{part}" for part in ("year", "month", "weekday", "days", "hour"))}
    assert all(np.isin(splits.train.x["when.weekday"], range(7)))
    saturdays = splits.train.x["when.weekday"] >= 5
    assert splits.train.y[saturdays].mean() > splits.train.y[~saturdays].mean() + 20
    encoded(splits)


def test_a_table_by_groups(tmp_path) -> None:
    path = messy_tables.write(tmp_path / "patients.csv", messy_tables.patients())
    given = data.csv(path, "diagnosis", missing="impute", split="group", by="patient", ignore=("part",))
    assert given.labels == ("healthy", "ill", "unclear") and set(given.load().train.x) == {"first", "second"}
    rows = {(first, y) for first, y in zip(messy_tables.patients()["first"], messy_tables.patients()["patient"])}
    patient = {np.float32(first): one for first, one in rows}
    groups = [{patient[first] for first in part.x["first"]} for part in given.load()[:3]]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    shown = str(data.summary(given))
    assert "look: fewer than 5 rows are there of class unclear (2), too few to learn and to test on: join or " in shown
    assert "note: split by group: all rows of a value of 'patient', which is no input, are in one split" in shown
    encoded(given.load())
    parts = data.csv(path, "diagnosis", missing="impute", split="given", by="part", group="patient").load()
    assert [len(part.y) for part in parts[:3]] == [288, 96, 96] and set(parts.train.x) == {"first", "second"}
    with pytest.raises(
        ValueError, match=r"^group must be of groups that are in one split each, or .* by='patient', got "
    ):
        data.csv(path, "diagnosis", missing="impute", group="patient", ignore=("part",)).load()
