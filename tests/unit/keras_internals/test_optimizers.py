"""Canaries: private APIs of optimizers behave as in Keras 3.15 and TensorFlow 2.21."""

import keras
import pytest
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.keras_internals import optimizers
from kopt.state.knob import Knob
from kopt.values.annotations import conforms


def test_a_list_optimizer_updates_all_parameters_in_one_call() -> None:
    class Sum(internals.ListOptimizer):
        def compute(self, gradients, parameters, state, rate, count):
            return [
                None if gradient is None else parameter - rate * gradient * tf.cast(count, "float32")
                for parameter, gradient in zip(parameters, gradients)
            ], []

    one, other = keras.Variable(0.0), keras.Variable(0.0)
    optimizer = Sum(learning_rate=0.1)
    optimizer.build([one, other])
    optimizer.apply([keras.ops.ones(()), keras.ops.ones(())], [one, other])
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([keras.ops.ones(()), None], [one, other])
    assert float(one.numpy()) == pytest.approx(-0.3) and float(other.numpy()) == pytest.approx(-0.1)


@pytest.mark.parametrize("ending", ["model.keras", "model.weights.h5"])
def test_a_knob_on_an_optimizer_is_saved_and_a_file_without_it_keeps_it(ending: str, network, tmp_path) -> None:
    with_knob, without = network("adam"), network("adam")
    for model in (with_knob, without):
        model.optimizer.build(model.trainable_variables)
    with_knob.optimizer.kopt_knob = Knob(0.25)
    for model, name in ((with_knob, "with"), (without, "without")):
        path = str(tmp_path / (name + ending))
        model.save(path) if ending == "model.keras" else model.save_weights(path)
    target = network("adam")
    target.optimizer.build(target.trainable_variables)
    target.optimizer.kopt_knob = Knob(0.5)
    if ending == "model.keras":
        assert keras.saving.load_model(tmp_path / f"with{ending}").optimizer.built
        return
    target.load_weights(tmp_path / f"without{ending}")
    assert float(target.optimizer.kopt_knob) == 0.5
    target.load_weights(tmp_path / f"with{ending}")
    assert float(target.optimizer.kopt_knob) == 0.25
    without.load_weights(tmp_path / f"with{ending}")


def test_decay_comes_before_each_update_of_the_chosen_variables() -> None:
    optimizer, chosen, other = keras.optimizers.SGD(1.0), keras.Variable(2.0), keras.Variable(2.0)
    optimizer.build([chosen, other])
    internals.decay_before_updates(optimizer, [chosen], lambda: 0.25)
    optimizer.apply([keras.ops.ones(()), keras.ops.ones(())], [chosen, other])
    assert float(chosen.numpy()) == 0.5 and float(other.numpy()) == 1.0


def test_a_wrapping_optimizer_has_the_inner_ones_numbers() -> None:
    optimizer = internals.WrappingOptimizer(keras.optimizers.Adam(0.5, loss_scale_factor=4.0), "around")
    optimizer.build([weight := keras.Variable(1.0)])
    optimizer.learning_rate = 0.25
    optimizer.apply([keras.ops.ones(())], [weight])
    assert float(optimizer.inner_optimizer.learning_rate) == 0.25 and int(optimizer.iterations) == 1
    assert float(optimizer.scale_loss(2.0)) == 8.0 and optimizer.variables == optimizer.inner_optimizer.variables
    keras.optimizers.LossScaleOptimizer(optimizer)
    assert optimizer.inner_optimizer.loss_scale_factor is None  # as Keras wants it of what it wraps


def test_the_arguments_of_keras_optimizers_are_all_known() -> None:
    theirs = {name: one for name, one in optimizers.keras_arguments().items() if one.kind is not one.VAR_KEYWORD}
    assert set(theirs) - {"self", "learning_rate"} == set(optimizers.ARGUMENTS)
    for name, annotation in optimizers.ARGUMENTS.items():
        default = theirs[name].default
        assert default is theirs[name].empty or conforms(default, annotation), name
