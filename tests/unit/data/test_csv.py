"""CSV files: what csv.reader reads is what kopt has, or a sentence names the line."""

import csv
import io
import pathlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from kopt import data
from kopt.values import from_json, to_json

ROWS = [f"{n},{'ab'[n % 2]},{n / 3}" for n in range(60)]


def write(folder: pathlib.Path, header: str = "size,kind,price", rows: list = ROWS, encoding: str = "utf-8") -> str:
    path = folder / "a.csv"
    path.write_bytes(("\n".join([header, *rows]) + "\n").encode(encoding))
    return str(path)


def changed(line: int, row: str) -> list[str]:
    """The rows with another one at a line of the file."""
    return [row if place == line else old for place, old in enumerate(ROWS, 2)]


BROKEN = {
    "a field more in every row": ({"rows": [f"0,{row}" for row in ROWS]}, "(line 2 has 4 cells for 3 columns)"),
    "a comma after every row": ({"rows": [f"{row}," for row in ROWS]}, "(line 2 has 4 cells for 3 columns)"),
    "a field more in one row": ({"rows": changed(7, "1,a,2,3")}, "(line 7 has 4 cells for 3 columns)"),
    "a short row": ({"rows": changed(9, "1,a")}, "(line 9 has 2 cells for 3 columns)"),
    "a comment": ({"rows": changed(5, "# more")}, "(line 5 has 1 cells for 3 columns)"),
    "a quote that is not closed": ({"rows": changed(8, '"1,a,2')}, "(line 8 unexpected end of data)"),
    "a quote within": ({"rows": changed(8, '"1"2,a,2')}, "(line 8 ',' expected after '\"')"),
    "a cell of 200,000 characters": ({"rows": changed(4, "1," + "a" * 200_000 + ",2")}, "(line 4 field larger than"),
    "NUL": ({"rows": changed(6, "1,a\0,2")}, "(line 6 has a NUL)"),
    "latin-1": ({"rows": changed(6, "1,\xe9,2"), "encoding": "latin-1"}, "(line 6: invalid continuation byte)"),
    "utf-16": ({"encoding": "utf-16"}, "(line 1: invalid start byte)"),
    "semicolons": (
        {"header": "size;kind;price", "rows": ["1;a;2"] * 40},
        "two columns or more, commas between, or be",
    ),
    "a name twice": ({"header": "size,size,price"}, "must have names that differ, and no empty one, but for those"),
    "no name": ({"header": ",kind,price"}, "must have names that differ, and no empty one, but for those that"),
    "a name without letters": ({"header": "size,\U0001f600,price"}, "must have letters or digits in their names, or"),
    "a comma after the header": ({"header": "size,kind,price,"}, "(line 2 has 3 cells for 4 columns)"),
    "only a header": ({"rows": []}, "must be of a file with >= 30 whole rows, got 0."),
}
ALONE = "must be of numbers alone, or be named in texts, got"
SUCH = "must be of numbers such as 1.5, or be named in texts, dates or ignore, got"
CELLS = {
    "a word among numbers": (changed(4, "n/a,a,2"), f"column 'size' {ALONE} 'n/a' in line 4."),
    "NA among numbers": (changed(4, "NA,a,2"), f"column 'size' {ALONE} 'NA' in line 4."),
    "nan among numbers": (changed(4, "nan,a,2"), f"column 'size' {ALONE} 'nan' in line 4."),
    "inf among numbers": (changed(4, "inf,a,2"), f"column 'size' {ALONE} 'inf' in line 4."),
    "a number beyond floats": (changed(4, "1e999,a,2"), "column 'size' must be of finite numbers, got '1e999' in line"),
    "a number among words": (changed(4, "1,7,2"), f"column 'kind' {ALONE} 'a' in line 2."),
    "a decimal comma": (changed(4, '"1,5",a,2'), f"column 'size' {ALONE} '1,5' in line 4."),
    "decimal commas": ([f'"{row[0]},5",a,2' for row in ROWS], f"column 'size' {SUCH} '0,5' in line 2."),
    "thousands": ([f'"1,00{row[0]}",a,2' for row in ROWS], f"column 'size' {SUCH} '1,000' in line 2."),
    "dates as people write them": (
        [f"{n % 30 + 1}.1.2026,a,2" for n in range(60)],
        f"column 'size' {SUCH} '1.1.2026' in",
    ),
    "a day on no calendar": (["2026-02-31,a,2"] * 60, f"column 'size' {SUCH} '2026-02-31' in line 2."),
    "times of no zone": (["2026-01-01T10:00:00 CET,a,2"] * 60, f"column 'size' {SUCH} '2026-01-01T10:00:00 CET'"),
    "shares": (["5 %,a,2"] * 60, f"column 'size' {SUCH} '5 %' in line 2."),
    "underscores": (changed(4, "1_000,a,2"), f"column 'size' {ALONE} '1_000' in line 4."),
    "other digits": (changed(4, "\u0665,a,2"), f"column 'size' {ALONE} '\u0665' in line 4."),
    "codes": (changed(4, "007,a,2"), "column 'size' begins with 0, and must be named in texts or in numbers, got '00"),
    "a whole number beyond int64": (changed(4, f"{10**30},a,2"), "column 'size' must be of whole numbers below 2 **"),
    "a whole number beyond float32": (changed(4, f"{10**9},a,2"), "column 'size' must hold whole numbers up to"),
    "spaces for nothing": (changed(4, "  ,a,2"), f"column 'size' {ALONE} '  ' in line 4."),
    "true among numbers": (changed(4, "True,a,2"), f"column 'size' {ALONE} 'True' in line 4."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_table_of_equal_rows_is_refused_with_its_line(name: str, tmp_path) -> None:
    content, message = BROKEN[name]
    with pytest.raises(ValueError) as caught:
        data.csv(write(tmp_path, **content), target="price").load()
    assert message in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("name", CELLS)
def test_a_column_of_two_kinds_is_refused_with_its_line(name: str, tmp_path) -> None:
    rows, message = CELLS[name]
    with pytest.raises(ValueError) as caught:
        data.csv(write(tmp_path, rows=rows), target="price").load()
    assert str(caught.value).startswith(message)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(ValueError, match="^path must be a path that the system can hold, got 'xxx"):
        data.csv("x" * 5000, target="price")


def test_whoever_names_a_column_gets_its_cells(tmp_path) -> None:
    codes = [f"{n:03},{'ab'[n % 2]},{n / 3}" for n in range(60)]
    path = write(tmp_path, rows=codes)
    texts = data.csv(path, target="price", texts=("size",)).load()
    assert set(texts.train.x["size"]) <= {f"{n:03}" for n in range(60)}
    numbers = data.csv(path, target="price", numbers=("size",)).load()
    np.testing.assert_allclose(numbers.train.y * 3, numbers.train.x["size"], rtol=1e-5)
    assert set(data.csv(path, target="price", ignore=("size",)).load().train.x) == {"kind"}
    with pytest.raises(ValueError, match="^texts and numbers must name different columns, got .'size'"):
        data.csv(path, target="price", texts=("size",), numbers=("size",))
    unnamed = write(tmp_path, header=",kind,price")
    assert set(data.csv(unnamed, target="price", ignore=("",)).load().train.x) == {"kind"}


def test_a_mark_at_the_beginning_and_lines_of_other_systems_are_read(tmp_path) -> None:
    plain = data.csv(write(tmp_path), target="price").load()
    for content in ("\ufeff" + "\n".join(["size,kind,price", *ROWS]), "\r\n".join(["size,kind,price", *ROWS, "", ""])):
        (tmp_path / "b.csv").write_bytes(content.encode())
        other = data.csv(str(tmp_path / "b.csv"), target="price").load()
        for name, column in plain.train.x.items():
            np.testing.assert_array_equal(other.train.x[name], column)


def test_whole_numbers_stay_classes_where_a_row_is_dropped(tmp_path) -> None:
    path = write(tmp_path, rows=[f"{n},a,{n % 3}" for n in range(60)] + ["1,a,"])
    dropped = data.csv(path, target="price", missing="drop")
    assert dropped.task == "classification" and dropped.labels == ("0", "1", "2")


def test_booleans_are_numbers_and_classes(tmp_path) -> None:
    path = write(tmp_path, rows=[f"{('true', 'false')[n % 2]},{n},{('TRUE', 'FALSE')[n % 2]}" for n in range(60)])
    given = data.csv(path, target="price")
    assert given.labels == ("False", "True") and given.task == "classification"
    np.testing.assert_array_equal(given.load().train.x["size"], given.load().train.y)


def test_a_summary_shows_what_each_column_was_taken_for(tmp_path, monkeypatch) -> None:
    rows = [f"{n},{('a', 'b' + chr(27) + '[31m')[n % 2]},{n / 3},{'True' if n % 3 else 'False'}" for n in range(60)]
    path = write(tmp_path, header="size,kind,price,new", rows=rows)
    shown = str(data.summary(data.csv(path, target="price")))
    parts = "size: float32 of whole numbers, ", "kind: texts, a ", "new: float32 of true or false", "y: float32 of n"
    for part in parts:
        assert part in shown
    assert "\x1b" not in shown and r"b\x1b[31m" in shown
    assert "y: int32 of texts, 2 classes" in str(data.summary(data.csv(path, target="kind")))
    with pytest.raises(ValueError) as caught:
        data.csv(write(tmp_path, header="a\x1b[31m,kind,price"), target="prise")
    assert "\x1b" not in str(caught.value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.csv("~/a.csv", target="price").path == "~/a.csv"


TEXTS = some.text(some.characters(exclude_categories=("Cs",)), max_size=6)


@settings(max_examples=80, deadline=None)
@given(
    some.lists(some.tuples(TEXTS, TEXTS), min_size=30, max_size=40),
    some.sampled_from(["minimal", "all"]),
    some.tuples(some.floats(0, 0.999), some.sampled_from(["", ",", '"', "\n", "\r", "\0", "\xe9", "x,", ";"])),
    some.booleans(),
)
@example([("a", "b")] * 30, "minimal", (0.5, ","), True)
def test_what_the_csv_module_reads_is_what_there_is(tmp_path_factory, rows, quoting, damage, damaged) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL if quoting == "all" else csv.QUOTE_MINIMAL)
    writer.writerows([("one", "two", "y"), *((*row, "ab"[n % 2]) for n, row in enumerate(rows))])
    text = buffer.getvalue()
    if damaged:
        place = int(damage[0] * len(text))
        text = text[:place] + damage[1] + text[place + 1 :]
    path = tmp_path_factory.getbasetemp() / "property.csv"
    path.write_bytes(text.encode())
    try:
        header, *expected = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        header, expected = [], []
    try:
        found = data.CSV(str(path), target="y", texts=("one", "two", "y"), missing="drop").columns()
    except ValueError as error:
        assert (
            header != ["one", "two", "y"]
            or {len(row) for row in expected} != {3}
            or "\0" in text
            or ("whole rows" in str(error) or "that are empty" in str(error))
        )
    else:
        whole = [row for row in expected if all(row)]
        assert [list(row) for row in zip(*(found[name] for name in header))] == whole


WHOLE = some.one_of(some.integers(), some.integers(2**53 - 2, 2**53 + 2), some.integers(2**63 - 2, 2**63 + 2))


@settings(max_examples=100, deadline=None)
@given(some.lists(some.one_of(WHOLE, some.floats(allow_nan=False, allow_infinity=False)), min_size=1, max_size=3))
def test_numbers_are_pythons(tmp_path_factory, numbers) -> None:
    path, numbers = tmp_path_factory.getbasetemp() / "numbers.csv", numbers * 30
    path.write_text("x,y\n" + "".join(f"{number!r},a{n % 2}\n" for n, number in enumerate(numbers)))
    try:
        found = data.CSV(str(path), target="y").columns(["x"])["x"]
    except ValueError:
        limit = 2**63 if all(isinstance(number, int) for number in numbers) else 2**53
        assert any(isinstance(number, int) and not -limit <= number < limit for number in numbers)
    else:
        assert found.tolist() == numbers


def test_a_csv_with_named_numbers_is_a_value(tmp_path) -> None:
    given = data.csv(write(tmp_path), target="price", numbers=("size",))
    assert from_json(to_json(given)) == given
