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
from kopt.keras_internals.types import PrivateModel
from kopt.values.types import ConcreteFunction, Config, KerasModel, Tensor, TensorSpec

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


def compiler_refusal(traced: ConcreteFunction, specs: Sequence[TensorSpec]) -> str:
    """Return why XLA's compiler refuses a concrete function, empty if it does not; the function does not run.

    Args:
        traced: The concrete function. It must hold no strings: XLA ends the process for them.
        specs: The shapes and types of its inputs, without captured ones; all sizes are known.
    """
    platform = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    how = {"device_name": tf.zeros([]).device, "platform_name": platform, "stage": "hlo_serialized"}
    what = {"function_name": traced.name, "flat_args": list(specs), "captured_inputs": traced.captured_inputs}
    try:  # experimental_get_compiler_ir does the same, but draws a random number to find the device
        context.context().get_compiler_ir(**how, **what)
    except ValueError as error:  # by which TensorFlow raises all refusals of the compiler
        said = str(error)
        if not said.startswith("Failed getting HLO text"):
            raise
        return said.partition("\n")[0]
    return ""


# What Keras says


def jit_objection(model: KerasModel) -> str:
    """Return why Keras would not compile a model with XLA on any device; empty if it would."""
    layers = [layer.name for layer in flat_layers(model) if not layer.supports_jit]
    if layers:
        return f"{', '.join(layers)} {'has' if len(layers) == 1 else 'have'} supports_jit=False"
    return "" if model_supports_jit(model) else "operations are to be deterministic"


def asked_jit(model: KerasModel) -> bool | None:
    """Return the value given as `compile(jit_compile=)`; None for "auto".

    Keras keeps only the decision that "auto" leads to, False on a CPU, so kopt records the argument of each compile.
    For a model that was compiled before kopt was imported, or loaded from a file, False counts as "auto".
    """
    return vars(model).get(ASKED)


def note_jit() -> None:
    """Make Keras' compile record its argument `jit_compile`, and the setter of `jit_compile` its value."""
    compile_, load, setting = Trainer.compile, Trainer.compile_from_config, Trainer.jit_compile

    @functools.wraps(compile_)
    def noting_compile(self: PrivateModel, *args: Any, **kwargs: Any) -> None:
        compile_(self, *args, **kwargs)
        asked = inspect.signature(compile_).bind(self, *args, **kwargs).arguments.get("jit_compile", "auto")
        self.__dict__[ASKED] = None if asked == "auto" else bool(asked)

    @functools.wraps(load)
    def noting_load(self: PrivateModel, config: Config) -> None:
        load(self, config)
        self.__dict__[ASKED] = asked_jit(self) or None

    def set_jit(self: PrivateModel, value: bool) -> None:
        setting.fset(self, value)
        self.__dict__[ASKED] = bool(value)

    if "notes_jit" not in vars(compile_):
        vars(noting_compile)["notes_jit"] = True
        Trainer.compile, Trainer.compile_from_config = noting_compile, noting_load
        Trainer.jit_compile = property(setting.fget, set_jit, doc=setting.__doc__)


note_jit()


# Random numbers

# The graph of the step that is being traced for XLA.
traced_for_xla: contextvars.ContextVar[tf.Graph | None] = contextvars.ContextVar("traced_for_xla", default=None)


@contextlib.contextmanager
def fast_random() -> Iterator[None]:
    """Make random operations that are traced in the block use Threefry where TensorFlow would choose the algorithm.

    On a CPU XLA takes 180 times as long for TensorFlow's choice (11.4 ms for 65,536 uniform numbers; Threefry takes
    0.06, Philox 0.38, TensorFlow's own kernel without XLA 0.20). TensorFlow has no Threefry outside XLA, so functions
    that are made elsewhere, and may run there, stay as they are. Keras draws the same seeds, which advance alike.
    """
    token = traced_for_xla.set(tf.compat.v1.get_default_graph())
    try:
        yield
    finally:
        traced_for_xla.reset(token)


def in_step_for_xla() -> bool:
    """Return whether the operation that is being made belongs to a step for XLA, or to its branches and loops."""
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
    def chosen(seed: Tensor, alg: Tensor | str | int | None) -> tuple[Tensor, Tensor, Tensor]:
        open_ = alg is None or not tf.is_tensor(alg) and random_ops_util.convert_alg_to_int(alg) == AUTOMATIC
        return choose(seed, "threefry" if open_ and in_step_for_xla() else alg)

    if "chooses_fast" not in vars(choose):
        vars(chosen)["chooses_fast"] = True
        random_ops_util.get_key_counter_alg = chosen


choose_algorithm()
