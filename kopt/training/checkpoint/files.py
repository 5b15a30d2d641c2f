"""Files of checkpoints: safetensors with a SHA-256, written aside and renamed, whole or refused.

Why safetensors, and not HDF5 or npz: its header is JSON that is compared with the size of the file before anything is
allocated or read; nothing in it is code; it is written and read in one pass, an array at a time; and other tools read
it. HDF5 is read by a C library with a history of faults in damaged files, and updates its index in place. An npz is a
zip archive, whose sizes are claims of the file, and an array in it can be a pickle.

The bytes are 8 of the header's length, the header, the arrays, and the SHA-256 of all before it, which is an array of
32 bytes by the name `__sha256__`. The values are JSON in the header's metadata; their arrays are entries by the names
`__values__/arr_1` and so on. A dtype that safetensors does not have is stored as bytes with one axis more, and named
in the metadata. A header has one spelling: what is read is written anew and compared, so that nothing else passes.
"""

import contextlib
import errno
import hashlib
import os
import pathlib
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import Protocol

import numpy as np

from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.layout import (
    DIGEST_SIZE,
    DTYPES,
    LONGEST_HEADER,
    Entry,
    Fault,
    content_of,
    header_of,
    laid_out,
    parsed,
)
from kopt.values.checks import require

__all__ = ["Damaged", "read_file", "write_file"]

PIECE = 2**22  # bytes that are hashed, written and read at a time
UNFINISHED = ".unfinished"  # how the name of a file ends that is being written
BIG = (">",) if sys.byteorder == "little" else (">", "=")  # how NumPy calls big-endian numbers
UNREADABLE = {  # faults of a file, not of the system
    errno.ENOENT: "it is missing",
    errno.ELOOP: "it is a link",
    errno.EMLINK: "it is a link",
    errno.EIO: "the disk cannot read it",
}


class Damaged(ValueError):
    """A file that is not what `write_file` wrote; the text is one sentence that names the file and the fault.

    Example:
        >>> raise Damaged("a.safetensors cannot be read as a checkpoint: it is empty.")
        Traceback (most recent call last):
        kopt.training.checkpoint.files.Damaged: a.safetensors cannot be read as a checkpoint: it is empty.
    """


class Hash(Protocol):
    """What hashlib.sha256 returns, as far as it is used here."""

    def update(self, piece: memoryview | bytes, /) -> None: ...

    def digest(self) -> bytes: ...


def write_file(path: str | pathlib.Path, content: Content) -> None:
    """Write a checkpoint: aside, synced to the disk, renamed, and the folder synced.

    The file is whole or absent whenever the process or the machine stops. Whatever is raised (KeyboardInterrupt too)
    leaves nothing aside, and an older file of this name as it was. Arrays are written one after the other, uncopied.

    Args:
        path: The file, in a folder that exists; one that is there is replaced.
        content: The arrays and the values.

    Raises:
        ValueError: When the content holds anything else than `Content` names, or a dtype that is not numeric.
        OSError: When the disk is full, the folder read-only, and so on.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "a.safetensors"
        ...     write_file(path, Content({"a": np.arange(2)}, {"b": (1, None)}))
        ...     read_file(path).arrays, read_file(path).values
        ({'a': array([0, 1])}, {'b': (1, None)})
    """
    path = pathlib.Path(path)
    entries, values = laid_out(content)
    header = header_of([Entry(name, one.dtype.name, one.shape) for name, one in entries.items()], values)
    require(len(header) <= LONGEST_HEADER, "checkpoint", f"must have values of < {LONGEST_HEADER} bytes", len(header))
    aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with new_file(aside) as file:
            write_pieces(file, [len(header).to_bytes(8, "little"), header], entries)
            os.fsync(file)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def new_file(path: pathlib.Path) -> Iterator[int]:
    """Create a file that is not there yet (a link of its name is not followed), and close it at the end."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def write_pieces(file: int, first: list[bytes], entries: Mapping[str, np.ndarray]) -> None:
    """Write the header, each array, and the SHA-256 of them."""
    digest = hashlib.sha256()
    for one in first:
        write_all(file, memoryview(one), digest)
    for array in entries.values():
        write_all(file, bytes_of(little(array)), digest)
    write_all(file, memoryview(digest.digest()), hashlib.sha256())


def write_all(file: int, data: memoryview, digest: Hash) -> None:
    """Write bytes, all of them, and hash them; a disk that is nearly full writes fewer than it was given."""
    for begin in range(0, len(data), PIECE):
        piece = data[begin : begin + PIECE]
        digest.update(piece)
        while piece:
            piece = piece[os.write(file, piece) :]


def little(array: np.ndarray) -> np.ndarray:
    """Return an array without gaps and with little-endian numbers: itself, wherever it is that."""
    array = np.ascontiguousarray(array)
    return array.byteswap() if array.dtype.byteorder in BIG else array


def bytes_of(array: np.ndarray) -> memoryview:
    """Return the bytes of an array without gaps, uncopied."""
    return array.reshape(-1).view(np.uint8).data


def sync_folder(folder: pathlib.Path) -> None:
    """Sync the names in a folder to the disk; a few file systems of networks have no such thing (EINVAL)."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(file)


