"""One writer of the rate, and values that are no callbacks: refused at the start, in Keras' fit and in Loop."""

import copy
import pickle

import keras
import pytest

import kopt
from kopt.callbacks import EMA, SWA, LearningRate, ReduceOnPlateau
from kopt.keras_internals import called_with
from kopt.rules import Adam
from kopt.schedules import Constant, Cosine
from kopt.training import Loop

RATE = LearningRate(Constant(0.1))


class Halve(keras.callbacks.Callback):
    """A user's own writer of the rate, which writes late."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            self.model.optimizer.learning_rate = 0.01


class Gentle(keras.callbacks.ReduceLROnPlateau):
    """A user's subclass of Keras' writer."""


def fits(network):
    """A fit of Keras and one of Loop, each with a model of its own."""
    return [network("sgd").fit, Loop(network("sgd"), jit=False).fit]


WRITERS = [
    (lambda: keras.callbacks.ReduceLROnPlateau("loss"), "ReduceLROnPlateau", "kopt.callbacks.ReduceOnPlateau goes"),
    (lambda: Gentle("loss"), "ReduceLROnPlateau", "kopt.callbacks.ReduceOnPlateau goes"),
    (lambda: keras.callbacks.LearningRateScheduler(lambda epoch: 0.1), "LearningRateScheduler", "the whole schedule"),
]


@pytest.mark.parametrize(("make", "kind", "instead"), WRITERS)
@pytest.mark.parametrize("first", [False, True])
def test_kerass_writers_beside_it_are_refused_before_the_first_step(
    make, kind: str, instead: str, first: bool, network, points
) -> None:
    for fit in fits(network):
        callbacks = [make(), RATE] if first else [RATE, make()]
        message = f"^callbacks must hold no {kind} beside LearningRate, which alone sets the rate: .*{instead}.*, got "
        with pytest.raises(ValueError, match=message):
            fit(*points, epochs=20, verbose=0, callbacks=callbacks)
        assert int(fit.__self__.optimizer.iterations if isinstance(fit.__self__, keras.Model) else 0) == 0
    assert int(fit.__self__.model.optimizer.iterations) == 0


def test_alone_keras_writers_and_kopts_own_beside_it_go_on_working(network, points) -> None:
    for fit in fits(network):
        fit(*points, verbose=0, callbacks=[keras.callbacks.ReduceLROnPlateau("loss")])
        fit(*points, verbose=0, callbacks=[RATE, ReduceOnPlateau("loss")])


def test_any_other_writer_is_refused_at_its_first_write(network, points) -> None:
    for fit in fits(network):
        with pytest.raises(
            ValueError, match="^learning_rate must be left to LearningRate.*ReduceOnPlateau.*, got 0.01"
        ):
            fit(*points, epochs=5, verbose=0, callbacks=[LearningRate(Constant(0.1)), Halve()])


VALUES = [
    (EMA(0.9), "kopt.callbacks.Average(EMA(0.9))"),
    (SWA(0.5), "kopt.callbacks.Average(SWA(0.5))"),
    (Cosine(0.1).warmup(1), "kopt.callbacks.LearningRate(Cosine(0.1).warmup(1))"),
    (Adam(), "kopt.optimizers.Optimizer(Adam()) in compile"),
    (kopt.regularizers.L2(0.1), "kopt.regularizers.attach(model, L2(0.1))"),
    (kopt.training.clips.GlobalNorm(1), "kopt.training.TrainStep(model, clip=GlobalNorm(1))"),
    (kopt.augment.Shift(0.2), "kopt.training.TrainStep(model, augment=Shift(0.2))"),
]


@pytest.mark.parametrize(("value", "code"), VALUES)
def test_a_value_in_place_of_a_callback_says_what_to_write(value, code: str, network, points) -> None:
    keras_fit, loop_fit = fits(network)
    for fit, error in ((keras_fit, AttributeError), (loop_fit, ValueError)):
        for callbacks in ([value], [RATE, value]):
            with pytest.raises(error) as caught:
                fit(*points, verbose=0, callbacks=callbacks)
            assert str(caught.value) == f"callbacks must be Keras callbacks: use {code}, got {value!r}."


def test_other_attributes_that_a_value_lacks_are_named_as_ever() -> None:
    with pytest.raises(AttributeError, match="^'EMA' object has no attribute 'rate'"):
        _ = EMA(0.9).rate
    assert not hasattr(EMA(0.9), "on_epoch_end") and copy.copy(EMA(0.9)) == pickle.loads(pickle.dumps(EMA(0.9)))


def test_a_list_is_found_on_the_stack_or_among_all_objects() -> None:
    """The canary of how a callback finds those beside it: while it is called, and when its user calls it."""
    found = []

    class Asks(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            found.append(called_with(self))

    asks, other = Asks(), keras.callbacks.Callback()
    listed = keras.callbacks.CallbackList([asks, other])
    listed.on_train_begin()
    asks.on_train_begin()
    assert found == [[asks, other]] * 2
    with pytest.raises(LookupError, match="Asks is in no list of callbacks"):
        called_with(Asks())
