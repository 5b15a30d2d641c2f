"""Trains, evaluates and predicts with layers that XLA refuses, dies of or changes, by Loop and by Keras; prints both.

Command   python tests/contracts/refused_layers.py strings|numbers

A process of its own, for strings in XLA end it: after an XLA program has run. A line of JSON for each case and engine.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kopt.training import Loop
from kopt.training.execute import estimate

ENGINES = ("resident", "stream")
ROWS, BATCH = 44, 8  # with a short last batch


def layer(call: Callable[[Any], Any], **attributes: Any) -> Any:
    """Return a layer of a function, which must keep shapes."""

    class Own(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return call(x)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    own = Own()
    for name, value in attributes.items():
        setattr(own, name, value)
    return own


def shaped(result: Any, x: Any) -> Any:
    result.set_shape(x.shape)
    return result


def asserted(x: Any) -> Any:
    with tf.control_dependencies([tf.debugging.assert_less(x, 1e6)]):
        return tf.identity(x)


def printed(x: Any) -> Any:
    with tf.control_dependencies([tf.print("", end="", output_stream="file:///dev/null")]):
        return tf.identity(x)


def filled(x: Any) -> Any:
    return x + tf.reduce_sum(tf.fill([tf.cast(x[0, 0] * 0, tf.int32) + 4], 0.5))


def looked_up(x: Any) -> Any:
    return tf.cast(table.lookup(tf.cast(x > 0, tf.int64)), x.dtype) + x


@tf.function
def dropped(x: Any) -> Any:
    return tf.nn.experimental.stateless_dropout(x, 0.5, seed=[1, 2])


table = tf.lookup.StaticHashTable(
    tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1], tf.int64), tf.constant([3, 5], tf.int64)), -1
)
words = np.random.default_rng(0).choice(["a", "b c", "d"], (ROWS, 1))
numbers = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("float32")
images = np.random.default_rng(0).normal(size=(ROWS, 4, 4, 1)).astype("float32")
whole = np.random.default_rng(0).integers(0, 9, (ROWS, 4))


def adapted(one: Any, data: Any) -> Any:
    one.adapt(data)
    return one


# Case -> data, what the layers are, whether outputs are the same in each run.
Case = tuple[Any, Callable[[], list[Any]], bool]
STRINGS: dict[str, Case] = {
    "TextVectorization": (
        words,
        lambda: [adapted(layers.TextVectorization(output_sequence_length=3), words), layers.Embedding(9, 2)],
        True,
    ),
    "StringLookup": (words, lambda: [adapted(layers.StringLookup(), words), layers.Embedding(9, 2)], True),
    "Hashing of text": (words, lambda: [layers.Hashing(5), layers.Embedding(5, 2)], True),
    "a layer of text": (words, lambda: [layer(lambda x: tf.cast(tf.strings.length(x), tf.float32))], True),
}
NUMBERS: dict[str, Case] = {
    "IntegerLookup": (whole, lambda: [adapted(layers.IntegerLookup(), whole), layers.Embedding(12, 2)], True),
    "Hashing": (whole, lambda: [layers.Hashing(5), layers.Embedding(5, 2)], True),
    "a table": (numbers, lambda: [layer(looked_up)], True),
    "numpy_function": (
        numbers,
        lambda: [layer(lambda x: shaped(tf.numpy_function(np.tanh, [x], tf.float32), x))],
        True,
    ),
    "py_function": (numbers, lambda: [layer(lambda x: shaped(tf.py_function(tf.tanh, [x], tf.float32), x))], True),
    "an assertion": (numbers, lambda: [layer(asserted)], True),
    "check_numerics": (numbers, lambda: [layer(lambda x: tf.debugging.check_numerics(x, "bad"))], True),
    "print": (numbers, lambda: [layer(printed)], True),
    # Every operation has a kernel: only the compiler refuses.
    "a shape of data": (numbers, lambda: [layer(filled)], True),
    "supports_jit=False": (numbers, lambda: [layer(tf.tanh, supports_jit=False)], True),
    "dropout in a function": (numbers, lambda: [layer(dropped)], True),
    "a stateful draw": (numbers, lambda: [layer(lambda x: x + tf.random.uniform(tf.shape(x)))], False),
    "gamma": (numbers, lambda: [layer(lambda x: x + keras.random.gamma(tf.shape(x), 2.0, seed=3))], True),
    "categorical": (
        numbers,
        lambda: [layer(lambda x: x + tf.cast(keras.random.categorical(x, 4, seed=3), x.dtype))],
        True,
    ),
    "RandomFlip": (images, lambda: [layers.RandomFlip(seed=1)], False),
    "RandomRotation": (images, lambda: [layers.RandomRotation(0.2, seed=1)], False),
    "RandomTranslation": (images, lambda: [layers.RandomTranslation(0.1, 0.1, seed=1)], False),
    "sparse input": (numbers, lambda: [layers.Dense(2)], True),
}


def model_of(case: str) -> Any:
    keras.utils.set_random_seed(0)
    data, make, _ = CASES[case]
    kind = "string" if data is words else data.dtype.name
    body = [*make(), layers.Flatten(), layers.Dense(1, kernel_initializer="ones")]
    model = keras.Sequential([keras.Input(data.shape[1:], dtype=kind, sparse=case == "sparse input"), *body])
    model.compile(keras.optimizers.SGD(1e-3), "mse", metrics=["mae"])
    return model


def datasets(case: str) -> tuple[Any, Any]:
    """Return a dataset with targets and one without."""
    data = CASES[case][0]
    x = tf.sparse.from_dense(data) if case == "sparse input" else data
    both = tf.data.Dataset.from_tensor_slices((x, np.ones((ROWS, 1), "float32"))).batch(BATCH)
    return both, both.map(lambda x, _: x)


def ours(case: str, engine: str) -> dict[str, Any]:
    model = model_of(case)
    loop, how = Loop(model, engine=engine), {"verbose": 0}
    x, y = CASES[case][0], np.ones((ROWS, 1), "float32")
    if engine == "resident":
        how["batch_size"] = BATCH
        history = loop.fit(x, y, epochs=2, shuffle=False, **how).history
        scores, outputs = loop.evaluate(x, y, **how), loop.predict(x, **how)
    else:
        both, inputs = datasets(case)
        history = loop.fit(both, epochs=2, **how).history
        scores, outputs = loop.evaluate(both, **how), loop.predict(inputs, **how)
    programs = model.train_function, model.test_function, model.predict_function
    return found(model, history, scores, outputs) | {"xla": [program.xla for program in programs]}


def theirs(case: str) -> dict[str, Any]:
    model = model_of(case)
    both, inputs = datasets(case)
    history = model.fit(both, epochs=2, verbose=0).history
    scores = model.evaluate(both, verbose=0, return_dict=True)
    return found(model, history, scores, model.predict(inputs, verbose=0))


def found(model: Any, history: Any, scores: Any, outputs: Any) -> dict[str, Any]:
    numbers = [*history["loss"], *history["mae"], *scores.values(), *map(float, outputs.flatten())]
    states = [variable.numpy() for layer in model.layers for variable in layer.non_trainable_variables]
    seeds = [float(state) for state in np.ravel(states)]
    return {"updates": int(model.optimizer.iterations), "rows": len(outputs), "numbers": numbers, "seeds": seeds}


CASES = STRINGS | NUMBERS
# What only the compiler refuses, and draws that differ from run to run, are trained by both engines; the others by each
# in turn, for both ask the same function whether XLA takes the graph.
IN_BOTH = ("a shape of data", "a stateful draw", "RandomFlip")
ALWAYS_STREAM = (*STRINGS, "sparse input")


def engines_of(case: str) -> tuple[str, ...]:
    """Return the engines that a case is trained by."""
    if case in ALWAYS_STREAM:
        return ("stream",)
    return ENGINES if case in IN_BOTH else (ENGINES[list(NUMBERS).index(case) % 2],)


if __name__ == "__main__":
    estimate.COMPILE_SECONDS = estimate.LAUNCH_SECONDS = 0.0  # so that "auto" takes XLA for these few steps
    plain = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    plain.compile("sgd", "mse")
    Loop(plain, jit=True).fit(numbers, numbers[:, :1], verbose=0)
    for case in STRINGS if sys.argv[1] == "strings" else NUMBERS:
        expected = theirs(case)
        for engine in engines_of(case):
            line = {"case": case, "engine": engine, "same": CASES[case][2], "ours": ours(case, engine)}
            print(json.dumps(line | {"theirs": expected}), flush=True)
