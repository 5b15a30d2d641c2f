"""Tables that people bring and that are easy to get wrong: infinities, time zones, one wrong date, one large group."""

import dataclasses
import pathlib

import numpy as np
import pandas
import polars
import pytest
import tensorflow as tf

from kopt import data, models
from kopt.data.frames import table_digest, table_of
from kopt.data.splitting import split_rows

ROWS = 60
NUMBERS = np.arange(ROWS) / 7


def frame(**columns) -> pandas.DataFrame:
    return pandas.DataFrame({"size": NUMBERS, "price": NUMBERS * 3} | columns)


def test_infinities_of_a_frame_are_no_numbers_as_in_a_file() -> None:
    given = frame(size=np.where(np.arange(ROWS) == 7, -np.inf, NUMBERS))
    with pytest.raises(ValueError, match="^column 'size' must be of finite numbers, got '-inf' in row 7"):
        data.frame(given, "price")
    found = data.frame(given, "price", missing="impute")
    assert "the others (1) taken as missing: '-inf'" in found.notes()[0]
    assert "missing values that the model imputes: size 1" in found.notes()
    assert sum(int(np.isnan(part.x["size"]).sum()) for part in found.load()[:3]) == 1
    many = frame(size=np.where(np.arange(ROWS) < 7, np.inf, NUMBERS))
    with pytest.raises(ValueError, match="^column 'size' must be of finite numbers, got 'inf' in row 0"):
        data.frame(many, "price", missing="impute")
    with pytest.raises(ValueError, match="^column 'size' must be of finite numbers"):
        data.frame(frame(), "price").columns_of([{"size": float("inf")}])


def test_classes_with_gaps_are_classes_in_a_frame_as_in_a_file(tmp_path: pathlib.Path) -> None:
    given = frame(kind=pandas.array([0, 1, None] * 20, "Int64"))
    given.to_csv(tmp_path / "a.csv", index=False)
    gaps = given.astype(object).where(given.notna(), None).to_dict("list")
    for rows in (given, given.astype({"kind": "float64"}), polars.DataFrame(gaps)):
        for missing in ("drop", "impute"):
            found = data.frame(rows, "kind", missing=missing)
            same = data.csv(str(tmp_path / "a.csv"), "kind", missing=missing)
            assert found.task == same.task == "classification" and found.labels == same.labels == ("0", "1")
    assert data.frame(frame(kind=[0.0, 1.0] * 30), "kind").task == "regression"  # written as numbers


def test_points_in_time_with_a_zone_are_dates_in_utc(tmp_path: pathlib.Path) -> None:
    there = pandas.Series(pandas.date_range("2024-02-28 00:30", periods=ROWS, freq="D", tz="Europe/Paris"))
    given = frame(when=there)
    given.assign(when=[one.isoformat() for one in there]).to_csv(tmp_path / "a.csv", index=False)
    utc = there.dt.tz_convert("UTC")
    given.assign(when=utc.dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_csv(tmp_path / "z.csv", index=False)
    found = [
        data.frame(given, "price"),
        data.csv(str(tmp_path / "a.csv"), "price"),
        data.csv(str(tmp_path / "z.csv"), "price"),
        data.csv(str(tmp_path / "z.csv"), "price", dates=("when",)),
    ]
    for one in found:
        assert dict(one.kinds)["when"] == "time" and "column 'when': times with a zone, taken in UTC" in one.notes()
        x = one.columns_of(given)
        np.testing.assert_array_equal(x["when.month"], utc.dt.month)
        np.testing.assert_array_equal(x["when.weekday"], utc.dt.day_of_week)
        np.testing.assert_allclose(x["when.hour"], utc.dt.hour + 0.5)
    with pytest.raises(ValueError, match=r"got '2024-02-30T10:00Z' in row 3"):
        data.frame(frame(when=but("2024-02-30T10:00Z", 3)), "price")


def but(cell: str, place: int) -> list[str]:
    """Dates, one of which is another cell."""
    cells = [f"2024-03-{number % 28 + 1:02}" for number in range(ROWS)]
    cells[place] = cell
    return cells


@pytest.mark.parametrize("cell", ["2023-02-29", "03/04/2024", "soon"])
def test_the_wrong_one_among_dates_is_named(cell: str) -> None:
    for missing in ("refuse", "impute"):
        with pytest.raises(ValueError, match=f"^column 'when' must be of dates as .* alone, .* got '{cell}' in row 5"):
            data.frame(frame(when=but(cell, 5)), "price", missing=missing)


@pytest.mark.parametrize("sizes", [(190, 5, 5), (5, 190, 5), (5, 5, 190), (120, 40, 40), (50, *[1] * 50), (1, 1, 1)])
def test_a_large_group_is_trained_on(sizes: tuple[int, ...]) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(groups))
        cuts = split_rows(order, "group", groups, validation=0.15, test=0.2)
        assert sorted(np.concatenate(cuts)) == list(range(len(groups)))
        assert len(cuts.train) == max(map(len, cuts))
        kinds = [set(groups[part]) for part in cuts]
        assert not (kinds[0] & kinds[1] or kinds[0] & kinds[2] or kinds[1] & kinds[2])


