"""Formats of exported models: how each is written and opened, and what it cannot hold."""

import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kopt.data.base import Inputs
from kopt.experiment.export_onnx import quantize_onnx
from kopt.keras_internals.models import flat_layers
from kopt.values.checks import needs
from kopt.values.types import Json, Nest, Tensor

__all__ = ["FORMATS", "Format", "Predict", "lacking_layers", "tensors_for"]

Predict = Callable[[Inputs], np.ndarray]  # rows -> outputs
ONNX_KINDS = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


class Format(NamedTuple):
    """A format: the ending of its file, its writer and its reader, and the layers of Keras that it has nothing for.

    `write(model, path, quantize)` writes it, `open(path)` runs it without Keras; `int8` says what quantization does,
    and is None where there is none.
    """

    ending: str
    packages: tuple[str, ...]
    lacks: tuple[type[keras.layers.Layer], ...]
    write: Callable[[keras.Model, pathlib.Path, str | None], None]
    open: Callable[[pathlib.Path], Predict]
    int8: str | None = None


def lacking_layers(model: keras.Model, format: Format) -> list[str]:
    """Return the names of the classes of layers in a model that a format cannot hold.

    Args:
        model: The model.
        format: The format.

    Returns:
        Sorted names.

    Example:
        >>> words = keras.Sequential([keras.Input((), dtype="string"), keras.layers.StringLookup(vocabulary=["a"])])
        >>> lacking_layers(words, FORMATS["onnx"]), lacking_layers(words, FORMATS["saved_model"])
        (['StringLookup'], [])
    """
    return sorted({type(layer).__name__ for layer in flat_layers(model) if isinstance(layer, format.lacks)})


def write_saved_model(model: keras.Model, path: pathlib.Path, quantize: str | None) -> None:
    model.export(path, format="tf_saved_model", verbose=False)


def open_saved_model(path: pathlib.Path) -> Predict:
    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]
    wanted = serve.structured_input_signature[1]

    def predict(rows: Inputs) -> np.ndarray:
        given = by_name(rows, list(wanted))
        fed = {name: tensor(given[name], spec) for name, spec in wanted.items()}
        return next(iter(serve(**fed).values())).numpy()

    predict.kept = loaded  # type: ignore[attr-defined]  # the program's variables live as long as this
    return predict


def write_litert(model: keras.Model, path: pathlib.Path, quantize: str | None) -> None:
    """Write a LiteRT file of LiteRT's own operations alone; for int8 with quantized kernels (dynamic range)."""
    arguments: dict[str, Json] = {"target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}}
    if quantize:
        arguments["optimizations"] = [tf.lite.Optimize.DEFAULT]
    model.export(path, format="litert", verbose=False, **arguments)


def open_litert(path: pathlib.Path) -> Predict:
    runner = needs("ai_edge_litert.interpreter", "export").Interpreter(str(path)).get_signature_runner()
    kinds = {name: detail["dtype"] for name, detail in runner.get_input_details().items()}

    def predict(rows: Inputs) -> np.ndarray:
        given = by_name(rows, list(kinds))
        fed = {name: of_kind(given[name], kind) for name, kind in kinds.items()}
        return next(iter(runner(**fed).values()))

    return predict


def of_kind(array: np.ndarray, kind: type) -> np.ndarray:
    """Return an array as LiteRT takes it: texts as bytes in UTF-8."""
    if kind is not np.bytes_:
        return array.astype(kind)
    return np.char.encode(array.astype(str), "utf-8")


def write_onnx(model: keras.Model, path: pathlib.Path, quantize: str | None) -> None:
    """Write an ONNX file; for int8 one with quantized weights (dynamic range)."""
    model.export(path, format="onnx", verbose=False)
    if quantize:
        quantize_onnx(path)


def open_onnx(path: pathlib.Path) -> Predict:
    session = needs("onnxruntime", "export").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    kinds = {one.name: ONNX_KINDS[one.type] for one in session.get_inputs()}

    def predict(rows: Inputs) -> np.ndarray:
        given = by_name(rows, list(kinds))
        return session.run(None, {name: given[name].astype(kind) for name, kind in kinds.items()})[0]

    return predict


def by_name(rows: Inputs, names: list[str]) -> dict[str, np.ndarray]:
    """Return rows as columns by name; an array is that of the only name."""
    if not isinstance(rows, Mapping):
        return {names[0]: np.asarray(rows)}
    return {name: as_column(np.asarray(rows[name])) for name in names}


def as_column(array: np.ndarray) -> np.ndarray:
    return array[:, None] if array.ndim == 1 else array


def tensors_for(model: keras.Model, rows: Inputs) -> Nest:
    """Return rows as tensors of the kinds and shapes that a Keras model takes.

    Args:
        model: The model.
        rows: An array, or columns by name.

    Returns:
        A tensor, or tensors by name.

    Example:
        >>> numbers = keras.Input((2,), dtype="int64")
        >>> tensors_for(keras.Model(numbers, numbers), np.ones((3, 2))).dtype
        tf.int64
    """
    wanted = model.input
    if isinstance(wanted, Mapping):
        return {name: tensor(np.asarray(rows[name]), one) for name, one in wanted.items()}
    return tensor(np.asarray(rows), wanted)


def tensor(array: np.ndarray, wanted: tf.TensorSpec | keras.KerasTensor) -> Tensor:
    """Return an array as a tensor of the kind that is wanted, a column as (n, 1) where that is wanted."""
    array = as_column(array) if len(wanted.shape) == 2 else array
    kind = tf.as_dtype(wanted.dtype)
    return tf.constant(array.astype(object)) if kind == tf.string else tf.cast(array, kind)


LOOKUPS = (keras.layers.IntegerLookup, keras.layers.TextVectorization)

# LiteRT has tables of texts, but none of numbers, no runs of words and no loops over steps, whose lists of tensors are
# TensorFlow's. tf2onnx translates neither tables nor operations on texts.
FORMATS = {
    "litert": Format(
        ".tflite",
        ("ai_edge_litert",),
        (*LOOKUPS, keras.layers.RNN),
        write_litert,
        open_litert,
        # With activations in int8 too (full integer, calibrated on the training split) implicit.py falls from 0.061 to
        # 0.026.
        "dynamic range: kernels of 1,024 numbers or more are int8, activations stay floats",
    ),
    "onnx": Format(
        ".onnx",
        ("tf2onnx", "onnx", "onnxruntime"),
        (*LOOKUPS, keras.layers.StringLookup),
        write_onnx,
        open_onnx,
        "dynamic range: weights of Conv, Gather and MatMul have 8 bits, activations get theirs in each call",
    ),
    "saved_model": Format("", (), (), write_saved_model, open_saved_model),
}
