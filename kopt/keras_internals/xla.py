"""Private parts of XLA: what it can compile, what Keras says about it, and random numbers that are fast in it."""

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from keras.src.trainers.trainer import Trainer, model_supports_jit
from tensorflow.python.eager import context
from tensorflow.python.ops import control_flow_v2_func_graphs as control_flow
from tensorflow.python.ops import random_ops_util
from tensorflow.python.util import pywrap_xla_ops

from kopt.keras_internals.models import flat_layers

BRANCHES = control_flow.CondBranchFuncGraph, control_flow.WhileBodyFuncGraph, control_flow.WhileCondFuncGraph
AUTOMATIC = tf.random.Algorithm.AUTO_SELECT.value
ASKED = "kopt_jit_asked"  # a model's attribute: the value of compile(jit_compile=)
REFUSALS = tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.NotFoundError


# What XLA can compile


@functools.cache
def compilable_operations() -> frozenset[str]:
    """Return the names of the operations that TensorFlow has XLA kernels for on this machine's device."""
    gpu = bool(tf.config.list_logical_devices("GPU"))
    return frozenset(pywrap_xla_ops.get_gpu_kernel_names() if gpu else pywrap_xla_ops.get_cpu_kernel_names())


def compiler_refusal(traced: Any, specs: Sequence[Any]) -> str:
    """Return why XLA's compiler refuses a concrete function, empty where it does not; nothing is run.

    Args:
        traced: The concrete function. Strings in it end the process: they must be refused before.
        specs: Its inputs' shapes and types, captured ones left out, all sizes known.
    """
    platform = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    how = {"device_name": tf.zeros([]).device, "platform_name": platform, "stage": "hlo_serialized"}
    what = {"function_name": traced.name, "flat_args": list(specs), "captured_inputs": traced.captured_inputs}
    try:  # TensorFlow's own way to this, experimental_get_compiler_ir, draws a random number to find the device
        context.context().get_compiler_ir(**how, **what)
    except ValueError as error:  # as TensorFlow raises whatever the compiler says
        said = str(error)
        if not said.startswith("Failed getting HLO text"):
            raise
        return said.partition("\n")[0]
    return ""


# What Keras says


def jit_objection(model: Any) -> str:
    """Return why Keras would not compile a model with XLA, on any device; empty where it would."""
    layers = [layer.name for layer in flat_layers(model) if not layer.supports_jit]
    if layers:
        return f"{', '.join(layers)} {'has' if len(layers) == 1 else 'have'} supports_jit=False"
    return "" if model_supports_jit(model) else "operations are to be deterministic"


def asked_jit(model: Any) -> bool | None:
    """Return the value given as `compile(jit_compile=)`; None for "auto".

    Keras keeps only what "auto" comes to, which on a CPU is False: so kopt notes the argument when compile is called.
    A model that was compiled before kopt was imported, or loaded from a file, counts as "auto" where it says False.
    """
    return vars(model).get(ASKED)


def note_jit() -> None:
    """Make Keras' compile note its argument `jit_compile`, and its setter the value, where that changes."""
    compile_, load, setting = Trainer.compile, Trainer.compile_from_config, Trainer.jit_compile

    @functools.wraps(compile_)
    def noting_compile(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = compile_(self, *args, **kwargs)
        asked = inspect.signature(compile_).bind(self, *args, **kwargs).arguments.get("jit_compile", "auto")
        vars(self)[ASKED] = None if asked == "auto" else bool(asked)
        return found

    @functools.wraps(load)
    def noting_load(self: Any, config: Any) -> Any:
        found = load(self, config)
        vars(self)[ASKED] = asked_jit(self) or None
        return found

    def set_jit(self: Any, value: Any) -> None:
        setting.fset(self, value)
        vars(self)[ASKED] = bool(value)

    if not getattr(compile_, "notes_jit", False):
        vars(noting_compile)["notes_jit"] = True
        Trainer.compile, Trainer.compile_from_config = noting_compile, noting_load
        Trainer.jit_compile = property(setting.fget, set_jit, doc=setting.__doc__)


note_jit()


# Random numbers

# The graph of the step that is being traced for XLA.
traced_for_xla: contextvars.ContextVar[Any] = contextvars.ContextVar("traced_for_xla", default=None)


@contextlib.contextmanager
def fast_random() -> Iterator[None]:
    """Make random operations that are traced here draw by Threefry where TensorFlow would choose the algorithm.

    On a CPU XLA takes 180 times as long for what TensorFlow chooses (11.4 ms for 65,536 uniform numbers, Threefry 0.06,
    Philox 0.38, TensorFlow's own kernel without XLA 0.20). TensorFlow has no Threefry outside XLA: so functions that
    others have made, and may run elsewhere, are left alone. Seeds are those that Keras draws, and advance alike.
    """
    token = traced_for_xla.set(tf.compat.v1.get_default_graph())
    try:
        yield
    finally:
        traced_for_xla.reset(token)


def in_step_for_xla() -> bool:
    """Return whether an operation that is being made belongs to a step for XLA, its branches and loops included."""
    step = traced_for_xla.get()
    if step is None or tf.executing_eagerly():
        return False
    graph = tf.compat.v1.get_default_graph()
    while graph is not step and isinstance(graph, BRANCHES):
        graph = graph.outer_graph
    return graph is step


def choose_algorithm() -> None:
    """Make TensorFlow's choice of a random algorithm Threefry inside `fast_random`."""
    choose = random_ops_util.get_key_counter_alg

    @functools.wraps(choose)
    def chosen(seed: Any, alg: Any) -> Any:
        open_ = alg is None or not tf.is_tensor(alg) and random_ops_util.convert_alg_to_int(alg) == AUTOMATIC
        return choose(seed, "threefry" if open_ and in_step_for_xla() else alg)

    if not getattr(choose, "chooses_fast", False):
        vars(chosen)["chooses_fast"] = True
        random_ops_util.get_key_counter_alg = chosen


choose_algorithm()
