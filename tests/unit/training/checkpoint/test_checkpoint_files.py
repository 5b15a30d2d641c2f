"""A checkpoint's file comes back to the bit, and nothing else is read: cut, flipped, forged, not a file."""

import builtins
import hashlib
import json
import math
import os
import pathlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.extra.numpy as arrays_of
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from kopt.training.checkpoint import files, layout
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.files import Damaged, read_file, write_file

SMALL = Content(
    {"dense/kernel": np.array([[1.5, -0.0]], "float32"), "mask": np.array([True, False]), "none": np.zeros((0, 2))},
    {"epoch": 3, "history": {"loss": [0.5, float("nan")]}, "rng": (np.arange(2, dtype="uint32"), np.float64(1))},
)
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
TEXTS = st.text(st.characters(), max_size=8)  # surrogates too


def same_array(a: Any, b: Any) -> bool:
    """Return whether two arrays, or two scalars, are equal to the bit, whatever the order of bytes was."""
    return a.dtype.name == b.dtype.name and a.shape == b.shape and native(a) == native(b)


def native(array: Any) -> bytes:
    array = np.asarray(array)
    return (array.byteswap() if array.dtype.byteorder == ">" else array).tobytes()


def same(a: Any, b: Any) -> bool:
    """Return whether two nests are equal to the bit and in their types; NaN equals itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | np.generic):
        return same_array(a, b)
    if isinstance(a, float):
        return math.isnan(a) and math.isnan(b) or a.hex() == b.hex()
    return a == b


@st.composite
def numeric(draw: Any) -> np.ndarray:
    """Draw an array of any dtype of the format and any bits, some with gaps or big-endian."""
    dtype = layout.DTYPES[draw(st.sampled_from(sorted(layout.DTYPES)))]
    shape = draw(SHAPES)
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind == "b":
        return draw(arrays_of.arrays(bool, shape))
    array = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype).reshape(shape)
    if draw(st.booleans()) and dtype.isbuiltin == 1:
        array = array.astype(dtype.newbyteorder(">"))
    return array.T if draw(st.booleans()) else array


PLAIN = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | TEXTS
NESTS = st.recursive(
    PLAIN | numeric() | numeric().filter(lambda one: one.size).map(lambda one: one.reshape(-1)[0]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = TEXTS.filter(lambda name: not layout.is_reserved(name))


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.dictionaries(NAMES, numeric(), max_size=4), st.dictionaries(TEXTS, NESTS, max_size=3))
def test_all_that_is_written_comes_back_to_the_bit(tmp_path_factory, arrays, values) -> None:
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    write_file(path, Content(arrays, values))
    back = read_file(path)
    assert list(back.arrays) == list(arrays) and all(same_array(arrays[name], back.arrays[name]) for name in arrays)
    assert same(values, back.values)


def test_the_comparison_sees_types_signs_and_order() -> None:
    """The counter-test of the round trip."""
    pairs = [(1, 1.0), (1, True), (0.0, -0.0), ((1,), [1]), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (np.int8(1), 1)]
    pairs += [(np.zeros(1, "int8"), np.zeros(1, "uint8")), (np.zeros((0, 1)), np.zeros((1, 0))), (np.ones(()), 1.0)]
    assert not any(same(a, b) or same(b, a) for a, b in pairs)


def test_other_tools_read_the_file(tmp_path) -> None:
    """The oracle is the safetensors library itself."""
    arrays = {name: np.arange(6).reshape(2, 3).astype(layout.DTYPES[name]) for name in layout.TYPES}
    write_file(tmp_path / "a.safetensors", Content(arrays, {"a": np.arange(3)}))
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        assert set(file.keys()) == {*arrays, "__values__/arr_1", "__sha256__"}
        assert file.metadata()["format"] == "kopt.checkpoint" and file.metadata()["version"] == "1"
        for name in arrays.keys() - {"float8_e4m3fn", "float8_e5m2"}:  # which NumPy has no names for
            assert same_array(file.get_tensor(name), arrays[name])
        assert file.get_slice("float8_e5m2").get_dtype() == "F8_E5M2"
    whole = (tmp_path / "a.safetensors").read_bytes()
    assert hashlib.sha256(whole[:-32]).digest() == whole[-32:]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.safetensors"
    write_file(path, SMALL)
    return path.read_bytes()


def refused(path: pathlib.Path, data: bytes) -> str:
    """Write bytes, see them refused in one sentence with the file's name, and return the reason."""
    path.write_bytes(data)
    with pytest.raises(Damaged) as caught:
        read_file(path)
    text = str(caught.value)
    assert text.startswith(f"{path} cannot be read as a checkpoint: ") and text.endswith(".") and "\n" not in text
    return text.partition("checkpoint: ")[2]


