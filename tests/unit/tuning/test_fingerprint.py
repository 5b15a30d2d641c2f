"""Fingerprints of data: alike for the same numbers, others for others, and nothing is used up."""

import json
from typing import Any

import keras
import numpy as np
import pandas
import pytest
import tensorflow as tf

from kopt.tuning.search import fingerprint as module
from kopt.tuning.search.fingerprint import fingerprint

X = np.arange(12.0).reshape(6, 2)


class Rows(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        raise AssertionError("read")


def counted(read: list[int]) -> Any:
    for number in range(3):
        read.append(number)
        yield X, X


SAME = {
    "tensor": tf.constant(X),
    "variable": tf.Variable(X),
    "frame": pandas.DataFrame(X),
    "not contiguous": np.asfortranarray(X),
}
OTHERS = {
    "values": X + 1,
    "dtype": X.astype("float32"),
    "shape": X.reshape(12),
    "rows": X[:-1],
    "order": X[::-1],
    "nest": (X, X),
    "names": {"a": X},
    "dataset": tf.data.Dataset.from_tensor_slices(X),
    "batches": tf.data.Dataset.from_tensor_slices(X).batch(2),
    "generator": counted([]),
    "py dataset": Rows(),
    "sparse": tf.sparse.from_dense(X),
    "ragged": tf.ragged.constant([[1.0], [2.0, 3.0]]),
    "texts": np.array(["a", "b"]),
    "other texts": np.array(["ab", ""]),
}


def test_the_same_numbers_are_the_same_data_and_others_are_others() -> None:
    told = {name: fingerprint(one) for name, one in OTHERS.items()} | {"x": fingerprint(X)}
    assert all(json.loads(json.dumps(one)) == one for one in told.values())
    assert len({json.dumps(one) for one in told.values()}) == len(OTHERS) + 1
    for name, one in SAME.items():
        assert fingerprint(one) == told["x"], name


@pytest.mark.parametrize("name", ["x", "y", "sample_weight", "validation_data", "groups"])
def test_every_argument_counts(name: str) -> None:
    given = dict.fromkeys(("x", "y", "sample_weight", "groups"), X) | {"validation_data": (X, X)}
    changed = given | {name: (X, X + 1) if name == "validation_data" else X + 1}
    before, after = fingerprint(**given), fingerprint(**changed)
    assert [key for key in before if before[key] != after[key]] == [name]
    assert name not in fingerprint(**given | {name: None})


def test_what_would_be_used_up_is_not_read() -> None:
    read: list[int] = []
    assert fingerprint(counted(read)) == {"x": {"kind": "generator"}} and read == []
    dataset = tf.data.Dataset.from_generator(lambda: counted(read), output_signature=(tf.TensorSpec((6, 2)),) * 2)
    told = fingerprint(dataset)["x"]
    assert told["length"] == tf.data.UNKNOWN_CARDINALITY and "shape=(6, 2)" in told["elements"] and read == []
    assert fingerprint(Rows()) == {"x": {"kind": "Rows", "length": 3}}


def test_of_a_large_array_rows_are_read_at_even_distances(monkeypatch) -> None:
    monkeypatch.setattr(module, "BYTES", X.nbytes - 1)
    read: list[int] = []

    class Large:
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, row):
            read.append(row)
            return X[row]

    assert fingerprint(Large())["x"]["shape"] == [6, 2]
    assert read[0] == 0 and read[-1] == 5 and len(read) == 5
    last = X.copy()
    last[-1] += 1
    assert fingerprint(last) != fingerprint(X)
