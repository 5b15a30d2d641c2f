"""A user's callback with work in the graph: installed, followed, removed and refused by the base class."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import callbacks
from kopt.training import Loop
from kopt.training.callback_needs import spans_epochs, watches_batches
from kopt.training.steps.update_hooks import working

HOW = {"batch_size": 20, "shuffle": False, "verbose": 0}
both = pytest.mark.parametrize("loop", [False, True])


class Count(callbacks.Callback):
    """Counts updates in the graph; overrides every callback method that the base class works in, without `super()`."""

    traces = 0

    def build(self, model):
        self.add_array("count")

    def on_update(self, update):
        type(self).traces += 1
        self.arrays["count"].assign_add(tf.cast(update.made, "float32"))

    def on_epoch_begin(self, epoch, logs=None):
        pass

    def on_epoch_end(self, epoch, logs=None):
        logs["count"] = float(self.read_array("count"))

    def on_train_batch_begin(self, batch, logs=None):
        pass

    def on_train_end(self, logs=None):
        pass


class Half(callbacks.Callback):
    """Takes half of each update back."""

    needs = frozenset({"before"})
    changes_weights = True

    def on_update(self, update):
        for weight, old in zip(update.weights, update.before):
            weight.assign((weight + old) / 2)


class Keyed(Count):
    trace_key = "any"


class Die(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("died")


def fitted(model, points, *listed, loop: bool, epochs: int = 2):
    fit = Loop(model, jit=False).fit if loop else model.fit
    return fit(*points, epochs=epochs, callbacks=list(listed), **HOW).history


@both
def test_a_callback_is_removed_at_the_end_and_acts_again_in_the_next_fit(loop: bool, network, points) -> None:
    model, count = network("sgd"), Count()
    assert fitted(model, points, count, loop=loop)["count"] == [5.0, 10.0]
    assert working(model) == () and "train_step" not in vars(model)
    fitted(model, points, loop=loop)
    assert fitted(model, points, count, loop=loop)["count"] == [15.0, 20.0]  # held by the optimizer


@both
def test_a_callback_that_changes_weights_comes_first(loop: bool, network, points) -> None:
    halved, slow = network(keras.optimizers.SGD(0.01)), network(keras.optimizers.SGD(0.005))
    slow.set_weights(halved.get_weights())
    logs = [fitted(halved, points, callbacks.GradientMonitor(1), Half(), loop=loop)]
    logs += [fitted(slow, points, callbacks.GradientMonitor(1), loop=loop)]
    np.testing.assert_allclose(logs[0]["update_norm"], logs[1]["update_norm"], rtol=1e-4)
    for one, other in zip(halved.get_weights(), slow.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-6)


@both
def test_a_replaced_optimizer_is_followed(loop: bool, network, points) -> None:
    model = network("sgd")

    class Replace(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                model.compile("adam", "mse")

    half = Half()
    assert fitted(model, points, Count(), half, Replace(), loop=loop, epochs=3)["count"] == [5.0, 10.0, 5.0]
    assert working(model) == ()


@both
def test_what_an_interrupted_fit_has_left_does_not_act_in_the_next(loop: bool, network, points) -> None:
    model = network("sgd")
    with pytest.raises(RuntimeError, match="died"):
        fitted(model, points, Count(), Die(), loop=loop)
    assert len(working(model)) == (0 if loop else 1)
    assert fitted(model, points, Count(), loop=loop)["count"] == [10.0, 15.0]
    assert working(model) == ()


@both
def test_two_of_a_class_that_would_change_the_same_arrays_are_refused(loop: bool, network, points) -> None:
    message = "callbacks must not hold two of a class that change the same arrays, got 'Count'"
    model = network("sgd")
    with pytest.raises(ValueError, match=message):
        fitted(model, points, Half(), Count(), Count(), loop=loop)
    assert working(model) == () and "train_step" not in vars(model)
    assert fitted(model, points, Half(), Count(), loop=loop)["count"] == [5.0, 10.0]


@both
def test_hooks_of_a_training_that_a_callback_kept_from_beginning_do_not_act_in_the_next(
    loop: bool, network, points
) -> None:
    class Fail(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise RuntimeError("failed")

    model = network("sgd")
    with pytest.raises(RuntimeError, match="failed"):
        fitted(model, points, Fail(), Count(), loop=loop)
    assert fitted(model, points, Count(), loop=loop)["count"] == [5.0, 10.0]


def test_needs_may_be_any_collection_of_texts(network, points) -> None:
    class Losses(Count):
        needs = {"loss"}

        def on_update(self, update):
            self.arrays["count"].assign_add(0 * update.loss + 1)

    class Text(Count):
        needs = "loss"

    assert fitted(network("sgd"), points, Losses(), loop=True)["count"] == [5.0, 10.0]
    with pytest.raises(ValueError, match="^needs must be a set of texts, got 'loss'"):
        fitted(network("sgd"), points, Text(), loop=True)


def test_callbacks_with_equal_keys_share_a_trace(network, points) -> None:
    traces = {}
    for kind in (Count, Keyed):
        kind.traces, loop = 0, Loop(network("sgd"), jit=False)
        for _ in range(3):
            loop.fit(*points, callbacks=[kind()], **HOW)
        traces[kind] = kind.traces
    assert traces[Count] == 3 * traces[Keyed] > 0


def test_a_callback_that_could_never_act_is_refused(network, points) -> None:
    model = network("sgd", run_eagerly=True)
    count = Count()
    count.set_model(model)
    count.on_epoch_begin(0)
    with pytest.raises(ValueError, match="must train by its train_step, .* for Count to act"):
        count.on_epoch_end(0, {})

    class Losses(callbacks.Callback):
        needs = frozenset({"loss"})

        def on_update(self, update):
            pass

    class Own(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    inputs = keras.Input((10,))
    own = Own(inputs, keras.layers.Dense(1)(inputs), name="own")
    own.compile("sgd", "mse")
    with pytest.raises(ValueError, match="must not have a train_step of its own, for Losses reads the loss, got 'own'"):
        fitted(own, points, Losses(), loop=True)
    assert fitted(own, points, Count(), loop=True)["count"] == [5.0, 10.0]


def test_what_is_not_declared_cannot_be_read(network, points) -> None:
    class Undeclared(callbacks.Callback):
        def on_update(self, update):
            _ = update.gradients

    class Unknown(Undeclared):
        needs = frozenset({"gradient"})

    with pytest.raises(ValueError, match=r"needs must hold 'gradients' for on_update to read it, got \[\]"):
        fitted(network("sgd", run_eagerly=True), points, Undeclared(), loop=False)
    with pytest.raises(ValueError, match=r"needs must hold none but 'before', .*, got \['gradient'\]"):
        fitted(network("sgd"), points, Unknown(), loop=False)


def test_needs_may_be_read_in_branches(network, points) -> None:
    class Branches(callbacks.Callback):
        needs = frozenset({"gradients", "loss", "examples"})

        def build(self, model):
            self.add_array("sums", (3,))

        def on_update(self, update):
            norm = lambda: tf.linalg.global_norm(update.gradients)
            read = lambda: tf.stack([norm(), update.loss, tf.cast(update.examples, "float32")])
            sums = tf.cond(update.count == 1, read, lambda: tf.zeros(3))
            self.arrays["sums"].assign_add(sums + tf.cond(update.count == 2, read, lambda: tf.zeros(3)))

    model, branches = network("sgd"), Branches()
    fitted(model, points, branches, loop=True, epochs=1)
    assert branches.read_array("sums")[2] == 40.0


def test_methods_of_the_base_class_keep_no_epochs_apart() -> None:
    assert spans_epochs(Half()) and not watches_batches(Half(), "train")
    assert not spans_epochs(Count()) and watches_batches(Count(), "train")


def test_the_old_name_of_a_flag_is_honoured(network, points) -> None:
    """By a class that derives from Keras' callback, as by one that derives from kopt's."""
    for base in (keras.callbacks.Callback, callbacks.Callback):

        class Old(base):
            any_stretch = True

            def on_train_batch_end(self, batch, logs=None):
                pass

        with pytest.warns(DeprecationWarning, match="Old.any_stretch is now any_chunk"):
            assert not watches_batches(Old(), "train")

        class New(Old):
            any_chunk = False

        assert watches_batches(New(), "train")