def test_each_byte_that_is_flipped_is_seen(whole, tmp_path) -> None:
    for place in range(len(whole)):
        for bits in (1, 0x80, 0xFF):
            data = bytearray(whole)
            data[place] ^= bits
            refused(tmp_path / "a", bytes(data))


def test_each_length_and_bytes_more_are_seen(whole, tmp_path) -> None:
    for length in range(len(whole)):
        refused(tmp_path / "a", whole[:length])
    for more in (b"\0", b"x" * 100, whole):
        refused(tmp_path / "a", whole + more)
        refused(tmp_path / "a", more + whole)


def test_files_of_others_are_refused_by_what_they_are(whole, tmp_path) -> None:
    assert refused(tmp_path / "a", b"") == "it is cut off."
    assert "its header has" in refused(tmp_path / "a", b"PK\3\4" + b"\0" * 100)
    theirs = safetensors.numpy.save({"a": np.zeros(9)})
    assert refused(tmp_path / "a", theirs) == "it is not of kopt, by its header."
    with open(tmp_path / "b.npz", "wb") as file:
        np.savez(file, np.arange(3))
    refused(tmp_path / "a", (tmp_path / "b.npz").read_bytes())


def forged(whole: bytes, change: Callable[[dict[str, Any]], Any], spelled: Callable[..., str] = json.dumps) -> bytes:
    """Return a file with another header and a SHA-256 that is right."""
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    header = change(header) or header
    text = header if isinstance(header, bytes) else spelled(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    body = len(text).to_bytes(8, "little") + text + whole[8 + length : -32]
    return body + hashlib.sha256(body).digest()


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def changed(*places: str, to: Any) -> Callable[[dict[str, Any]], None]:
    """Return a function that sets one place of a header."""

    def change(header: dict[str, Any]) -> None:
        for place in places[:-1]:
            header = header[place]
        header[places[-1]] = to

    return change


M, K = "__metadata__", "dense/kernel"
FORGED = [
    changed(M, "version", to="2"),
    changed(M, "version", to=1),
    changed(M, "format", to="other"),
    changed(M, to=None),
    changed(M, "values", to=None),
    changed(M, "values", to="{}"),
    changed(M, "values", to="[]"),
    changed(M, "values", to="null"),
    changed(M, "values", to='["dict",[]]'),
    changed(M, "values", to='["dict", [["a", 1]]]'),
    changed(M, "values", to='["dict", [["a", ["array", [1, "uint32"]]], ["b", ["array", [1, "uint32"]]]]]'),
    changed(M, "values", to='["dict", [["a", ["array", [[], "uint32"]]]]]'),
    changed(M, "values", to='["dict", [["a", ["scalar", [1, "bfloat16"]]]]]'),
    changed(M, "values", to='["dict", [[["list", []], 1]]]'),
    changed(M, "values", to='["dict", [[1, 1]]]'),
    changed(M, "values", to='["Popen", ["a"]]'),
    changed(M, "values", to='["dict", [["a", {"b": 1}]]]'),
    changed(M, "values", to=nested(10**5)),
    changed(M, "values", to=f'["dict", [["a", {"9" * 10**4}]]]'),
    changed(M, "dtypes", to="[]"),
    changed(M, "dtypes", to=nested(10**5)),
    changed(M, "dtypes", to='{"dense/kernel": "object"}'),
    changed(M, "dtypes", to='{"dense/kernel": ["i4"]}'),
    changed(M, "dtypes", to='{"dense/kernel": "complex128"}'),
    changed(M, "more", to="1"),
    changed(K, to=[]),
    changed(K, "dtype", to="O"),
    changed(K, "dtype", to=["F32"]),
    changed(K, "shape", to=[2**40, 2**40]),
    changed(K, "shape", to=[2**62]),
    changed(K, "shape", to=[1e300]),
    changed(K, "shape", to=[1.0, 2.0]),
    changed(K, "shape", to=[True, 2]),
    changed(K, "shape", to=[-1, -2]),
    changed(K, "shape", to=[2, 2]),
    changed(K, "shape", to={}),
    changed(K, "data_offsets", to=[0, 2**62]),
    changed(K, "data_offsets", to=[-8, 0]),
    changed("none", "shape", to=[0, 2**63 - 1, 2**63 - 1]),
    changed("none", "shape", to=[0] + [1] * 100),
    changed("none", "shape", to=[0, 2**70]),
    changed("another", to={"dtype": "F32", "shape": [0], "data_offsets": [8, 8]}),
    changed("__sha256__", to={"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}),
    lambda header: header.pop(K),
    lambda header: [header],
    lambda header: json.dumps(header, indent=1).encode(),
    lambda header: json.dumps(header, separators=(",", ":")).replace('"mask"', '"mask":1,"mask"').encode(),
    lambda header: json.dumps(header).encode("utf-16"),
    lambda header: b"\xff" * 64,
    lambda header: nested(10**6).encode(),
    lambda header: b"9" * 10**5,
]


@pytest.mark.parametrize("number", range(len(FORGED)))
def test_a_forged_header_with_a_right_checksum_is_refused_before_memory_is_taken(number, whole, tmp_path) -> None:
    data = forged(whole, FORGED[number])
    tracemalloc.start()
    try:
        refused(tmp_path / "a", data)
        assert tracemalloc.get_traced_memory()[1] < 2**20 + 200 * len(data)
    finally:
        tracemalloc.stop()


def test_a_header_that_agrees_with_itself_and_not_with_the_size_is_refused_before_memory_is_taken(tmp_path) -> None:
    header = layout.header_of([layout.Entry("a", "float32", (2**45,))], '["dict", []]')
    body = len(header).to_bytes(8, "little") + header
    text = refused(tmp_path / "a", body + hashlib.sha256(body).digest())
    assert text.startswith("it must have 140737488") and text.endswith(f"and has {len(body) + 32}.")


def test_the_forgery_that_changes_nothing_is_read(whole, tmp_path) -> None:
    """The counter-test: it is the change that is refused."""
    assert forged(whole, lambda header: None) == whole
    (tmp_path / "a").write_bytes(whole)
    assert same(read_file(tmp_path / "a").values, SMALL.values)


def test_a_version_of_later_is_named(whole, tmp_path) -> None:
    text = refused(tmp_path / "a", forged(whole, changed(M, "version", to="2")))
    assert text == "its format is of version '2', and this kopt reads '1'."


@hypothesis.settings(max_examples=500, deadline=None)
@hypothesis.given(data=st.data())
def test_damage_of_any_kind_is_refused(whole, tmp_path_factory, data) -> None:
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    damaged = whole[:begin] + data.draw(st.binary(max_size=40)) + whole[end:]
    hypothesis.assume(damaged != whole)
    refused(tmp_path_factory.getbasetemp() / "damaged", damaged)


def test_links_pipes_folders_and_nothing_are_refused(whole, tmp_path) -> None:
    (tmp_path / "a").write_bytes(whole)
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    for name, why in {"link": "a link", "pipe": "not a file", ".": "not a file", "no": "missing"}.items():
        with pytest.raises(Damaged, match=f"it is {why}"):
            read_file(tmp_path / name)


class Point(tuple):
    """A tuple of another class."""


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"names": np.array(["a"])}, {}, "array 'names' must be numeric, got 'str32'"),
    ({"a": np.array([object()])}, {}, "array 'a' must be numeric, got 'object'"),
    ({"a": np.zeros(1, "datetime64[s]")}, {}, "array 'a' must be numeric"),
    ({"a": np.zeros(1, [("x", "f4")])}, {}, "array 'a' must be numeric"),
    ({"a": [1.0]}, {}, "array 'a' must be a NumPy array"),
    ({1: np.zeros(1)}, {}, "names of arrays must be other texts, got 1"),
    ({"__sha256__": np.zeros(1)}, {}, "names of arrays must be other texts"),
    ({"__metadata__": np.zeros(1)}, {}, "names of arrays must be other texts"),
    ({"__values__/arr_1": np.zeros(1)}, {}, "names of arrays must be other texts"),
    ({}, {"a": {1: 2}}, "value 'a' must have dicts with text keys, got 1"),
    ({}, {1: 2}, "names of values must be texts, got 1"),
    ({}, {"a": [{1}]}, "value 'a' must be a nest"),
    ({}, {"a": Point()}, "value 'a' must be a nest"),
    ({}, {"a": b"x"}, "value 'a' must be a nest"),
    ({}, {"a": np.str_("x")}, "value 'a' must be numeric"),
    ({}, {"a": json.loads(nested(70))}, "value 'a' must be less than 64 containers deep"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_the_format_cannot_keep_is_refused_by_name(number, tmp_path) -> None:
    arrays, values, text = REFUSED[number]
    with pytest.raises(ValueError) as caught:
        write_file(tmp_path / "a", Content(arrays, values))
    assert text in str(caught.value) and os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("name", ["write", "fsync", "replace"])
def test_nothing_is_left_when_a_write_raises(name, error, monkeypatch, tmp_path) -> None:
    write_file(tmp_path / "a", Content({}, {"n": 1}))

    def fails(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(os, name, fails)
    with pytest.raises(type(error)):
        write_file(tmp_path / "a", SMALL)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["a"] and read_file(tmp_path / "a").values == {"n": 1}


def test_the_file_is_synced_before_it_is_renamed_and_the_folder_after(monkeypatch, tmp_path) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(file: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{file}") else "file")
        fsync(file)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("name"), replace(*names)))
    write_file(tmp_path / "a", SMALL)
    assert done == ["file", "name", "folder"]


def test_a_disk_that_writes_a_few_bytes_at_a_time_is_written_whole(monkeypatch, whole, tmp_path) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    write_file(tmp_path / "a", SMALL)
    assert (tmp_path / "a").read_bytes() == whole


def test_arrays_are_not_held_twice(tmp_path) -> None:
    arrays = {str(i): np.ones(2**18) for i in range(8)}  # 16 MB
    tracemalloc.start()
    try:
        write_file(tmp_path / "a", Content(arrays, {}))
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.reset_peak()
        read_file(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < 18 * 2**20
    finally:
        tracemalloc.stop()


def test_no_code_of_a_file_is_run(monkeypatch, whole, tmp_path) -> None:
    """A pickle within the file is data."""
    ran: list[object] = []
    for name in ("eval", "exec", "compile"):
        monkeypatch.setattr(builtins, name, lambda *_: ran.append(1))
    refused(tmp_path / "a", b"\x80\x04cos\nsystem\n(S'touch bad'\ntR.")
    refused(tmp_path / "a", forged(whole, changed(M, "values", to='["os.system", ["touch bad"]]')))
    assert not ran


def test_a_file_of_a_name_that_was_a_link_does_not_write_through_it(tmp_path) -> None:
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "a").symlink_to("outside")
    write_file(tmp_path / "a", SMALL)
    assert (tmp_path / "outside").read_text() == "mine" and not (tmp_path / "a").is_symlink()
    with pytest.raises(FileExistsError), files.new_file(tmp_path / "outside"):
        pass


def test_float8_and_bfloat16_scalars_are_kept(tmp_path) -> None:
    values = {"a": ml_dtypes.bfloat16(1.5), "b": ml_dtypes.float8_e4m3fn(2), "c": np.bool_(True)}
    write_file(tmp_path / "a", Content({}, values))
    assert same(read_file(tmp_path / "a").values, values)
