"""Files of the user's in a folder for each class: images, and texts, which may be the columns of a table too."""

import collections
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from typing import Literal

import numpy as np
import tensorflow as tf

from kopt.data.base import Baseline, Split, Splits, registry
from kopt.data.baselines import ridge
from kopt.data.frames import table_of
from kopt.data.reviews import logistic_regression
from kopt.data.shuffled import Shuffled
from kopt.data.splitting import Cuts, split_rows
from kopt.data.table import file_digest
from kopt.values.checks import require, unknown
from kopt.values.places import as_path
from kopt.values.texts import clipped
from kopt.values.types import ArrayLike, FieldValue

__all__ = ["Images", "Texts", "images", "texts"]

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
SMALL = 16  # pixels of a side, for the baseline


class Classified(Shuffled):
    """Rows of a class each, split by chance, or within each class."""

    _: KW_ONLY
    split: Literal["random", "stratified"] = "random"
    names: tuple[str, ...] = ()

    def cuts(self, order: np.ndarray, y: np.ndarray) -> Cuts:
        return split_rows(order, self.split, y, validation=self.validation, test=self.test)


@registry.register
class Images(Classified):
    """Images in a folder for each class; x: (n, height, width, channels) float32 from 0 to 255; y: the class, int32.

    All images are in memory.

    Args:
        folder: The folder; each folder in it is a class, and its files with an ending of an image are the images.
        size: Height and width to which images are resized, each >= 1.
        channels: 1 for gray, 3 for red, green and blue.
        split: "random", or "stratified": each split has every class in the same share.
        names: The names of the classes as `data.images` found them; a folder with others is refused.
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When an argument is out of range; when loaded, when the folder has fewer than two classes, or a file
            is no image.

    Example:
        >>> Images("no folder").load()
        Traceback (most recent call last):
        ValueError: folder must be of a folder with a folder for each class, got 'no folder'.

    Source:
        `keras.utils.image_dataset_from_directory`.
    """

    folder: str
    _: KW_ONLY
    reads = "images"
    size: tuple[int, int] = (64, 64)
    channels: int = 3

    def check(self) -> None:
        super().check()
        require(min(self.size) >= 1, "size", "must be height and width >= 1", self.size)
        require(self.channels in (1, 3), "channels", "must be 1 or 3", self.channels)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.names or tuple(self.files())

    def files(self) -> dict[str, list[pathlib.Path]]:
        return files_of(self.folder, IMAGES, self.names)

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *left_out(self.folder, IMAGES))

    def rows(self) -> tuple[np.ndarray, np.ndarray, str]:
        files = self.files()
        return self.columns_of([one for many in files.values() for one in many]), *targets_of(files, self.folder)

    def columns_of(self, rows: ArrayLike) -> np.ndarray:
        """Return images of later use as inputs: files, or an array of (n, height, width, channels) that is resized.

        Args:
            rows: Paths of images, or an array.

        Returns:
            (n, height, width, channels) float32.
        """
        if isinstance(rows, (str, os.PathLike)):
            rows = [rows]
        if isinstance(rows, Sequence) and all(isinstance(one, (str, os.PathLike)) for one in rows):
            found = np.empty((len(rows), *self.size, self.channels), "float32")
            for place, path in enumerate(rows):
                found[place] = image_of(as_path(path, "image"), self.size, self.channels)
            return found
        return tf.image.resize(np.asarray(rows, "float32"), self.size).numpy()

    def baseline(self, splits: Splits) -> Baseline:
        """Score ridge regression on the images, made small."""
        side = [min(length, SMALL) for length in self.size]
        small = [Split(tf.image.resize(part.x, side, "area").numpy(), part.y) for part in splits[:3]]
        found = ridge(self, Splits(small[0], small[1], small[2], splits.checksum))
        return Baseline(f"{found.name} ({side[0]} x {side[1]})", found.value)


@registry.register
class Texts(Classified):
    """Texts with a class each: the files in a folder for each class, or two columns of a table; x: (n,) texts.

    Args:
        path: A folder, in which each folder is a class and its files that end in .txt are the texts, in UTF-8; or a CSV
            or Parquet file.
        text: The column of the texts; None for a folder.
        target: The column of the classes; None for a folder.
        split: "random", or "stratified": each split has every class in the same share.
        names: The names of the classes as `data.texts` found them; a source with others is refused.
        validation: The share of rows to validate on, in (0, 1).
        test: The share of rows to test on, in (0, 1 - validation).
        seed: Seed of the shuffle before the split.
        examples: Number of rows to use, for a quick try; None for all.

    Raises:
        ValueError: When loaded, when there is no such folder, file or column, a file is not in UTF-8, or a text or a
            class is empty.

    Example:
        >>> Texts("no folder").load()
        Traceback (most recent call last):
        ValueError: folder must be of a folder with a folder for each class, got 'no folder'.

    Source:
        `keras.utils.text_dataset_from_directory`.
    """

    path: str
    _: KW_ONLY
    text: str | None = None
    target: str | None = None

    @property
    def text_column(self) -> str | None:
        return self.text

    @property
    def target_column(self) -> str | None:
        return self.target

    def check(self) -> None:
        super().check()
        both = (self.text is None) == (self.target is None)
        require(both, "text and target", "must be columns of a file, or None for a folder", (self.text, self.target))

    @property
    def labels(self) -> tuple[str, ...]:
        if self.names:
            return self.names
        return tuple(files_of(self.path, (".txt",), ())) if self.text is None else tuple(sorted(set(self.columns()[1])))

    def notes(self) -> tuple[str, ...]:
        return (*super().notes(), *(left_out(self.path, (".txt",)) if self.text is None else ()))

    def columns(self) -> tuple[list[str], list[str]]:
        """Return the texts and the classes of a table."""
        table = table_of(self.path, "path")
        found = []
        for argument, name in (("text", self.text), ("target", self.target)):
            if name not in table.names:
                raise unknown(argument, name, map(clipped, table.names))
            column = table.columns[table.names.index(str(name))]
            cells = ["" if one is None or one != one else str(one) for one in column]
            empty = [f"{table.unit} {table.lines[row]}" for row, cell in enumerate(cells) if not cell.strip()]
            require(not empty, argument, f"must be of a column without empty cells, as {clipped(name)!r}", empty[:3])
            found.append(cells)
        return found[0], found[1]

    def rows(self) -> tuple[np.ndarray, np.ndarray, str]:
        if self.text is None:
            files = files_of(self.path, (".txt",), self.names)
            read = [text_of(one) for many in files.values() for one in many]
            return np.array(read, object), *targets_of(files, self.path)
        read, classes = self.columns()
        names, y = np.unique(np.array(classes, object), return_inverse=True)
        require(self.names in ((), tuple(names)), "names", f"must be the classes of {self.path}", self.names)
        require(len(names) >= 2, "target", "must be of a column with two classes or more", list(names))
        return np.array(read, object), y.astype("int32"), file_digest(as_path(self.path, "path"))

    def baseline(self, splits: Splits) -> Baseline:
        return logistic_regression(self, splits, "LogReg (words)", sublinear_tf=True)


