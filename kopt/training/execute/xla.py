"""Whether XLA can compile a step, says the same as TensorFlow without it, and is fast: read from the traced graph.

It is decided before data are drawn, before any state changes and before anything compiles.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.execute.lookups import LOOKUPS
from kopt.values.checks import require

ANY_SIZE = 8  # examples of a batch whose number is not known, where XLA's compiler is asked

# Operations that XLA runs many times slower than TensorFlow's own kernels on a CPU. Not recurrent loops: it runs GRU
# and LSTM layers 0.9 to 2.5 times as fast, or refuses them.
SLOW = ("Conv", "_FusedConv", "Depthwise", "MaxPool", "AvgPool")
SLOW_LAYERS = ("Conv", "DepthwiseConv", "SeparableConv", "MaxPooling", "AveragePooling")

# Why these do not do in XLA what they do elsewhere.
UNCHECKED = "raises for bad data, and XLA leaves that out"
NOT_IN_XLA = {
    **dict.fromkeys(("Assert", "CheckNumerics", "CheckNumericsV2"), UNCHECKED),
    # It takes XLA 180 times as long to draw by what TensorFlow chooses as by Threefry; these do not, or heed no seed.
    "StatelessRandomGetKeyCounter": "in a function of its own draws numbers slowly in XLA",
    **dict.fromkeys(
        ("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "RandomShuffle", "Multinomial")
        + ("ParameterizedTruncatedNormal", "StatelessMultinomial", "StatelessParameterizedTruncatedNormal")
        + ("StatelessRandomUniform", "StatelessRandomUniformInt", "StatelessRandomUniformFullInt")
        + ("StatelessRandomNormal", "StatelessTruncatedNormal"),
        "draws numbers slowly in XLA, or without a seed",
    ),
}

# Operations that check these inputs outside XLA alone; what comes from shapes is right by construction.
CHECKED_INPUTS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("Cholesky", "MatrixInverse", "InvertPermutation", "Bincount", "DenseBincount"), lambda op: op.inputs[:1]
    ),
    **dict.fromkeys(("MatrixSolve", "MatrixTriangularSolve"), lambda op: op.inputs[:1]),
    **dict.fromkeys(("DynamicPartition", "ReverseSequence", "SparseToDense"), lambda op: op.inputs[1:2]),
    **dict.fromkeys(("Slice", "StridedSlice"), lambda op: op.inputs[1:]),
    **dict.fromkeys(("DynamicStitch", "ParallelDynamicStitch"), lambda op: op.inputs[: len(op.inputs) // 2]),
    **dict.fromkeys(
        ("Div", "FloorDiv", "FloorMod", "Mod", "TruncateDiv", "TruncateMod", "Pow"),
        lambda op: op.inputs[1:] if op.inputs[1].dtype.is_integer else (),
    ),
}
OF_DATA = ("Placeholder", "ReadVariableOp", "While", "StatelessWhile", "If", "StatelessIf")
OF_SHAPES = ("Shape", "ShapeN", "Size", "Rank", "VariableShape", "BroadcastGradientArgs")


class TracedStep:
    """A concrete function, seen by the operations in it and in the functions that it calls.

    Args:
        traced: The concrete function.
    """

    def __init__(self, traced: Any):
        graph = traced.graph.as_graph_def()
        self.traced = traced
        self.inner = [node for function in graph.library.function for node in function.node_def]
        self.nodes = [*graph.node, *self.inner]
        self.called = {function.signature.name for function in graph.library.function}

    def impossible(self) -> str:
        """Return why XLA cannot compile it, empty where nothing in its graph forbids that.

        Strings end the process in XLA's hands, as do variants; tables and iterators have no kernels there.
        """
        edges = [*self.traced.inputs, *self.traced.outputs]
        held = [edge.dtype.name for edge in edges if edge.dtype in (tf.string, tf.variant)]
        if held:
            return f"XLA takes no {held[0]}"
        texts = [node.op for node in self.nodes if any(map(names_strings, node.attr.values()))]
        if texts:
            return f"XLA takes no string, which {texts[0]} has"
        operations = {node.op for node in self.nodes}
        unknown = operations - internals.compilable_operations() - {"Placeholder"} - self.called
        return f"XLA has no {', '.join(sorted(unknown))}" if unknown else ""

    def unequal(self) -> str:
        """Return why it would be another in XLA: it would not raise for bad data, or draw slowly; empty if the same."""
        for node in self.nodes:
            if node.op in NOT_IN_XLA:
                return f"{node.op} {NOT_IN_XLA[node.op]}"
        for op in self.traced.graph.get_operations():
            if op.type in CHECKED_INPUTS and any(map(of_data, CHECKED_INPUTS[op.type](op))):
                return f"{op.type} {UNCHECKED}"
        # Lookups are watched in the step itself; an optimizer's writes are where a gradient's lookups were.
        watched = "ResourceScatter"
        missed = [node.op for node in self.inner if node.op in LOOKUPS and not node.op.startswith(watched)]
        return f"{missed[0]} in a function of its own {UNCHECKED}" if missed else ""

    def slow(self) -> str:
        """Return the operations that XLA runs many times slower, empty on a GPU."""
        found = set() if on_gpu() else {node.op for node in self.nodes if node.op.startswith(SLOW)}
        return ", ".join(sorted(found))


def decided(program: Any, spec: Any, nested: bool) -> tuple[bool, str]:
    """Return whether to compile a program's step with XLA for batches of a spec, and why.

    What was asked counts: `jit=` of a Loop before `compile(jit_compile=)`. Without an answer there, XLA is taken where
    it does the same and nothing in it is slow.

    Args:
        program: The program.
        spec: What a batch looks like.
        nested: Whether the step is compiled inside a program that is not, and that draws data before it compiles.

    Raises:
        ValueError: When XLA is asked for, and cannot compile the step.
    """
    if program.jit != "auto":
        why = program.jit and TracedStep(program.trace(spec, True)).impossible()
        require(not why, "jit", f"must be 'auto' or False here: {why}", program.jit)
        return program.jit, "asked for"
    asked = internals.asked_jit(program.model)
    why = before_tracing(program, spec, asked)
    if not why:
        traced = program.trace(spec, True)
        step = TracedStep(traced)
        why = step.impossible() or step.unequal()
        why = why or ("" if asked else told_slow(step.slow()))
        why = why or (internals.compiler_refusal(traced, sized(traced)) if nested else "")
    return (False, why) if why else (True, "asked for in compile" if asked else "nothing is slow in XLA")


def before_tracing(program: Any, spec: Any, asked: bool | None) -> str:
    """Return why not to use XLA, as far as a trace is not needed to know; empty where it is."""
    leaves = [leaf for leaf in tf.nest.flatten(spec) if leaf is not None]
    if not program.alone:
        return "XLA does not compile across replicas"
    if asked is False:
        return "compile got jit_compile=False"
    objection = internals.jit_objection(program.model)
    if objection:
        return objection
    if not all(isinstance(leaf, tf.TensorSpec) and leaf.shape[1:].is_fully_defined() for leaf in leaves):
        return "examples have unknown sizes, and XLA would compile for each"
    return "" if asked else told_slow(slow_layers(program.model))


def told_slow(names: str) -> str:
    """Return the sentence about slow operations or layers, if there are any."""
    return f"the step has {names}, slow in XLA" if names else ""


def sized(traced: Any) -> list[tf.TensorSpec]:
    """Return what a concrete function takes, captured tensors left out, a number for each unknown size."""
    taken = traced.inputs[: len(traced.inputs) - len(traced.captured_inputs)]
    return [tf.TensorSpec([size or ANY_SIZE for size in edge.shape], edge.dtype) for edge in taken]


def slow_layers(model: Any) -> str:
    """Return the layers of a model that will have such operations, to know it without a trace for XLA."""
    if on_gpu():
        return ""
    names = {type(layer).__name__ for layer in internals.flat_layers(model)}
    return ", ".join(sorted(name for name in names if name.startswith(SLOW_LAYERS)))


def names_strings(attribute: Any) -> bool:
    """Return whether an attribute of an operation names the type string."""
    return tf.string.as_datatype_enum in (attribute.type, *attribute.list.type)


def of_data(tensor: Any) -> bool:
    """Return whether a tensor depends on data or weights, and not on shapes, constants and random numbers alone."""
    seen: set[str] = set()
    left = [tensor]
    while left:
        op = left.pop().op
        if op.name in seen or op.type in OF_SHAPES or op.type.startswith("StatelessRandom"):
            continue
        seen.add(op.name)
        if op.type in OF_DATA:
            return True
        left += op.inputs
    return False


def on_gpu() -> bool:
    """Return whether programs run on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))
