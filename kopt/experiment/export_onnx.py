"""Quantization of ONNX files by onnxruntime: weights in 8 bits, activations at run time (dynamic range)."""

import pathlib

from kopt.values.checks import needs, require
from kopt.values.texts import clipped

__all__ = ["quantize_onnx"]


def quantize_onnx(path: pathlib.Path) -> None:
    """Replace an ONNX file by one with weights in 8 bits.

    Weights are unsigned, about a zero point: onnxruntime has no convolution with signed ones for a CPU, and products of
    signed and unsigned numbers are cut off on processors without VNNI.

    Args:
        path: The file.

    Raises:
        ImportError: When onnxruntime is not installed.
        ValueError: When the model has a loop, as recurrent layers have, or no weight that onnxruntime can quantize, or
            onnxruntime cannot take it. The file is then as it was.

    Example:
        >>> quantize_onnx(pathlib.Path("model.onnx"))  # doctest: +SKIP

    Source:
        onnxruntime's documentation, Quantize ONNX Models: dynamic quantization.
    """
    onnx, runtime = needs("onnx", "export"), needs("onnxruntime.quantization", "export")
    # onnxruntime sorts nodes without a look into loops: those that need an outer value may then come before it, and the
    # process that opens such a file is aborted.
    nodes = onnx.load(path).graph.node
    loops = sorted({node.op_type for node in nodes for one in node.attribute if one.type == onnx.AttributeProto.GRAPH})
    require(not loops, "quantize", "must be left out for a recurrent network in ONNX, whose loops it breaks", loops)
    plain, small = (path.with_name(f"{kind}-{path.name}") for kind in ("plain", "small"))
    try:
        runtime.quant_pre_process(path, plain, skip_symbolic_shape=True)  # which needs sympy
        runtime.quantize_dynamic(plain, small, weight_type=runtime.QuantType.QUInt8)
        found = onnx.load(small).graph
        whole = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
        quantized = [one.name for one in found.initializer if one.data_type in whole and len(one.dims) > 0]
        rule = "must be left out for a model without a weight of Conv, Gather, LSTM or MatMul"
        require(bool(quantized), "quantize", rule, sorted({node.op_type for node in found.node}))
        small.replace(path)
    except session_errors() as error:  # of onnxruntime, for models that its quantizer does not know
        raise ValueError(f"quantize must be left out for this model, onnxruntime says: {clipped(error)}") from error
    finally:
        plain.unlink(missing_ok=True)
        small.unlink(missing_ok=True)


def session_errors() -> tuple[type[Exception], ...]:
    """Return the errors of onnxruntime's quantizer, and of its sessions, which have only Exception in common."""
    compiled = needs("onnxruntime.capi.onnxruntime_pybind11_state", "export")
    return (RuntimeError, compiled.Fail, compiled.InvalidArgument, compiled.InvalidGraph, compiled.NotImplemented)
