"""Packing: small tensors side by side in one vector, for rules that treat every number alone."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from kopt.values.types import DType, Tensor

__all__ = ["Packing", "Part"]

SMALL = 16_384  # numbers of a tensor; above, one update of many numbers costs more than it saves


class Part(NamedTuple):
    """A parameter's part of a packed tensor: its position among the parameters, its numbers there, and its shape."""

    place: int
    numbers: slice
    shape: tuple[int, ...]


class Packing:
    """The tensors that a rule updates: a vector for all small parameters of a dtype, then every other parameter.

    TensorFlow starts an operation for each tensor, which takes longer than to update a few thousand numbers.

    Args:
        shapes: The shapes of the parameters.
        dtypes: Their dtypes.
        packs: Whether the rule treats every number alone; if not, every parameter stays as it is.

    Attributes:
        parts: The parameters in each tensor. A parameter that stays as it is has one part, with its own shape.

    Example:
        >>> packing = Packing([(2,), (300, 100), (1, 2)], ["float32"] * 3, packs=True)
        >>> [[part.place for part in parts] for parts in packing.parts]
        [[0, 2], [1]]
        >>> packed = packing.pack([tf.constant([1.0, 2.0]), tf.zeros((300, 100)), tf.constant([[3.0, 4.0]])])
        >>> packed[0].numpy().tolist()
        [1.0, 2.0, 3.0, 4.0]
        >>> packing.unpack(packed)[2].numpy().tolist()
        [[3.0, 4.0]]
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[DType], packs: bool):
        small = [packs and math.prod(shape) <= SMALL for shape in shapes]
        kinds = dict.fromkeys(dtype for dtype, one in zip(dtypes, small) if one)
        groups = [[place for place, one in enumerate(small) if one and dtypes[place] == kind] for kind in kinds]
        packed = [group for group in groups if len(group) > 1]
        inside = {place for group in packed for place in group}
        self.parts = [side_by_side(group, shapes) for group in packed]
        self.parts += [[Part(place, slice(None), shape)] for place, shape in enumerate(shapes) if place not in inside]

    def pack(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors that hold the values of the parameters."""
        return [
            values[parts[0].place]
            if len(parts) == 1
            else tf.concat([tf.reshape(values[part.place], [-1]) for part in parts], 0)
            for parts in self.parts
        ]

    def unpack(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the values of the parameters that the tensors hold."""
        found: dict[int, Tensor] = {}
        for parts, tensor in zip(self.parts, tensors):
            if len(parts) == 1:
                found[parts[0].place] = tensor
                continue
            sizes = [math.prod(part.shape) for part in parts]
            for part, value in zip(parts, tf.split(tensor, sizes)):
                found[part.place] = tf.reshape(value, part.shape)
        return [found[place] for place in range(len(found))]

    def of_numbers(self, values: Tensor, position: int) -> Tensor:
        """Return the value of its parameter for each number of a packed tensor, a scalar for a tensor of one parameter.

        Args:
            values: A value of each parameter, (parameters,).
            position: The tensor's.

        Returns:
            A scalar, or a vector of the tensor's shape.
        """
        parts = self.parts[position]
        if len(parts) == 1:
            return values[parts[0].place]
        places = [part.place for part in parts for _ in range(math.prod(part.shape))]
        return tf.gather(values, tf.constant(places, tf.int32))

    def kept(self, given: Sequence[bool], position: int, old: Tensor, new: Tensor) -> Tensor | None:
        """Return the state of a tensor after an update, as it was for the parameters that had no gradient.

        Args:
            given: Whether each parameter had a gradient.
            position: The tensor's.
            old: The state before the update.
            new: The state after it.

        Returns:
            The state, or None where all of it stays.
        """
        there = [given[part.place] for part in self.parts[position]]
        if all(there) or not any(there):
            return new if all(there) else None
        sizes = [math.prod(part.shape) for part in self.parts[position]]
        mask = [one for one, size in zip(there, sizes) for _ in range(size)]
        return tf.where(tf.constant(mask), new, old)


def side_by_side(places: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> list[Part]:
    """Return the parts of parameters that lie side by side in one vector."""
    parts, start = [], 0
    for place in places:
        size = math.prod(shapes[place])
        parts.append(Part(place, slice(start, start + size), shapes[place]))
        start += size
    return parts
