"""Folders of images and texts, and datasets of tf.data."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kopt import data


def write_images(folder: pathlib.Path, kinds: tuple[str, ...] = ("cat", "dog"), count: int = 20) -> np.ndarray:
    """Images of 4 x 6, as PNG files, those of a class in a folder; return them."""
    made = np.random.default_rng(0).integers(0, 256, (len(kinds), count, 4, 6, 3)).astype("uint8")
    for kind, images in zip(kinds, made):
        (folder / kind).mkdir(parents=True)
        for number, image in enumerate(images):
            (folder / kind / f"{number:03}.PNG").write_bytes(tf.io.encode_png(image).numpy())
    return made.reshape(-1, 4, 6, 3)


def test_images_are_those_of_the_files(tmp_path) -> None:
    made = write_images(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    given = data.images(tmp_path, size=(4, 6))
    x, y, digest = given.rows()
    assert given.notes()[0].endswith("in the folder of a class are read: .txt (1)")
    np.testing.assert_array_equal(x, made)
    assert x.dtype == np.float32 and y.tolist() == [0] * 20 + [1] * 20 and given.labels == ("cat", "dog")
    assert data.images(tmp_path, size=(2, 3), channels=1).load().train.x.shape[1:] == (2, 3, 1)
    np.testing.assert_array_equal(given.columns_of(sorted((tmp_path / "cat").glob("*.PNG"))), made[:20])
    np.testing.assert_allclose(
        data.images(tmp_path, size=(8, 12)).columns_of(made)[0].mean(), made[0].mean(), rtol=0.05
    )
    (tmp_path / "dog" / "000.PNG").write_bytes(tf.io.encode_png(made[0]).numpy())
    assert given.rows()[2] != digest
    (tmp_path / "dog" / "000.PNG").write_bytes(b"no image")
    with pytest.raises(ValueError, match="^image must be a file of an image, got '.*000.PNG'"):
        given.load()


def test_folders_that_are_none_of_classes_are_refused(tmp_path) -> None:
    write_images(tmp_path / "one", ("cat",))
    with pytest.raises(ValueError, match=r"^folder must have two folders or more, one a class, got \['cat'\]"):
        data.images(tmp_path / "one")
    write_images(tmp_path / "two")
    for fields, message in (
        ({"size": (0, 3)}, "size must be height and width >= 1"),
        ({"channels": 2}, "channels must be"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            data.images(tmp_path / "two", **fields)
    given = data.images(tmp_path / "two")
    (tmp_path / "two" / "new").mkdir()
    with pytest.raises(ValueError, match=r"^folder must have files of .png, .* in each of its folders, got \['new'\]"):
        given.load()
    write_images(tmp_path / "two" / "x", ("y",))
    (tmp_path / "two" / "new").rmdir()
    (tmp_path / "two" / "x" / "y" / "000.PNG").rename(tmp_path / "two" / "x" / "0.png")
    with pytest.raises(ValueError, match="^names must be the folders in .*, got .'cat', 'dog'"):
        given.load()


def test_texts_of_a_folder_and_of_a_table_are_the_same(tmp_path) -> None:
    rows = ["text,kind"]
    for kind in ("bad", "fine", "good"):
        (tmp_path / "folder" / kind).mkdir(parents=True)
        for number in range(20):
            text = f"it is {kind} {number}"
            (tmp_path / "folder" / kind / f"{number:02}.txt").write_text(text)
            rows.append(f"{text},{kind}")
    (tmp_path / "a.csv").write_text("\n".join(rows))
    one = data.texts(tmp_path / "folder", split="stratified")
    other = data.texts(tmp_path / "a.csv", text="text", target="kind", split="stratified")
    assert one.labels == other.labels == ("bad", "fine", "good")
    for part, same in zip(one.load()[:3], other.load()[:3]):
        assert part.x.tolist() == same.x.tolist() and part.y.tolist() == same.y.tolist()
    assert np.bincount(one.load().test.y).tolist() == [4, 4, 4]
    assert one.baseline(one.load()).value == 1.0
    with pytest.raises(ValueError, match="^text must be one of kind, text, got 'review'"):
        data.texts(tmp_path / "a.csv", text="review", target="kind")
    with pytest.raises(ValueError, match="^text and target must be columns of a file, or None for a folder, got"):
        data.texts(tmp_path / "a.csv", text="text")
    (tmp_path / "b.csv").write_text("\n".join([*rows, " ,bad"]))
    with pytest.raises(
        ValueError, match=r"^text must be of a column without empty cells, as 'text', got \['line 62'\]"
    ):
        data.texts(tmp_path / "b.csv", text="text", target="kind")
    (tmp_path / "folder" / "bad" / "00.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="^text must be a file in UTF-8, got '.*00.txt' .byte 0"):
        one.load()


def test_datasets_keep_their_splits() -> None:
    x, y = (
        np.random.default_rng(0).normal(size=(90, 2)).astype("float32"),
        np.array(["no", "yes", "so"])[np.arange(90) % 3],
    )
    whole = [
        tf.data.Dataset.from_tensor_slices((x[rows], y[rows])) for rows in (slice(50), slice(50, 70), slice(70, 90))
    ]
    given = data.tfdata(whole[0].batch(16), whole[1].batch(10, drop_remainder=True), whole[2])
    assert given.labels == ("no", "so", "yes") and given == data.tfdata(*whole)
    for part, rows in zip(given.load()[:3], (slice(50), slice(50, 70), slice(70, 90))):
        np.testing.assert_array_equal(part.x, x[rows])
        assert [given.labels[kind] for kind in part.y] == y[rows].tolist()
    columns = tf.data.Dataset.from_tensor_slices(({"a": x[:, 0], "b": y}, x[:, 1])).batch(8)
    assert data.tfdata(columns, columns, columns).task == "regression"
    for parts, message in (
        ((x, *whole[1:]), "train must be a tf.data.Dataset, got array"),
        ((whole[0].repeat(), *whole[1:]), "train must have an end, got "),
        ((whole[0], whole[1].take(0), whole[2]), "validation must not be empty, got "),
        ((*whole[:2], whole[2].map(lambda x, y: x)), "test must be of pairs of inputs and targets, got "),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            data.tfdata(*parts)
