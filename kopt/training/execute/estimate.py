"""The estimate whether XLA pays: the seconds that it takes to compile a step, and those that it then saves."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from kopt.values.types import ConcreteFunction

# Measured by recipes/benchmarks/xla_estimate.py on a CPU, and not on a GPU: least squares of logarithms over its works.
COMPILE_SECONDS = 2.8e-3  # to compile an operation
OPERATION_SECONDS = 4.4e-7  # that XLA saves for each operation that TensorFlow starts
BYTE_SECONDS = 3.5e-11  # that XLA saves for each byte that it keeps in registers and caches
LAUNCH_SECONDS = 6e-5  # that a program takes to start one that XLA has compiled
TRIPS = 16  # the turns of a loop over no sequence

# Operations that cost nothing, or nothing less in XLA.
FREE = frozenset(
    [
        "Const",
        "Placeholder",
        "Identity",
        "IdentityN",
        "NoOp",
        "ReadVariableOp",
        "Reshape",
        "ExpandDims",
        "Squeeze",
        "StridedSlice",
        "StopGradient",
        "Shape",
        "ShapeN",
        "Size",
        "Rank",
        "VariableShape",
        "BroadcastGradientArgs",
    ]
)
COMPILED_AS = {"ResourceApplyAdam": 14}  # operations that XLA compiles in place of one
PRODUCTS = ("MatMul", "BatchMatMul", "Einsum", "Conv", "Depthwise")  # how their names begin


@dataclass(frozen=True)
class Plan:
    """What is planned for a kind of batch: enough to say whether XLA pays.

    Attributes:
        steps: The steps that the run is to make; None when the end of the data is unknown.
        trace: Traces the step without XLA.
        size: The examples of a batch, for sizes that the graph does not have.
        bodies: The number of bodies that XLA compiles: one more for a short last batch.
        nested: Whether the step is compiled inside a program that is not, and that draws data before it compiles.
        checked: Returns whether the program that XLA would compile checks each gradient, see `TrainStep.unchecked`.
    """

    steps: int | None
    trace: Callable[[], ConcreteFunction]
    size: int = 32
    bodies: int = 1
    nested: bool = False
    checked: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Estimate:
    """What XLA costs and saves.

    Attributes:
        compiling: Seconds to compile the step.
        saved: Seconds that a step then takes less.
    """

    compiling: float
    saved: float

    def pays(self, steps: int | None) -> bool:
        """Return whether so many steps save more than compiling takes; False when their number is unknown."""
        return steps is not None and steps * self.saved > self.compiling

    def __str__(self) -> str:
        return f"XLA takes about {self.compiling:.1f} s to compile and saves {self.saved * 1e6:.0f} us a step"


class Work(NamedTuple):
    """What a step has for XLA to save.

    Attributes:
        compiled: Operations to compile, those of each body.
        started: Operations that TensorFlow starts in a step, those of a loop at each turn.
        moved: Bytes that these write, but for those that XLA writes too.
    """

    compiled: int
    started: int
    moved: int


def work_of(plan: Plan) -> Work:
    """Count the work of a step: a function of its graph, the size of a batch and the bodies alone."""
    graph = plan.trace().graph
    whole = graph.as_graph_def(add_shapes=True)
    functions = {function.signature.name: function.node_def for function in whole.library.function}
    every = [node for nodes in (whole.node, *functions.values()) for node in nodes]
    loops = {node.attr["body"].func.name for node in every if "body" in node.attr}
    turns = trips(graph)
    count, started, moved = 0, 0, 0
    for name, nodes in (("", whole.node), *functions.items()):
        work = [node for node in nodes if node.op not in FREE]
        times = turns if name in loops else 1
        count += sum(COMPILED_AS.get(node.op, 1) for node in work)
        started += times * len(work)
        moved += times * sum(bytes_of(node, plan.size) for node in work if not node.op.startswith(PRODUCTS))
    return Work(count * plan.bodies, started, moved)


def estimate(plan: Plan) -> Estimate:
    """Return what XLA costs and saves for a step."""
    work = work_of(plan)
    saved = work.started * OPERATION_SECONDS + work.moved * BYTE_SECONDS
    return Estimate(work.compiled * COMPILE_SECONDS, saved - plan.nested * LAUNCH_SECONDS)


def trips(graph: tf.Graph) -> int:
    """Return the turns of a graph's loops: those over its longest sequence, `TRIPS` where it has none."""
    sequences = [op.inputs[0].shape for op in graph.get_operations() if op.type == "TensorListFromTensor"]
    return max((shape[0] for shape in sequences if shape.rank and shape[0]), default=TRIPS)


def bytes_of(node: tf.compat.v1.NodeDef, size: int) -> int:
    """Return the bytes that an operation writes, with so many examples where their number is unknown."""
    kind = node.attr["T"].type or node.attr["dtype"].type or node.attr["DstT"].type
    width = tf.as_dtype(kind).size if kind else 4
    shapes = [shape.dim for shape in node.attr["_output_shapes"].list.shape if not shape.unknown_rank]
    return width * sum(math.prod(dim.size if dim.size >= 0 else size for dim in shape) for shape in shapes)
