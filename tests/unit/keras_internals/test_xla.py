"""Canaries: private APIs of XLA behave as in Keras 3.15 and TensorFlow 2.21."""

import tensorflow as tf

from kopt import keras_internals as internals


def test_operations_that_xla_can_compile_are_listed() -> None:
    names = internals.compilable_operations()
    assert {"MatMul", "StatelessRandomUniformV2", "While", "ResourceGather"} <= names
    assert not {"StringSplitV2", "PyFunc", "EagerPyFunc", "LookupTableFindV2", "IteratorGetNext", "PrintV2"} & names


def test_the_compiler_says_what_it_refuses_and_runs_nothing() -> None:
    count = tf.Variable(0.0)

    def step(x):
        count.assign_add(1.0)
        return tf.reshape(x, [2, -1])

    traced = tf.function(step).get_concrete_function(tf.TensorSpec([None]))
    tf.random.set_seed(1)
    expected = tf.random.uniform([])
    tf.random.set_seed(1)
    assert internals.compiler_refusal(traced, [tf.TensorSpec([4])]) == ""
    assert "requires a multiple of 2" in internals.compiler_refusal(traced, [tf.TensorSpec([3])])
    assert float(count) == 0 and float(tf.random.uniform([])) == float(expected)


def test_compile_notes_what_it_was_told_about_jit(network) -> None:
    assert [internals.asked_jit(network(jit_compile=told)) for told in ("auto", True, False)] == [None, True, False]
    model = network()
    model.compile("sgd", "mse", None, None, None, False, 1, False)
    assert internals.asked_jit(model) is False and model.compile.__name__ == "compile"


def test_what_keras_objects_to_jit_is_said(network) -> None:
    model = network()
    assert internals.jit_objection(model) == ""
    model.layers[0].supports_jit = False
    assert internals.jit_objection(model) == f"{model.layers[0].name} has supports_jit=False"


def test_random_algorithms_are_threefry_in_a_step_for_xla_alone() -> None:
    def algorithms(draw) -> set[str]:
        traced = tf.function(draw).get_concrete_function()
        return {op.type for op in traced.graph.get_operations() if op.type == "StatelessRandomGetKeyCounter"}

    draw = lambda: tf.random.stateless_normal([2], [1, 2])

    def fast():
        with internals.fast_random():
            return tf.cond(tf.random.stateless_uniform([], [3, 4]) < 0.5, draw, draw)

    assert algorithms(draw) and not algorithms(fast)
