"""The list of what training changes: complete, and put back to the bit."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.augment import Jitter
from kopt.keras_internals import global_seeds, raw
from kopt.state import GraphSnapshot, Snapshot, held_knob, held_slots, knob_variables, training_variables
from kopt.training import TrainStep, skipped
from kopt.training.steps.installing import install


class Noisy(keras.layers.Layer):
    """Noise by Keras' global seed generator."""

    def call(self, x):
        return x + 0.01 * keras.random.normal(keras.ops.shape(x))


class Counting:
    """The work of an update hook, with an array."""

    needs: frozenset = frozenset()
    changes_weights = False

    def __init__(self, model):
        self.array = held_slots(model.optimizer, "kopt_counting", [np.zeros(2)]).arrays[0]
        self.arrays = {"counts": self.array}

    def on_update(self, update):
        self.array.assign_add(tf.ones(2, self.array.dtype))


class Everything:
    """A model with everything that training can change, and a step that changes it all."""

    def __init__(self):
        keras.utils.set_random_seed(5)
        inputs = keras.Input((4,))
        self.inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
        self.inner.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
        hidden = keras.layers.BatchNormalization()(self.inner(Noisy()(inputs)))
        outputs = keras.layers.Dense(1)(keras.layers.Dropout(0.5, seed=1)(hidden))
        self.model = model = keras.Model(inputs, outputs)
        optimizer = keras.optimizers.Adam(0.01, use_ema=True)
        model.compile(keras.optimizers.LossScaleOptimizer(optimizer), "mse", metrics=["mae"])
        model.others = [keras.optimizers.SGD(0.1, momentum=0.9)]
        for one in (model.optimizer, self.inner.optimizer, *model.others):
            one.build(model.trainable_variables)
        self.hook = install(model, "Counting", (), lambda: Counting(model))
        self.step = TrainStep(model, augment=Jitter(0.1))
        self.by_others = [self.inner.optimizer, *model.others]
        self.run = tf.function(self.traced)
        self.x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
        self.run(self.x, self.x[:, :1])  # what is made by a first call is made

    def traced(self, x, y):
        self.step((x, y))
        for optimizer in self.by_others:
            weights = self.model.trainable_variables
            optimizer.apply([0.001 * tf.ones_like(weight) for weight in weights], weights)

    def train(self) -> None:
        """Train on a good batch, and on one that is not finite."""
        for factor in (1.0, np.inf):
            self.run(self.x * factor, self.x[:, :1])

    def kinds(self):
        """The kinds of what training changes, as lists of variables."""
        model, scaler = self.model, self.model.optimizer
        norm, dropout = (model.get_layer(name) for name in ("batch_normalization", "dropout"))
        adam = scaler.inner_optimizer
        return {
            "weights": model.trainable_variables,
            "statistics": norm.non_trainable_variables,
            "seeds": [dropout.seed_generator.state],
            "global seed": global_seeds(),
            "loss scale": [scaler.dynamic_scale, scaler.step_counter],
            "moments": [*adam._momentums, *adam._velocities],
            "count of updates": [adam.iterations],
            "averages": adam._model_variables_moving_average,
            "optimizer in a list": model.others[0].variables,
            "optimizer of a model inside": self.inner.optimizer.variables,
            "metrics": model.metrics_variables,
            "arrays of hooks": self.hook.variables,
            "seeds of augmentations": self.step.seeds,
            "skipped steps": [skipped(model).value],
        }


@pytest.fixture
def everything():
    keras.utils.clear_session()
    return Everything()


def alive():
    """All TensorFlow variables of the process: what a step changes is among them, whoever holds it."""
    gc.collect()
    found = [one for one in gc.get_objects() if issubclass(type(one), tf.Variable)]
    return [(one, one.numpy()) for one in found if one.is_initialized()]


def changed(before):
    return [one for one, value in before if not np.array_equal(one.numpy(), value, equal_nan=value.dtype.kind == "f")]


def test_all_that_a_step_changes_is_listed_and_nothing_may_be_left_out(everything) -> None:
    listed = {id(one) for one in training_variables(everything.model, everything.step.variables)}
    before = alive()
    everything.train()
    moved = {id(one) for one in changed(before)}
    assert moved and not moved - listed
    for kind, variables in everything.kinds().items():
        left = listed - {id(raw(one)) for one in variables}
        assert moved - left, f"{kind}: nothing would tell that it is left out"


def test_a_snapshot_puts_all_back_to_the_bit(everything) -> None:
    before = alive()
    snapshot = Snapshot.take(everything.model, everything.step.variables)
    everything.train()
    assert changed(before)
    after = alive()
    snapshot.restore()
    assert not changed(before)
    everything.train()
    assert not changed(after)  # the same random numbers, moments and scales once more


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_a_program_puts_all_back_or_keeps_it(everything, kept: bool, jit: bool) -> None:
    variables = training_variables(everything.model, everything.step.variables)

    @tf.function(jit_compile=jit, autograph=False)
    def program(x, kept):
        snapshot = GraphSnapshot(variables)
        everything.traced(x, x[:, :1])
        snapshot.restore_unless(kept)

    before = alive()
    program(tf.constant(everything.x), tf.constant(kept))
    assert bool(changed(before)) is kept


def test_what_is_left_out_stays_unless_it_is_asked_for(network) -> None:
    model = network()
    knobs = [held_knob(model.optimizer, name, 1.0) for name in ("kopt_one", "kopt_other")]
    assert [raw(knob.value) for knob in knobs] == knob_variables(model)
    snapshot = Snapshot.take(model, [raw(knobs[0].value)], without=knob_variables(model))
    for knob in knobs:
        knob.set(2.0)
    snapshot.restore()
    assert [float(knob) for knob in knobs] == [1.0, 2.0]


def test_a_variable_is_listed_once(network) -> None:
    model = network()
    model.again = model.optimizer
    listed = training_variables(model, [model.optimizer.iterations, model.weights[0]])
    assert len(listed) == len({id(one) for one in listed}) and all(isinstance(one, tf.Variable) for one in listed)