def test_large_whole_numbers_are_rounded_where_that_is_no_loss() -> None:
    large = np.arange(ROWS) * 1_000_003 + 20_000_000
    prices = data.frame(frame(price=large), "price")
    assert prices.task == "regression" and prices.load().train.y.min() >= 2e7
    with pytest.raises(ValueError, match="^column 'size' must hold whole .* or be named in numbers, which rounds"):
        data.frame(frame(size=large), "price").load()
    rounded = data.frame(frame(size=large), "price", numbers=("size",))
    np.testing.assert_array_equal(rounded.columns_of(frame(size=large))["size"], large.astype("float32"))


def test_whole_numbers_are_one_text_however_they_are_held() -> None:
    given = data.frame(frame(size=np.arange(ROWS) % 3), "price", texts=("size",))
    later = [{"size": 1}, {"size": 1.0}, {"size": "1"}, {"size": np.float64(1)}]
    assert given.columns_of(later)["size"].tolist() == ["1"] * 4


def test_a_column_without_a_value_in_training_is_said_and_has_a_baseline() -> None:
    late = np.where(np.arange(ROWS) >= 55, NUMBERS, np.nan)
    rows = frame(late=late, kind=[None] * 55 + ["a"] * 5)
    given = data.frame(rows, "price", missing="impute", split="time", by="size")
    warnings = data.summary(given).warnings
    for name in ("late", "kind"):
        assert f"{name!r} has no value in the training split: ignore=({name!r},)" in warnings
    assert np.isfinite(given.baseline(given.load()).value)


def test_targets_that_are_not_finite_are_refused_before_a_model_is_chosen() -> None:
    with pytest.raises(ValueError, match="^y of the training split must be finite, got '59 that are not'"):
        models.MLP(task="regression").suited(NUMBERS, np.where(np.arange(ROWS) > 0, np.nan, NUMBERS))


def test_nobody_is_told_to_ignore_the_only_input(tmp_path: pathlib.Path) -> None:
    lines = [f"text {number} of one,{'ab'[number % 2]}" for number in range(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["text,kind", *lines]))
    assert not data.summary(data.texts(str(tmp_path / "a.csv"), text="text", target="kind")).warnings


def test_what_else_there_is_for_other_sources(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_text("size;price\n1;2\n")
    with pytest.raises(ValueError, match=r"or be given as data.frame\(pandas.read_csv\('a.csv', sep=';'"):
        data.csv(str(tmp_path / "a.csv"), "price")
    with pytest.raises(ValueError, match=r"^frame must be .* got 'a LazyFrame: collect\(\) it'"):
        data.frame(polars.LazyFrame({"size": [1.0], "price": [2.0]}), "price")


def test_frames_that_only_look_alike_are_not_one() -> None:
    given = [table_digest(table_of({"a": np.array([one] * 4, object)})) for one in (None, "None", True, "True", 1, "1")]
    assert len(set(given)) == len(given)


def test_datasets_with_other_names_are_not_one() -> None:
    x, y = np.arange(12.0, dtype="float32"), np.arange(12) % 2
    parts = lambda *names: [tf.data.Dataset.from_tensor_slices((dict.fromkeys(names, x), y)) for _ in range(3)]
    one, other = data.tfdata(*parts("a", "b")), data.tfdata(*parts("c", "d"))
    assert sorted(one.load().train.x) == ["a", "b"] and sorted(other.load().train.x) == ["c", "d"]


def test_a_gap_does_not_hide_that_whole_numbers_are_large() -> None:
    rows = {"id": ["", *(str(2**24 + row) for row in range(59))], "y": [str(row % 2) for row in range(60)]}
    with pytest.raises(ValueError, match="^column 'id' must hold whole numbers up to 16777216, or be named in numbers"):
        data.frame(rows, "y", missing="impute").load()


def test_numbers_beyond_64_bits_with_a_sign_are_refused() -> None:
    rows = {"id": np.full(60, 2**63 + 5, "uint64"), "y": np.arange(60) % 2}
    with pytest.raises(ValueError, match="^column 'id' must be of whole numbers below 2 .. 63, or of texts, got "):
        data.frame(rows, "y").load()


def test_points_in_time_are_not_read_as_texts() -> None:
    texts_of = {"sold": ["2024-01-01", "2024-01-02"] * 30, "y": [str(row % 2) for row in range(60)]}
    given = data.frame(texts_of, "y", texts=("sold",))
    with pytest.raises(ValueError, match="^column 'sold' must hold texts, and no points in time, as in training, got "):
        given.columns_of({"sold": np.array(["2024-01-01"], "datetime64[ns]")})


def test_arrays_are_not_split_by_what_they_lack() -> None:
    given = data.arrays(np.arange(60.0), np.arange(60) % 2)
    with pytest.raises(ValueError, match="^by must be given for split='time', got None"):
        dataclasses.replace(given, split="time").load()
