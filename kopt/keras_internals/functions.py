"""Copies of traced functions under names that are made of their content, and the moment when XLA's flags are read.

TensorFlow's names count up in a process (`__inference_run_2359`, `dense_3/MatMul`), and XLA looks for compiled
programs by name. Under names of their content, equal functions are one program: in a process and on disk.
"""

import hashlib
from collections.abc import Callable, Iterator, MutableMapping

from tensorflow.core.framework import attr_value_pb2, function_pb2
from tensorflow.python.eager import context
from tensorflow.python.eager.polymorphic_function import atomic_function, concrete_function
from tensorflow.python.framework import config

from kopt.values.types import ConcreteFunction

PREFIX = "kopt_"
# Attributes that hold names and change nothing in what is computed on one device.
NAMES = frozenset(
    {"_class", "_gradient_op_type", "_user_specified_name", "backward_function_name", "forward_function_name"}
)


def named_by_content(function: ConcreteFunction) -> ConcreteFunction:
    """Return a function that does the same, whose name and the names in which are made of its content.

    Equal functions have equal names, whatever their layers and variables are called and whatever was traced before.

    Args:
        function: A concrete function. What it captures is given to the copy at each call.
    """
    inner = function._inference_function
    registered: dict[str, atomic_function.AtomicFunction] = {}
    copied(inner.name.decode(), inner.function_type, registered)
    *children, last = registered.values()
    atomic = atomic_function.AtomicFunction(
        last.name, context.context(), inner.function_type, children, inner.call_options, cached_graph=function.graph
    )
    copy = concrete_function.ConcreteFunction(atomic)
    copy.kopt_original = function  # whose graph it uses
    return copy


def name_of(function: ConcreteFunction) -> str:
    """Return the name of a function in TensorFlow's runtime."""
    return str(function._inference_function.name.decode())


def copied(name: str, of_type: object, registered: dict[str, atomic_function.AtomicFunction]) -> str:
    """Register the copy of a function and, before it, of those that it calls; return the copy's name.

    Args:
        name: The function's name.
        of_type: The type of the outermost function; the others are never called from Python.
        registered: The copies, by the name of what they are of; added to.
    """
    if name not in registered:
        runtime = context.context()
        copy = renamed(runtime.get_function_def(name), lambda called: copied(called, of_type, registered))
        # References are counted: this one is made first, so that no other that goes meanwhile removes the function.
        registered[name] = atomic_function.AtomicFunction(copy.signature.name, runtime, of_type)
        if not runtime.has_function(copy.signature.name):
            runtime.add_function_def(copy)
    return str(registered[name].name.decode())


def renamed(function: function_pb2.FunctionDef, copy_of: Callable[[str], str]) -> function_pb2.FunctionDef:
    """Return a definition with names of the content, called after the digest of the rest.

    Args:
        function: The definition.
        copy_of: Returns the name of the copy of a function that is called.
    """
    new = function_pb2.FunctionDef()
    new.CopyFrom(function)
    new.signature.ClearField("name")
    new.signature.ClearField("description")
    names = {old.name: f"in{place}" for place, old in enumerate(function.signature.input_arg)}
    names |= {node.name: f"{node.op}_{place}" for place, node in enumerate(function.node_def)}
    for argument in new.signature.input_arg:
        argument.name = names[argument.name]
    for node in new.node_def:
        node.name = names[node.name]
        node.ClearField("experimental_debug_info")
        node.input[:] = [renamed_input(text, names) for text in node.input]
    rename_outputs(new, function, names)
    for attributes in all_attributes(new):
        rename_attributes(attributes, copy_of)
    # Kernels are others, or refuse to be compiled, where TensorFlow is asked for determinism.
    content = new.SerializeToString(deterministic=True) + bytes([config.is_op_determinism_enabled()])
    digest = hashlib.sha256(content).hexdigest()
    new.signature.name = PREFIX + digest[:32]
    return new


def renamed_input(text: str, names: dict[str, str]) -> str:
    """Return a node's input, `node:output:place`, `argument` or `^node`, with another node's name."""
    control = text.startswith("^")
    node, colon, place = text.removeprefix("^").partition(":")
    return "^" * control + names[node] + colon + place


def rename_outputs(new: function_pb2.FunctionDef, old: function_pb2.FunctionDef, names: dict[str, str]) -> None:
    """Name the outputs of a definition by their places."""
    new.ClearField("ret")
    new.ClearField("control_ret")
    for place, output in enumerate(new.signature.output_arg):
        value = old.ret[output.name]
        output.name = f"out{place}"
        new.ret[output.name] = renamed_input(value, names)
    for place, name in enumerate(old.signature.control_output):
        new.signature.control_output[place] = f"control{place}"
        new.control_ret[f"control{place}"] = names[old.control_ret[name]]


def all_attributes(function: function_pb2.FunctionDef) -> Iterator[MutableMapping[str, attr_value_pb2.AttrValue]]:
    """Yield the attributes of a definition, of its arguments and of its nodes."""
    yield function.attr
    yield from (argument.attr for argument in function.arg_attr.values())
    yield from (node.attr for node in function.node_def)


def rename_attributes(attributes: MutableMapping[str, attr_value_pb2.AttrValue], copy_of: Callable[[str], str]) -> None:
    """Leave names out of attributes, and put the copies of called functions into them."""
    for name in list(attributes):
        value = attributes[name]
        if name in NAMES:
            del attributes[name]
        elif value.HasField("func"):
            value.func.name = copy_of(value.func.name)
        elif value.HasField("list"):
            for function in value.list.func:
                function.name = copy_of(function.name)


def devices_started() -> bool:
    """Return whether TensorFlow has looked for devices: XLA's flags are read then, and never again."""
    return context.context()._initialized or context.context()._physical_devices is not None
