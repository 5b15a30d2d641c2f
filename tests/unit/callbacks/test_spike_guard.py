"""Back to the last good state after a spike."""

import keras
import numpy as np
import pytest

from kopt.callbacks import Average, LearningRate, SpikeGuard
from kopt.callbacks.learning_rate import multiplier
from kopt.schedules import Constant
from kopt.training import Loop, skipped

HOW = {"batch_size": 1, "shuffle": False, "verbose": 0}


def noisy(count: int = 200):
    """A linear target with noise."""
    random = np.random.default_rng(0)
    x = random.normal(size=(count, 10)).astype("float32")
    return x, (x[:, :1] + 0.3 * random.normal(size=(count, 1))).astype("float32")


class Follow(keras.callbacks.Callback):
    """The weights, momenta and rate after every program call."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        optimizer = self.model.optimizer
        momenta = [variable.numpy() for variable in optimizer.variables[2:]]
        self.seen.append((*self.model.get_weights(), *momenta, float(optimizer.learning_rate)))


@pytest.mark.parametrize("loop", [False, True])
def test_after_a_spike_the_last_copy_is_back_and_the_rate_is_lower(loop: bool, network) -> None:
    x, y = noisy()
    y[150] = 1e5
    model, follow = network(keras.optimizers.SGD(0.01, momentum=0.5)), Follow()
    fit = Loop(model, jit=False).fit if loop else model.fit
    history = fit(x, y, callbacks=[SpikeGuard(10, factor=0.25), follow], **HOW).history
    assert history["spikes"] == [1.0]
    # Copies are after the steps 11, 21, ... for the first is before step 1.
    for one, other in zip(follow.seen[150][:-1], follow.seen[149][:-1]):
        np.testing.assert_array_equal(one, other)
    assert follow.seen[149][-1] == pytest.approx(0.01) and follow.seen[150][-1] == pytest.approx(0.0025)
    assert int(model.optimizer.iterations) == 200
    assert history["loss"][0] < 10  # the broken example's is not in the mean


def test_copies_are_kept_for_so_many_updates(network) -> None:
    x, y = noisy()
    y[157] = 1e5
    model, follow = network(keras.optimizers.SGD(0.01)), Follow()
    model.fit(x, y, callbacks=[SpikeGuard(10), follow], **HOW)
    for one, other in zip(follow.seen[157][:-1], follow.seen[149][:-1]):
        np.testing.assert_array_equal(one, other)


def test_no_alarm_without_a_spike_even_with_single_examples(network) -> None:
    x, y = noisy(1000)
    stock, model = network("sgd", steps_per_execution=50), network("sgd", steps_per_execution=50)
    expected = stock.fit(x, y, epochs=3, **HOW).history
    found = model.fit(x, y, epochs=3, callbacks=[SpikeGuard()], **HOW).history
    assert found.pop("spikes") == [0.0] * 3 and found == expected


@pytest.mark.parametrize("jit", [False, True])
def test_a_run_of_gradients_that_are_not_finite(jit: bool, network) -> None:
    x, y = noisy()
    x[100:106] = np.nan
    model = network("sgd")
    callbacks = [LearningRate(Constant(0.01)), SpikeGuard(10, patience=4, tries=1)]
    history = Loop(model, jit=jit).fit(x, y, callbacks=callbacks, **HOW).history
    assert history["spikes"] == [1.0] and float(skipped(model)) == 6
    assert float(multiplier(model.optimizer)) == 0.5
    assert np.isfinite(model.get_weights()[0]).all()


def test_after_so_many_tries_it_stops_with_the_last_good_state(network) -> None:
    x, y = noisy(400)
    y[[100, 200, 300]] = 1e6
    model, follow = network(keras.optimizers.SGD(0.01)), Follow()
    message = r"the loss has spiked 3 times, the last time in epoch 1 at the learning rate 0.0025: the rate is too high"
    with pytest.raises(RuntimeError, match=message):
        model.fit(x, y, callbacks=[follow, SpikeGuard(1, tries=2)], **HOW)
    for one, other in zip(model.get_weights(), follow.seen[299][:4]):
        np.testing.assert_array_equal(one, other)


def test_the_rate_goes_on_falling_where_no_copy_is_made_between_spikes(network) -> None:
    x, y = noisy()
    y[[100, 150]] = 1e6
    model = network(keras.optimizers.SGD(0.01))
    history = model.fit(x, y, callbacks=[SpikeGuard(1000)], **HOW).history
    assert history["spikes"] == [2.0] and float(model.optimizer.learning_rate) == pytest.approx(0.0025)


def test_averages_are_put_back_too(network) -> None:
    x, y = noisy()
    y[150] = 1e6
    model = network("sgd")
    Loop(model, jit=False).fit(x, y, callbacks=[Average(), SpikeGuard(10)], **HOW)
    assert np.abs(model.get_weights()[0]).max() < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every must be a whole number >= 1, got 0"),
        ({"deviations": 0.0}, "deviations must be > 0, got 0.0"),
        ({"patience": 1.5}, "patience must be a whole number >= 1, got 1.5"),
        ({"factor": 0.0}, r"factor must be in \(0, 1\], got 0.0"),
        ({"tries": -1}, "tries must be a whole number >= 0, got -1"),
    ],
)
def test_bad_arguments(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpikeGuard(**arguments)
