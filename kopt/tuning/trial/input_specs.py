"""Inputs: shapes and dtypes of what a model was trained on, from which one without an Input can be built again."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

__all__ = ["inputs_of", "symbolic"]


def inputs_of(args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Return the shapes and dtypes of a fit's inputs, as JSON has it.

    Args:
        args: Positional arguments of `fit`.
        named: Named ones.

    Returns:
        A nest; None when they cannot be known without using the data up.

    Example:
        >>> import numpy as np
        >>> inputs_of([np.zeros((4, 3))], {})
        {'shape': [None, 3], 'dtype': 'float64'}
    """
    x: Any = args[0] if args else named.get("x")
    if isinstance(x, keras.utils.PyDataset):
        x = keras.utils.unpack_x_y_sample_weight(x[0])[0]
    elif hasattr(x, "element_spec"):
        x = keras.utils.unpack_x_y_sample_weight(x.element_spec)[0]
    return described(x)


def described(x: Any) -> Any:
    if isinstance(x, Mapping):
        parts: Any = {str(name): described(one) for name, one in x.items()}
        return None if None in parts.values() else {"names": parts}
    if isinstance(x, (list, tuple)):
        parts = [described(one) for one in x]
        return None if None in parts else parts
    shape = getattr(x, "shape", None)
    if not shape or not hasattr(x, "dtype"):
        return None
    dtype = getattr(x.dtype, "name", str(x.dtype).removeprefix("torch."))
    return {"shape": [None, *map(int, shape[1:])], "dtype": "string" if dtype[:3] in ("str", "obj") else dtype}


def symbolic(inputs: Any) -> Any:
    """Return the inputs to call a model with, so that it is built.

    Args:
        inputs: What `inputs_of` returned, lists for tuples or not.

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
