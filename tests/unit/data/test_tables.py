"""Tables of files and frames: missing values, dates, words, ways to split, and later rows read as the first ones."""

import pathlib

import numpy as np
import pandas
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as some

from kopt import data, models, schedules
from kopt.data.columnar import READ
from kopt.data.splitting import split_rows
from kopt.experiment.recipe import Recipe
from kopt.experiment.serving import encoded
from kopt.report.evidence import Evidence
from kopt.report.model_card import model_card
from kopt.report.run import Run
from kopt.values import from_json, replace, to_json

ROWS = 120
COLUMNS = {
    "size": [f"{n / 7:.3f}" for n in range(ROWS)],
    "kind": ["abc"[n % 3] for n in range(ROWS)],
    "when": [f"2026-01-{n % 28 + 1:02}" for n in range(ROWS)],
    "price": [f"{n / 3:.3f}" for n in range(ROWS)],
}


def table(folder: pathlib.Path, name: str = "a.csv", **changed: list) -> str:
    """Write the columns, some of them changed, to a CSV file."""
    columns = COLUMNS | changed
    lines = [",".join(columns), *(",".join(row) for row in zip(*columns.values()))]
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


def but(column: str, *cells: str) -> list[str]:
    """A column whose first cells are others."""
    return [*cells, *COLUMNS[column][len(cells) :]]


def texts(x: dict[str, np.ndarray]) -> dict[str, list]:
    return {name: [str(cell) for cell in column] for name, column in x.items()}


@pytest.mark.parametrize("cell", ["", "n/a", "na", "nan", "null", "none", "-", "?"])
def test_texts_that_mean_missing(cell: str, tmp_path) -> None:
    for one in (cell, f" {cell.upper()} "):
        for name in ("size", "kind", "when"):
            path = table(tmp_path, **{name: but(name, one)})
            given = data.csv(path, "price", missing="impute")
            assert f"missing values that the model imputes: {name} 1" in given.notes()
            said = [note for note in given.notes() if f"column {name!r}: {one!r} (1) taken as missing" in note]
            assert bool(said) == bool(one)
            dropped = data.csv(path, "price", missing="drop")
            assert sum(len(part.y) for part in dropped.load()[:3]) == ROWS - 1
            assert f"1 of {ROWS} rows left out for missing values: {name} 1" in dropped.notes()
            with pytest.raises(ValueError, match=rf"^column.*{name}"):
                data.csv(path, "price")
        kept = data.csv(table(tmp_path, kind=but("kind", one)), "price", texts=("kind",), missing="impute")
        assert (one in {text for part in kept.load()[:3] for text in part.x["kind"]}) and len(kept.notes()) <= 2


def test_missing_values_stay_in_the_splits_and_missing_targets_do_not(tmp_path) -> None:
    path = table(tmp_path, size=but("size", "n/a"), kind=but("kind", "a", "-"), price=but("price", "1", "1", "?"))
    given = data.csv(path, "price", missing="impute")
    splits = given.load()
    x = {name: np.concatenate([part.x[name] for part in splits[:3]]) for name in splits.train.x}
    assert len(x["size"]) == ROWS - 1 and np.isnan(x["size"]).sum() == 1 and (x["kind"] == "").sum() == 1
    assert f"1 of {ROWS} rows left out for missing values: price 1" in given.notes()
    assert all(np.isfinite(part.y).all() for part in splits[:3])


def test_a_column_that_is_mostly_numbers_is_numbers(tmp_path) -> None:
    two, three = but("size", "x", "y"), but("size", "x", "y", "z")
    given = data.csv(table(tmp_path, size=two), "price", missing="impute")
    assert (
        "column 'size': numbers, as 98.3 % of its cells are; the others (2) taken as missing: 'x', 'y'" in given.notes()
    )
    with pytest.raises(
        ValueError, match="^column 'size' must be of numbers alone, or be named in texts, got 'x' in line 2"
    ):
        data.csv(table(tmp_path, size=three), "price", missing="impute")
    with pytest.raises(
        ValueError, match="^column 'size' must be of numbers alone, or be named in texts, got 'x' in line 2"
    ):
        data.csv(table(tmp_path, size=two), "price")


