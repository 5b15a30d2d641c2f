"""Canaries: functions under names of their content, and TensorFlow's start, as in TensorFlow 2.21."""

import gc

import pytest
import tensorflow as tf

from kopt import keras_internals as internals


def traced(variable, factor: float = 2.0, layer: str = "a", jit: bool = True):
    """Return a function with a loop, a condition and a call, that adds to a variable what it returns."""
    inner = tf.function(lambda x: tf.multiply(x, factor, name=f"{layer}_inner"))

    def run(x):
        with tf.name_scope(layer):
            doubled = lambda y: tf.cond(tf.reduce_sum(y) > 0, lambda: inner(y), lambda: y)
            y = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, doubled(y)), (0, x))[1]
            return {"y": y, "sum": variable.assign_add(y)}

    return tf.function(run, jit_compile=jit).get_concrete_function(tf.TensorSpec([2]))


def test_equal_functions_have_one_name_and_their_own_variables() -> None:
    one, other = tf.Variable([1.0, 2.0], name="one"), tf.Variable([0.0, 0.0], name="other")
    first, second = (internals.named_by_content(traced(v, layer=v.name[:-2])) for v in (one, other))
    assert internals.name_of(first) == internals.name_of(second) and internals.name_of(first).startswith("kopt_")
    first(tf.ones([2]))
    assert one.numpy().tolist() == [9, 10] and other.numpy().tolist() == [0, 0]
    found = second(tf.ones([2]))
    assert found["y"].numpy().tolist() == [8, 8] and found["sum"].numpy().tolist() == other.numpy().tolist() == [8, 8]


def test_functions_with_another_constant_or_compiler_have_another_name() -> None:
    variable = tf.Variable([1.0, 2.0])
    functions = [traced(variable), traced(variable, factor=3.0), traced(variable, jit=False)]
    assert len({internals.name_of(internals.named_by_content(function)) for function in functions}) == 3


def test_a_copy_can_be_called_in_a_graph_and_outlives_its_equals() -> None:
    variable = tf.Variable([0.0, 0.0])
    copies = [internals.named_by_content(traced(variable)) for _ in range(2)]
    del copies[0]
    gc.collect()

    @tf.function
    def outer(x):
        for _ in tf.range(2):
            copies[0](x)
        return copies[0](-x)["y"]

    assert outer(tf.ones([2])).numpy().tolist() == [-1, -1] and variable.numpy().tolist() == [15, 15]


def test_determinism_is_in_the_name() -> None:
    variable = tf.Variable([0.0, 0.0])
    before = internals.name_of(internals.named_by_content(traced(variable)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kopt.keras_internals.functions.config.is_op_determinism_enabled", lambda: True)
        assert internals.name_of(internals.named_by_content(traced(variable))) != before


def test_tensorflow_looks_for_devices_at_the_first_tensor(python) -> None:
    code = """
import keras, tensorflow as tf
from kopt import keras_internals as internals
print(internals.devices_started())
tf.config.list_physical_devices()
print(internals.devices_started())
"""
    assert python("-c", code).stdout.split()[-2:] == ["False", "True"]