def read_file(path: str | pathlib.Path) -> Content:
    """Read the file that `write_file` wrote.

    Nothing is allocated before the header agrees with the size of the file, and nothing is returned before the
    SHA-256 agrees with all bytes.

    Args:
        path: The file; a link is refused.

    Returns:
        The same arrays and values, to the bit, in the same order.

    Raises:
        Damaged: When the file is missing, or anything but what `write_file` wrote.
        OSError: When the file may not be read.

    Example:
        >>> read_file("nowhere.safetensors")
        Traceback (most recent call last):
        kopt.training.checkpoint.files.Damaged: nowhere.safetensors cannot be read as a checkpoint: it is missing.
    """
    try:
        with open(path, "rb", opener=open_regular) as file:
            return read_content(file, os.fstat(file.fileno()).st_size)
    except Fault as fault:
        raise Damaged(f"{path} cannot be read as a checkpoint: {fault}.") from fault
    except OSError as error:
        why = UNREADABLE.get(error.errno or 0)
        if why is None:
            raise
        raise Damaged(f"{path} cannot be read as a checkpoint: {why}.") from error


def open_regular(path: str, flags: int) -> int:
    """Open a file, no link, pipe or folder; without waiting for one who writes into a pipe."""
    file = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise Fault("it is not a file")
    return file


def read_content(file: BufferedReader, size: int) -> Content:
    """Read an open file of a size in one pass, and hash what is read."""
    digest = hashlib.sha256()
    length = int.from_bytes(read_exactly(file, 8, digest), "little")
    if not 8 + length + DIGEST_SIZE <= size or length > LONGEST_HEADER:
        raise Fault(f"its header has {length} bytes by its first 8, and the file {size}")
    header = parsed(read_exactly(file, length, digest))
    if 8 + length + header.size != size:
        raise Fault(f"it must have {8 + length + header.size} bytes by its header, and has {size}")
    arrays = {entry.name: read_array(file, entry, digest) for entry in header.entries}
    if read_exactly(file, DIGEST_SIZE, hashlib.sha256()) != digest.digest():
        raise Fault("its SHA-256 is not that of its content")
    if file.read(1):
        raise Fault("it grew while it was read")
    return content_of(header, arrays)


def read_exactly(file: BufferedReader, size: int, digest: Hash) -> bytes:
    """Read a number of bytes that the file has, by its size."""
    data = file.read(size)
    if len(data) != size:
        raise Fault("it is cut off")
    digest.update(data)
    return data


def read_array(file: BufferedReader, entry: Entry, digest: Hash) -> np.ndarray:
    """Read an array into its own memory."""
    try:
        array = np.empty(entry.shape, DTYPES[entry.dtype])
    except ValueError as error:  # an empty array with more or longer axes than NumPy has
        raise Fault(f"its header has a shape that is none at {entry.name!r}") from error
    data = bytes_of(array)
    for begin in range(0, len(data), PIECE):
        piece = data[begin : begin + PIECE]
        if file.readinto(piece) != len(piece):
            raise Fault("it is cut off")
        digest.update(piece)
    return array.byteswap(inplace=True) if array.dtype.byteorder in BIG else array
