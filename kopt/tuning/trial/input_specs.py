"""Input specs: which inputs are arrays, and the shapes and dtypes by which a model without an Input is built again."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import keras
import numpy as np
import tensorflow as tf

from kopt.values.types import DType, FitArgument, Json, Nest, Tensor

__all__ = ["are_arrays", "inputs_of", "symbolic"]


@runtime_checkable
class Shaped(Protocol):
    """An array, a tensor or a description of one."""

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def dtype(self) -> DType: ...


@runtime_checkable
class Rows(Protocol):
    """An array whose rows can be taken by their numbers."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


def are_arrays(x: Nest) -> bool:
    """Return whether a nest has leaves, and all of them are arrays with rows.

    Args:
        x: Inputs or targets, as `fit` takes them.

    Example:
        >>> are_arrays({"a": np.zeros((4, 3))}), are_arrays([1.0, 2.0]), are_arrays(None)
        (True, False, False)
    """
    leaves = keras.tree.flatten(x)
    return bool(leaves) and all(isinstance(leaf, Rows) and bool(leaf.shape) for leaf in leaves)


def inputs_of(args: Sequence[FitArgument], named: Mapping[str, FitArgument]) -> Json:
    """Return the shapes and dtypes of a fit's inputs, as JSON keeps them.

    Args:
        args: Positional arguments of `fit`.
        named: Named arguments of `fit`.

    Returns:
        A nest of shapes and dtypes; None when reading them would consume the data.

    Example:
        >>> import numpy as np
        >>> inputs_of([np.zeros((4, 3))], {})
        {'shape': [None, 3], 'dtype': 'float64'}
    """
    x: FitArgument = args[0] if args else named.get("x")
    if isinstance(x, keras.utils.PyDataset):
        x = keras.utils.unpack_x_y_sample_weight(x[0])[0]
    elif hasattr(x, "element_spec"):
        x = keras.utils.unpack_x_y_sample_weight(x.element_spec)[0]
    return described(x)


def described(x: Nest) -> Json:
    """Return the shapes and dtypes of a nest of arrays, or None when an entry is no array."""
    if isinstance(x, Mapping):
        parts: Json = {str(name): described(one) for name, one in x.items()}
        return None if None in parts.values() else {"names": parts}
    if isinstance(x, (list, tuple)):
        parts = [described(one) for one in x]
        return None if None in parts else parts
    if not isinstance(x, Shaped) or not x.shape:
        return None
    name = dtype_name(x.dtype)
    return {"shape": [None, *map(int, x.shape[1:])], "dtype": "string" if name[:3] in ("str", "obj") else name}


def dtype_name(dtype: DType) -> str:
    """Return the name of a dtype of NumPy, TensorFlow, Keras, pandas or PyTorch."""
    return dtype.name if isinstance(dtype, (np.dtype, tf.DType)) else str(dtype).removeprefix("torch.")


def symbolic(inputs: Json) -> Nest:
    """Return symbolic inputs; a call of the model on them builds it.

    Args:
        inputs: The result of `inputs_of`, also after JSON has turned its tuples into lists.

    Returns:
        A nest of symbolic tensors.

    Example:
        >>> symbolic({"names": {"a": {"shape": [None, 3], "dtype": "float32"}}})["a"].shape
        (None, 3)
    """
    if isinstance(inputs, (list, tuple)):
        return tuple(map(symbolic, inputs))
    if "names" in inputs:
        return {name: symbolic(one) for name, one in inputs["names"].items()}
    return keras.KerasTensor(tuple(inputs["shape"]), inputs["dtype"])