def files_of(folder: str, endings: Sequence[str], names: Sequence[str]) -> dict[str, list[pathlib.Path]]:
    """Return class -> files of a folder, in sorted order; refuse other classes than `names`, unless it is empty."""
    path = as_path(folder, "folder")
    require(path.is_dir(), "folder", "must be of a folder with a folder for each class", clipped(folder))
    inner = sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
    found = {one.name: sorted(file for file in one.iterdir() if file.suffix.lower() in endings) for one in inner}
    empty = [name for name, files in found.items() if not files]
    require(not empty, "folder", f"must have files of {', '.join(endings)} in each of its folders", empty)
    require(len(found) >= 2, "folder", "must have two folders or more, one a class", list(found))
    require(not names or list(names) == list(found), "names", f"must be the folders in {folder}", tuple(names))
    return found


def left_out(folder: str, endings: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence about what the folders of the classes hold beside files with these endings, or none."""
    inner = [one for one in as_path(folder, "folder").iterdir() if one.is_dir() and not one.name.startswith(".")]
    others = [file for one in inner for file in one.iterdir() if file.suffix.lower() not in endings]
    kinds = collections.Counter(
        "folders" if file.is_dir() else clipped(file.suffix, 20) or "no ending"
        for file in others
        if not file.name.startswith(".")
    )
    said = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))
    return (f"left out, as only {', '.join(endings)} in the folder of a class are read: {said}",) if said else ()


def targets_of(files: Mapping[str, Sequence[pathlib.Path]], folder: str) -> tuple[np.ndarray, str]:
    """Return the class of each file, and the sha256 of the names and contents of all."""
    digest = hashlib.sha256()
    for one in (one for many in files.values() for one in many):
        digest.update(f"{one.parent.name}/{one.name}\0{file_digest(one)}\0".encode())
    return np.repeat(np.arange(len(files), dtype="int32"), [len(many) for many in files.values()]), digest.hexdigest()


def image_of(path: pathlib.Path, size: tuple[int, int], channels: int) -> np.ndarray:
    """Return an image of a file, resized."""
    try:
        image = tf.io.decode_image(path.read_bytes(), channels=channels, expand_animations=False)
    except (tf.errors.InvalidArgumentError, OSError) as error:
        raise ValueError(f"image must be a file of an image, got {str(path)!r}.") from error
    return tf.image.resize(image, size).numpy()


def text_of(path: pathlib.Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"text must be a file in UTF-8, got {str(path)!r} (byte {error.start}).") from error


def images(folder: str, **fields: FieldValue) -> Images:
    """Make a data set of images in a folder for each class, for a recipe.

    Args:
        folder: The folder; each folder in it is a class.
        **fields: `size`, `channels`, `split`, `validation`, `test`, `seed`: see `Images`.

    Returns:
        The data set, with the names of the classes.

    Raises:
        ValueError: When there is no such folder, or it has fewer than two classes.

    Example:
        >>> images("no folder")
        Traceback (most recent call last):
        ValueError: folder must be of a folder with a folder for each class, got 'no folder'.

    Source:
        `keras.utils.image_dataset_from_directory`.
    """
    return Images(str(folder), names=tuple(files_of(str(folder), IMAGES, ())), **fields)


def texts(path: str, *, text: str | None = None, target: str | None = None, **fields: FieldValue) -> Texts:
    """Make a data set of texts with a class each, for a recipe.

    Args:
        path: A folder, in which each folder is a class and has files that end in .txt; or a CSV or Parquet file.
        text: The column of the texts; None for a folder.
        target: The column of the classes; None for a folder.
        **fields: `split`, `validation`, `test`, `seed`: see `Texts`.

    Returns:
        The data set, with the names of the classes.

    Raises:
        ValueError: When there is no such folder, file or column.

    Example:
        >>> texts("no folder")
        Traceback (most recent call last):
        ValueError: folder must be of a folder with a folder for each class, got 'no folder'.

    Source:
        `keras.utils.text_dataset_from_directory`.
    """
    given = Texts(str(path), text=text, target=target, **fields)
    return Texts(str(path), text=text, target=target, names=given.labels, **fields)