def test_dates_are_found_or_named(tmp_path) -> None:
    found = data.csv(table(tmp_path), "price")
    assert "column 'when': dates, taken as year, month, weekday and days since 1970" in found.notes()
    x = found.load().train.x
    days = pandas.DatetimeIndex(np.datetime64("1970-01-01") + x["when.days"].astype(int).astype("timedelta64[D]"))
    for part, expected in (("year", days.year), ("month", days.month), ("weekday", days.day_of_week)):
        np.testing.assert_array_equal(x[f"when.{part}"], expected)
    same = found.load().train
    for pattern, name in (
        ("%d.%m.%Y", "when=%d.%m.%Y"),
        ("%B %d, %Y".replace(",", ""), "when"),
        ("%d/%m/%Y", "when=%d/%m/%Y"),
    ):
        cells = pandas.to_datetime(COLUMNS["when"]).strftime(pattern).tolist()
        given = data.csv(table(tmp_path, when=cells), "price", dates=(name,))
        np.testing.assert_array_equal(given.load().train.x["when.days"], same.x["when.days"])
        assert not given.notes() and from_json(to_json(given)) == given
    cells = pandas.to_datetime(COLUMNS["when"]).strftime("%d/%m/%Y").tolist()
    rule = (
        r"^column 'when' must be of dates as 2026-01-31, or have their pattern in dates=\('when=%d/%m/%Y',\), got '02"
    )
    with pytest.raises(ValueError, match=rule):  # February the first or January the second
        data.csv(table(tmp_path, when=cells), "price", dates=("when",))
    timed = data.csv(table(tmp_path, when=[f"{day} 06:30" for day in COLUMNS["when"]]), "price")
    assert set(timed.load().test.x["when.hour"]) == {6.5}
    with pytest.raises(ValueError, match="^column 'when' must be of numbers such as 1.5"):
        data.csv(table(tmp_path), "when")


def test_words_are_found_or_named(tmp_path) -> None:
    long = [f"word{n} and more" for n in range(ROWS)]
    found = data.csv(table(tmp_path, kind=long), "price")
    assert "column 'kind': texts of several words, taken as a bag of words" in found.notes()
    assert "kind.words" in found.load().train.x
    assert "kind" in data.csv(table(tmp_path, kind=long), "price", texts=("kind",)).load().train.x
    named = data.csv(table(tmp_path), "price", words=("kind",))
    assert "kind.words" in named.load().train.x and "bag of words" not in " ".join(named.notes())
    with pytest.raises(
        ValueError, match="^texts and numbers must name different columns, and dates and words too, got"
    ):
        data.csv(table(tmp_path), "price", words=("kind",), texts=("kind",))


