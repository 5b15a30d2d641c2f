"""Canary: TensorFlow 2.21's switch of op determinism, and that it does not reach kernels that are there."""

CODE = """
import tensorflow as tf
from kopt import keras_internals as internals

def draw():
    return tf.raw_ops.SampleDistortedBoundingBox(image_size=[8, 8, 3], bounding_boxes=[[[0.0, 0, 1, 1]]])[0]

def refused(act):
    try:
        act()
    except tf.errors.InvalidArgumentError:
        return True
    return False

class Model:
    train_function = test_function = predict_function = "traced"

before, model = tf.function(draw), Model()
before(), draw()
print(internals.is_deterministic())
tf.config.experimental.enable_op_determinism()
print(internals.is_deterministic(), refused(before), refused(tf.function(draw)))
internals.enable_determinism(model)
print(refused(before), refused(draw), model.train_function, model.test_function, model.predict_function)
model.train_function = "traced"
internals.enable_determinism(model)
print(model.train_function)
"""


def test_what_ran_before_keeps_its_kernels_until_they_are_dropped(python) -> None:
    said = python("-c", CODE).stdout.splitlines()
    assert said == ["False", "True False True", "True True None None None", "traced"]
