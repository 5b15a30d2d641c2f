"""Lookups: indices that are out of range raise in a program that XLA compiles, as they do in one that it does not.

TensorFlow's own kernels raise; XLA reads the nearest row, or drops what would be written, and trains on.
"""

import contextlib
import contextvars
from collections.abc import Callable, Hashable, Iterator

import tensorflow as tf

from kopt.values.types import Operation, Tensor, Variable

# Operation -> the bound that its indices must be below.
Bound = Callable[[Operation], Tensor]


def of_axis(op: Operation) -> Tensor:
    """Return the size of the axis that a gather looks up."""
    if op.type == "ResourceGather":
        return tf.raw_ops.VariableShape(input=op.inputs[0])[op.get_attr("batch_dims")]
    axis = tf.get_static_value(op.inputs[2])
    return tf.shape(op.inputs[0])[op.inputs[2] if axis is None else int(axis)]


def of_rows(op: Operation) -> Tensor:
    """Return the sizes of the axes that the rows of an operation's indices look up."""
    shape = op.inputs[2] if op.type == "ScatterNd" else tf.shape(op.inputs[0])
    return shape[: op.inputs[0 if op.type == "ScatterNd" else 1].shape[-1]]


def of_first(op: Operation) -> Tensor:
    """Return the size of the first axis of the variable that is written."""
    return tf.raw_ops.VariableShape(input=op.inputs[0])[0]


def of_segments(op: Operation) -> Tensor:
    """Return the number of segments."""
    return op.inputs[2]


def of_classes(op: Operation) -> Tensor:
    """Return the number of classes."""
    return tf.shape(op.inputs[0])[-1]


SCATTERS = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Update")
# Operation -> the place of the indices among its inputs, and their bound.
LOOKUPS: dict[str, tuple[int, Bound]] = {
    "GatherV2": (1, of_axis),
    "ResourceGather": (1, of_axis),
    "GatherNd": (1, of_rows),
    "ScatterNd": (0, of_rows),
    "SparseSoftmaxCrossEntropyWithLogits": (1, of_classes),
    **{f"TensorScatter{kind}": (1, of_rows) for kind in ("Add", "Sub", "Max", "Min", "Update")},
    **{f"UnsortedSegment{kind}": (1, of_segments) for kind in ("Sum", "Prod", "Max", "Min")},
    **{f"Segment{kind}V2": (1, of_segments) for kind in ("Sum", "Prod", "Max", "Min")},
    **{f"ResourceScatter{kind}": (1, of_first) for kind in SCATTERS},
}

# The lookups of the step that is being traced.
watching: contextvars.ContextVar["Lookups | None"] = contextvars.ContextVar("watching", default=None)


class Lookups:
    """Checks in a program whether each index is in range, and records the first that is not.

    The operations of the traced step are checked; those of functions that it calls are not. A check reduces the indices
    of an operation to their least and their greatest.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.found: Variable = None

    def __bool__(self) -> bool:
        """Return whether there is an operation that looks something up."""
        return self.found is not None

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Add checks to the operations that are traced in this context."""
        self.seen: set[str] = set()
        self.known: set[tuple[int, Hashable]] = set()
        token = watching.set(self)
        try:
            yield
            self.look()
        finally:
            watching.reset(token)

    def look(self) -> None:
        """Add checks to the operations that were traced since the last call."""
        checks = []
        for op in tf.compat.v1.get_default_graph().get_operations():
            if op.type in LOOKUPS and op.name not in self.seen:
                self.seen.add(op.name)
                checks += self.check(op)
        if not checks:
            return
        if self.found is None:
            with tf.init_scope():
                self.found = tf.Variable([-1, 0, 0], dtype="int64", trainable=False)
        worst = tf.stack(checks)
        bad = (worst[:, 1] < 0) | (worst[:, 1] >= worst[:, 2])
        first = tf.reduce_sum(tf.where(bad[:, tf.newaxis] & first_of(bad)[:, tf.newaxis], worst, 0), 0)
        new = tf.reduce_any(bad) & (self.found[0] < 0)
        self.found.assign(tf.where(new, first, self.found))

    def check(self, op: Operation) -> list[Tensor]:
        """Return an operation's number, its worst index and the bound; nothing when its indices are checked already."""
        place, bound_of = LOOKUPS[op.type]
        indices, bound = op.inputs[place], bound_of(op)
        static = tf.get_static_value(bound)
        key = id(origin(indices).op), tuple(static.flatten().tolist()) if static is not None else id(bound)
        if key in self.known or indices.shape.num_elements() == 0:
            return []
        self.known.add(key)
        self.names.append(op.name)
        bound = tf.cast(bound, indices.dtype)
        low, high = tf.reduce_min(indices), tf.reduce_max(indices)
        if bound.shape.rank:  # of rows: the axis that is nearest to its bound, or beyond
            flat = tf.reshape(indices, [-1, indices.shape[-1]])
            highs = tf.reduce_max(flat, 0)
            worst = tf.argmax(highs - bound)
            high, bound = highs[worst], bound[worst]
        free = op.type.startswith("UnsortedSegment")  # it ignores negative indices, as without XLA
        value = high if free else tf.where(low < 0, low, high)
        value = tf.where(value < 0, tf.zeros_like(value), value) if free else value
        return [tf.stack([tf.cast(one, "int64") for one in (len(self.names) - 1, value, bound)])]

    def fine(self) -> Tensor:
        """Return, in a program, whether all indices were in range so far."""
        return self.found[0] < 0 if self else tf.constant(True)

    def forget(self) -> None:
        """Forget the index that was recorded."""
        if self:
            self.found.assign([-1, 0, 0])

    def raise_if_found(self) -> None:
        """Raise InvalidArgumentError, outside a program, when an index was out of range; forget that index."""
        if not self:
            return
        number, value, bound = self.found.numpy().tolist()
        if number >= 0:
            self.forget()
            message = f"indices of {self.names[number]} must be in [0, {bound}), got {value}"
            raise tf.errors.InvalidArgumentError(None, None, message)


def first_of(bad: Tensor) -> Tensor:
    """Return for each element whether no element before it is true."""
    return tf.cumsum(tf.cast(bad, "int32"), exclusive=True) == 0


def in_range() -> Tensor:
    """Return whether the traced step's indices are in range so far; True when they are not checked."""
    lookups = watching.get()
    if lookups is None:
        return tf.constant(True)
    lookups.look()
    return lookups.fine()


def origin(tensor: Tensor) -> Tensor:
    """Return the tensor of which a tensor is a reshaped or cast form."""
    while tensor.op.type in ("Reshape", "Cast", "Identity", "ExpandDims", "Squeeze", "StopGradient"):
        tensor = tensor.op.inputs[0]
    return tensor