def test_later_rows_are_read_as_the_first(tmp_path, caplog) -> None:
    """Also in another process, where the file is no more: the value knows the kinds."""
    path = table(tmp_path, size=but("size", "n/a"), when=[f"{day} 06:30" for day in COLUMNS["when"]])
    first = data.csv(path, "price", missing="impute")
    said, given = first.notes(), from_json(to_json(first))
    READ.clear()
    assert isinstance(given, data.CSV) and given.notes() == said and "dates" in str(said)
    x, _, _ = given.rows()
    READ.clear()
    raw = pandas.read_csv(path, dtype=str, keep_default_na=False)
    for rows in (path, raw, raw.drop(columns="price"), raw.to_dict("list"), raw.to_dict("records")):
        assert texts(given.columns_of(rows)) == texts(x)
    pathlib.Path(path).unlink()
    one = given.columns_of([{"size": None, "kind": "never seen", "when": "2030-02-03", "more": 1}])
    assert one["when.hour"] == [0] and one["kind"] == ["never seen"] and np.isnan(one["size"]) and "more" not in one
    assert given.columns_of({"size": 1, "kind": "a", "when": None})["when.days"].shape == (1,)
    few = given.columns_of({"size": ["1", "about 2", "3"], "kind": ["a"] * 3, "when": [None] * 3})["size"]
    np.testing.assert_array_equal(few, [1, np.nan, 3])  # of a few rows one is more than 2 %
    assert "the others (1) taken as missing: 'about 2'" in caplog.text
    for rows, message in (
        ({"size": [1.0], "when": ["2030-02-03"]}, r"rows must have all columns of the inputs, got \['kind'\]"),
        (
            {"size": ["x"], "kind": ["a"], "when": ["2030-02-03"]},
            "column 'size' must be of numbers alone, or be named in te",
        ),
        ({"size": [1.0], "kind": ["a"], "when": ["soon"]}, "column 'when' must be of dates as 2026-01-31, or have"),
        (
            {"size": [1.0], "kind": ["a"], "when": [3.0]},
            "column 'when' must be of the kind 'time' as in training, got 'num",
        ),
        (
            3,
            "rows must be a pandas or polars frame, columns by name, a list of dicts, or the path of a CSV or Par",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            given.columns_of(rows)
    whole = data.csv(table(tmp_path), "price")
    with pytest.raises(
        ValueError, match=r"^column 'size' must have no missing value, .* missing='impute', got \['row 0'\]"
    ):
        whole.columns_of({"size": [None], "kind": ["a"], "when": ["2030-02-03"]})


def test_a_frame_is_its_file(tmp_path) -> None:
    path = table(tmp_path, size=but("size", "n/a"), kind=but("kind", "a", ""))
    expected = data.csv(path, "price", missing="impute")
    frame = pandas.read_csv(path, parse_dates=["when"], na_values=["n/a"])
    for rows in (frame, frame.convert_dtypes(), frame.astype({"kind": "category"}), pandas.read_csv(path, dtype=str)):
        given = data.frame(rows, "price", missing="impute")
        assert given.kinds == expected.kinds and given == data.frame(rows, "price", missing="impute")
        for part, other in zip(given.load()[:3], expected.load()[:3]):
            assert texts(part.x) == texts(other.x)
            np.testing.assert_array_equal(part.y, other.y)
    assert data.frame(frame, "price", missing="impute") != data.frame(frame.iloc[::-1], "price", missing="impute")
    assert data.arrays(frame.drop(columns="price"), frame["price"], missing="impute").load().train.x.keys() == (
        expected.load().train.x.keys()
    )
    for rows, message in (
        (pandas.concat([frame, frame[["size"]]], axis=1), "frame must have columns of different names, got ['size']."),
        (frame.assign(list=[[1]] * ROWS), "column 'list' of frame must hold numbers, texts or dates, got [[1]]."),
        (frame.rename(columns={"size": 3}), "frame must have columns, whose names are texts, got [3]."),
        (
            frame,
            "columns must have no missing values in the frame, or missing='drop' or 'impute' must be given, got {'si",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            data.frame(rows, "price")
        assert str(caught.value).startswith(message)


def test_a_frame_of_polars_and_a_parquet_file_are_it_too(tmp_path) -> None:
    polars, parquet_files = pytest.importorskip("polars"), pytest.importorskip("pyarrow.parquet")
    path = table(tmp_path, size=but("size", ""), kind=but("kind", "a", ""))
    expected = data.csv(path, "price", missing="impute").load()
    frame = polars.read_csv(path, try_parse_dates=True)
    parquet_files.write_table(
        frame.with_columns(kind=polars.col("kind").cast(polars.Categorical)).to_arrow(), tmp_path / "a.parquet"
    )
    parquet = data.parquet(tmp_path / "a.parquet", "price", missing="impute")
    for given in (data.frame(frame, "price", missing="impute"), parquet):
        for part, other in zip(given.load()[:3], expected[:3]):
            assert texts(part.x) == texts(other.x)
    assert texts(parquet.columns_of(str(tmp_path / "a.parquet"))) == texts(parquet.rows()[0])
    with pytest.raises(ValueError, match="^path must be of a Parquet file, got .*a.csv"):
        data.parquet(path, "price")


def test_without_pyarrow_one_sentence_says_what_to_install(tmp_path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'^pyarrow must be installed for this, by: .* -e "\.\[parquet\]"$'):
        data.parquet(table(tmp_path), "price")


ORDERS = some.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@drawn(
    ORDERS, some.integers(40, 200), some.sampled_from(["random", "stratified", "time", "group"]), some.integers(3, 30)
)
def test_laws_of_splits(seed: int, count: int, split: str, kinds: int) -> None:
    random = np.random.default_rng(seed)
    order, values = random.permutation(count), random.integers(0, kinds, count)
    values[:3] = [0, 1, 2]
    try:
        cuts = split_rows(order, split, values, validation=0.2, test=0.25)
        other = split_rows(order, split, values, validation=0.3, test=0.25)
    except ValueError as error:  # three times of day may leave a split empty
        assert split == "time" and "must not be empty" in str(error)
        return
    assert sorted(np.concatenate(cuts)) == list(range(count))
    if split != "group" or kinds > 15:
        np.testing.assert_array_equal(cuts.test, other.test)
    of = [set(values[rows]) for rows in cuts]
    if split == "group":
        assert not (of[0] & of[1] or of[0] & of[2] or of[1] & of[2])
    if split == "time":
        assert max(of[0]) < min(of[1]) and max(of[1]) < min(of[2]) and len(cuts.test) >= round(0.25 * count)
    if split in ("random", "stratified"):
        assert abs(len(cuts.test) - 0.25 * count) <= 1
    if split == "stratified":
        for kind in range(kinds):
            assert abs((values[cuts.test] == kind).sum() - 0.25 * (values == kind).sum()) <= 1


def test_splits_of_every_table_are_alike(tmp_path) -> None:
    parts = ["train", "train", "test", "validation"] * (ROWS // 4)
    groups = [f"g{n // 6}" for n in range(ROWS)]
    path = table(tmp_path, part=parts, group=groups)
    frame = pandas.read_csv(path)
    x, y = frame[["size"]].to_numpy(), frame["price"].to_numpy()
    for split, by in (("given", "part"), ("group", "group"), ("time", "size"), ("stratified", "kind")):
        one = data.csv(path, "price", split=split, by=by).load()
        for other in (
            data.frame(frame, "price", split=split, by=by).load(),
            data.arrays(x, y, split=split, by=frame[by].to_numpy()).load(),
            data.arrays(frame.drop(columns="price"), y, split=split, by=by, missing="drop").load(),
        ):
            for part, same in zip(one[:3], other[:3]):
                np.testing.assert_array_equal(part.y, same.y)
        assert (by in one.train.x) == (split in ("time", "stratified"))
    classes = data.csv(path, "kind", split="stratified").load()
    assert np.bincount(classes.test.y).tolist() == [8, 8, 8]
    assert data.csv(path, "price", split="group", by="group", ignore=("group",)).load().test.y.shape == (24,)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "time"}, "by must be the name of a column for split='time', got None."),
        ({"by": "kind"}, "by must be None for split='random', got 'kind'."),
        ({"split": "group", "by": "price"}, "by must be of another column than the target, got 'price'."),
        (
            {"split": "group", "by": "king"},
            "by must be one of kind, price, size, when, got 'king' (did you mean 'kind'?).",
        ),
        (
            {"split": "given", "by": "kind"},
            "by must be of a column of train, validation and test for split='given', got ['",
        ),
        ({"split": "time", "by": "kind"}, "by must be of a column of dates or numbers for split='time', got "),
        ({"split": "stratified"}, "by must be the name of a column for split='stratified' of a regression, got None."),
        (
            {"group": "kind"},
            "group must be of groups that are in one split each, or split='group' be given with by='kind'",
        ),
        ({"group": "price"}, "group must be of another column than the target, got 'price'."),
        ({"split": "sorted"}, "split must be 'random' or 'stratified' or 'time' or 'group' or 'given', got 'sorted'."),
    ],
)
def test_splits_that_cannot_be_are_refused(fields: dict, message: str, tmp_path) -> None:
    with pytest.raises(ValueError) as caught:
        data.csv(table(tmp_path), "price", **fields).load()
    assert str(caught.value).startswith(message)


def test_arrays_with_splits_are_data_of_their_own() -> None:
    x, y = np.random.default_rng(0).normal(size=(90, 2)), np.arange(90) % 3
    groups = np.arange(90) // 9
    given = data.arrays(x, y, split="group", by=groups)
    assert given == data.arrays(x, y, split="group", by=groups) != data.arrays(x, y)
    with pytest.raises(ValueError, match="^by must be given for split='group', got None"):
        data.arrays(x, y, split="group")
    with pytest.raises(ValueError, match="^by must be left out for split='random', got None"):
        data.arrays(x, y, by=groups)
    with pytest.raises(ValueError, match=r"^by must be \(n,\), a value for each row of x, got \(3,\)"):
        data.arrays(x, y, split="group", by=groups[:3])
    with pytest.raises(ValueError, match="^group must be of groups that are in one split each"):
        data.arrays(x, y, group=groups).load()


def test_the_summary_warns_and_says_what_to_do(tmp_path) -> None:
    many = {
        "size": [f"{n + 5}" for n in range(ROWS)],
        "user_id": [f"{n * n * 11 + 17}" for n in range(ROWS)],
        "street": [f"street {n % 60}" for n in range(ROWS)],
        "same": ["1"] * (ROWS - 1) + ["2"],
        "income": [f"{n * n * 11 + 17}" for n in range(ROWS)],
        "class": ["rare"] * 4 + ["often"] * (ROWS - 4),
    }
    found = data.summary(data.csv(table(tmp_path, **many), "class", ignore=("price",))).warnings
    assert found == (
        "'size' is another value in each row, as an identifier is: ignore=('size',)",
        "'user_id' is another value in each row, as an identifier is: ignore=('user_id',)",
        "'street' has 60 different texts, an input each: join the rare ones, or ignore=('street',), or words=("
        "'street',)",
        "'same' is 1 in 99.2 % of the rows, which says little: ignore=('same',)",
        "fewer than 5 rows are there of class rare (4), too few to learn and to test on: join or drop it",
    )
    clean = {"size": [f"{n / 7:.3f}" for n in range(ROWS)]}
    assert data.summary(data.csv(table(tmp_path, **clean), "price")).warnings == ()


def test_equal_rows_of_two_splits_are_counted() -> None:
    x = {"a": [1.0, np.nan, 3.0, 4.0, 5.0] * 24, "b": ["u", "", "v", "w"] * 30, "c": [0.0, 1.0, 2.0] * 40}
    given = data.frame(x | {"y": np.arange(120) / 7}, "y", missing="impute")
    train, validation, test = (list(zip(*texts(part.x).values())) for part in given.load()[:3])
    found = data.summary(given)
    assert found.repeated_in_validation == sum(row in train for row in validation) < 18
    assert found.repeated_in_test == sum(row in train for row in test) < 24


def test_gaps_go_into_a_network_only_where_it_imputes(tmp_path) -> None:
    path = table(tmp_path, size=but("size", "n/a", "-"))
    given = data.csv(path, "price", missing="impute")
    model = models.MLP((3,), 1, units=(4,), task="regression")
    recipe = Recipe("table", given, model=model, schedule=schedules.Constant(0.01))
    encoder, splits = encoded(recipe, given.load())
    assert encoder is not None and all(np.isfinite(part.x).all() for part in splits[:3])
    plain = data.arrays({"size": np.array([np.nan] + [1.0] * 59)}, np.arange(60.0))
    with pytest.raises(ValueError, match="^size of the .* split must be finite, got '1 that are not'"):
        encoded(replace(recipe, {"data": plain}), plain.load())


def test_a_line_is_named_where_cells_have_lines_of_their_own(tmp_path) -> None:
    path = tmp_path / "a.csv"
    rows = [f'{n},"one\ntwo",{n / 3}\n' for n in range(40)]
    path.write_text("size,kind,price\n\n" + "".join(rows) + "x,a,1\n")
    with pytest.raises(ValueError, match="^column 'size' must be of numbers alone, or be named in texts, got 'x' in l"):
        data.csv(str(path), "price")


def test_a_file_is_read_once_for_one_data_set(tmp_path, monkeypatch) -> None:
    from kopt.data import tables

    read, read_table = [], tables.read_table
    monkeypatch.setattr(tables, "read_table", lambda path: read.append(path) or read_table(path))
    given = data.csv(table(tmp_path), "price")
    data.summary(given), given.load(), replace(given, {"seed": 3, "test": 0.3}).load(), given.labels
    assert len(read) == 1
    table(tmp_path, size=COLUMNS["price"])  # the same path, another content
    given.load()
    assert len(read) == 2


def test_an_older_recipe_without_kinds_loads(tmp_path) -> None:
    given = data.csv(table(tmp_path), "price", task="regression")
    form = '{"registered_name": "kopt.data>CSV", "config": {"path": "%s", "target": "price", "task": "regression"}}'
    older = from_json(form % given.path)
    for part, same in zip(older.load()[:3], given.load()[:3]):
        assert texts(part.x) == texts(same.x)


def test_the_model_card_says_what_was_inferred_and_shows_code_that_runs() -> None:
    given = data.frame({"a b": ["n/a", "1"] * 30, "y": np.arange(60.0)}, "y", missing="impute")
    recipe = Recipe("table", given, model=models.MLP((2,), 1, task="regression"), schedule=schedules.Constant(0.1))
    metrics = {"metric": "rmse", "value": 1.0, "baseline_name": "trees", "baseline": 2.0, "target": None}
    run = Run(
        pathlib.Path("run"), recipe, {"loss": [1.0]}, metrics | {"parameters": 3, "seconds": 1.0, "devices": "cpu"}
    )
    x = {"a_b": np.array([np.nan, 1.0], "float32")}
    card = model_card(run, Evidence("regression", x, np.zeros(2), np.zeros((2, 1)), notes=given.notes()), [])
    assert "- column 'a b': 'n/a' (30) taken as missing\n- missing values that the model imputes: a b 30\n" in card
    assert 'np.array([np.nan, 1], "float32")' in card
