"""Layout: the header of a checkpoint's file, which has one spelling for a list of arrays and values."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.packing import packed, unpacked
from kopt.values.checks import require, shown
from kopt.values.types import Json, Nest

FORMAT, VERSION = "kopt.checkpoint", "1"
METADATA, DIGEST, VALUES = "__metadata__", "__sha256__", "__values__/"
DIGEST_SIZE = hashlib.sha256().digest_size
LONGEST_HEADER = 100_000_000  # bytes; readers of safetensors refuse a longer one
DEEPEST = 64  # containers within containers

TYPES = {  # names of dtypes in safetensors
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}
OTHERS = ("complex128", "int4", "uint4", "float8_e4m3b11fnuz", "float8_e4m3fnuz", "float8_e5m2fnuz")  # stored as bytes
DTYPES = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in (*TYPES, *OTHERS)}
NAMES = {stored: name for name, stored in TYPES.items()}


class Fault(Exception):
    """What is wrong with a file, as the end of a sentence.

    Example:
        >>> raise Fault("it is empty")
        Traceback (most recent call last):
        kopt.training.checkpoint.layout.Fault: it is empty
    """


@dataclasses.dataclass(frozen=True)
class Entry:
    """An array in the header: its name, its dtype and its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize

    def stored(self, begin: int) -> Json:
        """Return the description in safetensors of the array that begins at a byte."""
        other = [] if self.dtype in TYPES else [DTYPES[self.dtype].itemsize]
        return {
            "dtype": TYPES.get(self.dtype, "U8"),
            "shape": [*self.shape, *other],
            "data_offsets": [begin, begin + self.size],
        }


def laid_out(content: Content) -> tuple[dict[str, np.ndarray], str]:
    """Return all arrays by their names in the file, and the values as text."""
    for name, array in content.arrays.items():
        require(type(name) is str and not is_reserved(name), "names of arrays", "must be other texts", name)
        require(isinstance(array, np.ndarray), f"array {shown(name)}", "must be a NumPy array", array)
        require_numeric(array, f"array {shown(name)}")
    for name, value in content.values.items():
        require(type(name) is str, "names of values", "must be texts", name)
        require_plain(value, f"value {shown(name)}")
    arrays: list[np.ndarray] = []
    values = json.dumps(packed(dict(content.values), arrays))
    return {**content.arrays, **{f"{VALUES}arr_{1 + i}": one for i, one in enumerate(arrays)}}, values


def is_reserved(name: str) -> bool:
    """Return whether a name is of an entry of the format itself."""
    return name in (METADATA, DIGEST) or name.startswith(VALUES)


def require_numeric(array: np.ndarray | np.generic, place: str) -> None:
    """Refuse a dtype that the format cannot keep: texts, dates, objects, structures."""
    require(array.dtype.name in DTYPES, place, "must be numeric", array.dtype.name)


def require_plain(value: Nest, place: str, depth: int = 0) -> None:
    """Refuse what is no nest of plain values."""
    require(depth < DEEPEST, place, f"must be less than {DEEPEST} containers deep", "a deeper one")
    if type(value) is dict:
        for key, one in value.items():
            require(type(key) is str, place, "must have dicts with text keys", key)
            require_plain(one, place, depth + 1)
    elif type(value) in (list, tuple):
        for one in value:
            require_plain(one, place, depth + 1)
    elif isinstance(value, (np.ndarray, np.generic)):
        require_numeric(value, place)
    else:
        kinds = (bool, int, float, str, type(None))
        require(type(value) in kinds, place, "must be a nest of dict, list, tuple, numbers, texts and arrays", value)


def header_of(entries: list[Entry], values: str) -> bytes:
    """Return the header: JSON, filled up with blanks to whole eights of bytes."""
    others = {entry.name: entry.dtype for entry in entries if entry.dtype not in TYPES}
    metadata = {"format": FORMAT, "version": VERSION, "values": values, "dtypes": json.dumps(others)}
    header: dict[str, Json] = {METADATA: metadata}
    begin = 0
    for entry in [*entries, Entry(DIGEST, "uint8", (DIGEST_SIZE,))]:
        header[entry.name] = entry.stored(begin)
        begin += entry.size
    text = json.dumps(header, separators=(",", ":"))
    return text.encode("ascii") + b" " * (-len(text) % 8)


@dataclasses.dataclass(frozen=True)
class Header:
    """What the header of a file says: the arrays in the order of the file, and the values as text."""

    entries: list[Entry]
    values: str

    @property
    def size(self) -> int:
        """Bytes of the arrays and the SHA-256."""
        return sum(entry.size for entry in self.entries) + DIGEST_SIZE


def parsed(text: bytes) -> Header:
    """Read a header."""
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError) as error:  # texts that are not UTF-8, numbers of too many digits
        raise Fault("its header is not JSON") from error
    metadata = parts.pop(METADATA, None) if isinstance(parts, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise Fault("it is not of kopt, by its header")
    if metadata.get("version") != VERSION:
        raise Fault(f"its format is of version {shown(metadata.get('version'))}, and this kopt reads {VERSION!r}")
    parts.pop(DIGEST, None)
    others = other_dtypes(metadata.get("dtypes"))
    values = metadata.get("values")
    header = Header([entry_of(name, spec, others.get(name)) for name, spec in parts.items()], str(values))
    if not isinstance(values, str) or header_of(header.entries, values) != text:
        raise Fault("its header is damaged")
    return header


def other_dtypes(text: Json) -> dict[str, Json]:
    """Read the dtypes of the arrays that are stored as bytes."""
    try:
        others = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise Fault("its header is damaged") from error
    if not isinstance(others, dict):
        raise Fault("its header is damaged")
    return others


def entry_of(name: str, spec: Json, other: Json) -> Entry:
    """Read one array of the header; its place in the file is compared with the whole header later."""
    fields = spec if isinstance(spec, dict) else {}
    stored, shape = fields.get("dtype"), fields.get("shape")
    dtype = NAMES.get(stored) if isinstance(stored, str) and other is None else other
    if not isinstance(dtype, str) or dtype not in DTYPES or not isinstance(shape, list):
        raise Fault(f"its header is damaged at {shown(name)}")
    if not all(type(one) is int and 0 <= one < 2**63 for one in shape):
        raise Fault(f"its header has no shape for {shown(name)}")
    return Entry(name, dtype, tuple(shape if other is None else shape[:-1]))


def content_of(header: Header, arrays: Mapping[str, np.ndarray]) -> Content:
    """Return the content from the arrays by their names in the file."""
    packs = {name.removeprefix(VALUES): one for name, one in arrays.items() if name.startswith(VALUES)}
    again: list[np.ndarray] = []
    try:
        values = unpacked(json.loads(header.values), packs)
        require_plain(values, "its values")
        same = type(values) is dict and json.dumps(packed(values, again)) == header.values
    except (ValueError, RecursionError) as error:
        raise Fault("its values are not what was written") from error
    if not same or len(again) != len(packs):
        raise Fault("its values are not what was written")
    return Content({name: one for name, one in arrays.items() if not name.startswith(VALUES)}, values)
