"""The decision about XLA: whether it can compile a step, gives the same results, and is fast, by the traced graph.

It is made before data are drawn, before any state changes and before anything compiles.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.execute.estimate import Estimate, Plan, estimate
from kopt.training.execute.lookups import LOOKUPS
from kopt.training.feed.placement import Jit
from kopt.values.checks import require
from kopt.values.types import ConcreteFunction, Json, KerasModel, Nest, Operation, Tensor

ANY_SIZE = 8  # stands for an unknown number of examples when XLA's compiler is asked

# Operations that XLA runs many times slower than TensorFlow's own kernels on a CPU. Not recurrent loops: it runs GRU
# and LSTM layers 0.9 to 2.5 times as fast, or refuses them.
SLOW = ("Conv", "_FusedConv", "Depthwise", "MaxPool", "AvgPool")
SLOW_LAYERS = ("Conv", "DepthwiseConv", "SeparableConv", "MaxPooling", "AveragePooling")

# Why these operations do not do in XLA what they do elsewhere.
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

# Operations that check these inputs only outside XLA; inputs that come from shapes are right by construction.
CHECKED_INPUTS: dict[str, Callable[[Operation], Iterable[Tensor]]] = {
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


class StepGraph:
    """The operations of a traced step and of the functions that it calls.

    Args:
        traced: The step as a concrete function.
    """

    def __init__(self, traced: ConcreteFunction):
        graph = traced.graph.as_graph_def()
        self.traced = traced
        self.inner = [node for function in graph.library.function for node in function.node_def]
        self.nodes = [*graph.node, *self.inner]
        self.called = {function.signature.name for function in graph.library.function}

    def impossible(self) -> str:
        """Return why XLA cannot compile the step, empty when nothing in its graph forbids that.

        Strings and variants end the process in XLA; tables and iterators have no kernels there.
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
        """Return why the step would differ in XLA: not raise for bad data, or draw slowly; empty when it would not."""
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


@dataclass(frozen=True)
class Decision:
    """Whether to compile a model's step with XLA for a kind of batch.

    Attributes:
        xla: Whether to compile it.
        why: The reason.
        estimate: What XLA costs and saves, where the decision is by that.
    """

    xla: bool
    why: str
    estimate: Estimate | None = None

    def stands(self, steps: int | None) -> bool:
        """Return whether the decision holds for a run of so many steps."""
        return self.xla or self.estimate is None or not self.estimate.pays(steps)

    def plain(self) -> list[Json]:
        """Return the decision as numbers and a text."""
        cost = self.estimate
        return [self.xla, self.why, None if cost is None else [cost.compiling, cost.saved]]


def settled(plain: Mapping[str, Sequence[Json]]) -> dict[str, Decision]:
    """Return the decisions that `Decision.plain` returned, by their keys."""
    return {key: Decision(xla, why, cost and Estimate(*cost)) for key, (xla, why, cost) in plain.items()}


def decide(
    model: KerasModel,
    jit: Jit,
    spec: Nest,
    trace: Callable[[], ConcreteFunction],
    plan: Plan,
    *,
    alone: bool,
) -> Decision:
    """Return whether to compile a model's step with XLA for batches of a spec.

    `jit=` of a Loop counts before `compile(jit_compile=)`. When neither asks for it or against it, XLA is taken where
    the results are the same, nothing in the step is slow, and the steps that are planned save more time than it takes
    to compile.

    Args:
        model: The model.
        jit: What a Loop asks for.
        spec: The spec of a batch.
        trace: Traces the step for XLA.
        plan: What is planned for such batches.
        alone: Whether there is one replica.

    Raises:
        ValueError: When XLA is asked for, and cannot compile the step.
    """
    if jit != "auto":
        why = StepGraph(trace()).impossible() if jit else ""
        require(not why, "jit", f"must be 'auto' or False here: {why}", jit)
        return Decision(jit, "asked for")
    asked = internals.asked_jit(model)
    why = before_tracing(model, spec, asked, alone)
    if why:
        return Decision(False, why)
    cost = None if asked else estimate(plan)
    if cost is not None and not cost.pays(plan.steps):
        return Decision(False, f"{cost}, {plan.steps or 'an unknown number of'} steps are planned", cost)
    traced = trace()
    step = StepGraph(traced)
    why = step.impossible() or step.unequal()
    why = why or ("" if asked else slowness(step.slow()))
    why = why or (internals.compiler_refusal(traced, sized(traced)) if plan.nested else "")
    if why:
        return Decision(False, why)
    return Decision(True, "asked for in compile" if cost is None else f"{cost}, {plan.steps} steps are planned", cost)


def before_tracing(model: KerasModel, spec: Nest, asked: bool | None, alone: bool) -> str:
    """Return why not to use XLA, as far as that is known without a trace; empty when nothing is."""
    leaves = [leaf for leaf in tf.nest.flatten(spec) if leaf is not None]
    if not alone:
        return "XLA does not compile across replicas"
    if asked is False:
        return "compile got jit_compile=False"
    objection = internals.jit_objection(model)
    if objection:
        return objection
    if not all(isinstance(leaf, tf.TensorSpec) and leaf.shape[1:].is_fully_defined() for leaf in leaves):
        return "examples have unknown sizes, and XLA would compile for each"
    return "" if asked else slowness(slow_layers(model))


def slowness(names: str) -> str:
    """Return the sentence about slow operations or layers, empty when there are none."""
    return f"the step has {names}, slow in XLA" if names else ""


def sized(traced: ConcreteFunction) -> list[tf.TensorSpec]:
    """Return the specs of a concrete function's arguments without captured tensors, a number for each unknown size."""
    taken = traced.inputs[: len(traced.inputs) - len(traced.captured_inputs)]
    return [tf.TensorSpec([size or ANY_SIZE for size in edge.shape], edge.dtype) for edge in taken]


def slow_layers(model: KerasModel) -> str:
    """Return the kinds of a model's layers whose operations are slow in XLA: known without a trace."""
    if on_gpu():
        return ""
    names = {type(layer).__name__ for layer in internals.flat_layers(model)}
    return ", ".join(sorted(name for name in names if name.startswith(SLOW_LAYERS)))


def names_strings(attribute: tf.compat.v1.AttrValue) -> bool:
    """Return whether an attribute of an operation names the type string."""
    return tf.string.as_datatype_enum in (attribute.type, *attribute.list.type)


def of_data(tensor: Tensor) -> bool:
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
