"""The estimate whether XLA pays, and what "auto" makes of it."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.keras_internals import shorter_adam
from kopt.training import Loop
from kopt.training.execute import estimate as estimates
from kopt.training.execute.estimate import Estimate, Plan, estimate

SPEC = (tf.TensorSpec([None, 10]), tf.TensorSpec([None, 1]))


def plan_of(body, specs=SPEC, **how) -> Plan:
    function = tf.function(body, autograph=False)
    return Plan(1, lambda: function.get_concrete_function(*specs), **how)


@pytest.mark.parametrize(("steps", "pays"), [(None, False), (0, False), (10, False), (11, True)])
def test_it_pays_where_the_steps_save_more_than_compiling_takes(steps: int | None, pays: bool) -> None:
    assert Estimate(compiling=1.0, saved=0.1).pays(steps) is pays


def test_operations_and_bytes_are_counted(monkeypatch) -> None:
    monkeypatch.setattr(estimates, "COMPILE_SECONDS", 1.0)
    monkeypatch.setattr(estimates, "OPERATION_SECONDS", 1.0)
    monkeypatch.setattr(estimates, "BYTE_SECONDS", 1e-6)
    found = estimate(plan_of(lambda x, y: tf.tanh(x) @ tf.ones([10, 1]) - y, size=8, bodies=2))
    # tanh, the product and the difference; the product writes its bytes in XLA too.
    assert found == Estimate(compiling=6.0, saved=pytest.approx(3 + 4e-6 * (80 + 8)))


def test_the_kernel_of_adam_is_compiled_as_the_operations_of_its_formula(monkeypatch) -> None:
    """As XLA's program has them, see shorter_adam; a step starts one."""
    for name in ("COMPILE_SECONDS", "OPERATION_SECONDS"):
        monkeypatch.setattr(estimates, name, 1.0)
    weight, optimizer = keras.Variable(np.ones(3, "float32")), keras.optimizers.Adam()
    optimizer.build([weight])

    def cost(kernel: bool) -> Estimate:
        def update(gradient: tf.Tensor) -> None:
            with shorter_adam([optimizer], kernel):
                optimizer.apply([gradient], [weight])

        return estimate(plan_of(update, [tf.TensorSpec([3])]))

    formula, kernel = cost(False), cost(True)
    # The kernel's rate is one product more.
    assert kernel.compiling == formula.compiling + 1 and round(formula.saved - kernel.saved) == 14 - 2


def test_a_loop_over_a_sequence_runs_as_often_as_that_is_long() -> None:
    def scanned(x: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return tf.scan(lambda total, row: tf.tanh(total + row), x)

    short, long = (estimate(plan_of(scanned, (tf.TensorSpec([length, 4]), tf.TensorSpec([])))) for length in (10, 100))
    assert short.compiling == long.compiling and 5 < long.saved / short.saved < 11


def test_auto_takes_xla_where_the_steps_that_are_planned_pay_for_it(network, points, caplog, monkeypatch) -> None:
    monkeypatch.setattr("kopt.training.execute.xla.estimate", lambda plan: Estimate(1.0, 0.01))
    caplog.set_level(logging.DEBUG, "kopt")
    model = network()
    loop, how = Loop(model), {"batch_size": 10, "verbose": 0, "validation_data": points}
    loop.fit(*points, epochs=10, **how)
    assert (model.train_function.xla, model.test_function.xla) == (False, False)
    assert "XLA takes about 1.0 s to compile and saves 10000 us a step, 100 steps are planned" in caplog.text
    loop.fit(*points, epochs=11, validation_freq=2, **how)
    assert (model.train_function.xla, model.test_function.xla) == (True, False)
    loop.fit(*points, epochs=1, **how)  # what is compiled is kept
    assert (model.train_function.xla, model.test_function.xla) == (True, False)
    assert caplog.text.count("jit: True") == 2  # a line for each of the last two fits


def test_an_end_that_is_unknown_is_known_after_an_epoch(network, points, xla_pays) -> None:
    seen, model = [], network()
    data = tf.data.Dataset.from_tensor_slices(points).batch(10).filter(lambda *_: True)
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(model.train_function.xla))
    history = Loop(model).fit(data, epochs=3, callbacks=[look], shuffle=False, verbose=0).history
    assert seen == [False, True, True]
    with pytest.warns(UserWarning, match="ran out of data"):  # Keras says so at the unknown end
        expected = network().fit(data, epochs=3, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_fits_of_any_length_evaluations_and_predictions_are_a_program_each(jit: bool, network, points, caplog) -> None:
    caplog.set_level(logging.DEBUG, "kopt")
    model = network()
    for epochs in (1, 20, 100, 3):
        for validation in ({}, {"validation_data": points}):
            Loop(model, jit=jit).fit(*points, batch_size=16, epochs=epochs, verbose=0, **validation)
    every_batch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    Loop(model, jit=jit).fit(*points, batch_size=16, epochs=2, callbacks=[every_batch], verbose=0)
    Loop(model, jit=jit).fit(*points, batch_size=16, epochs=4, steps_per_epoch=7, verbose=0)
    for _ in range(2):
        Loop(model, jit=jit).evaluate(*points, batch_size=16, verbose=0)
        Loop(model, jit=jit).predict(points[0], batch_size=16, verbose=0)
    assert caplog.text.count("compiled in") == 3
    for function in (model.train_function, model.test_function, model.predict_function):
        assert len(function.traced.programs) == 1


def test_lengths_with_room_for_one_order_and_for_several_are_two_programs(network, points, monkeypatch) -> None:
    monkeypatch.setattr("kopt.training.feed.residents.ORDERS", 100)
    ours, theirs = network(), network()
    loop, how = Loop(ours, jit=False), {"batch_size": 10, "epochs": 3, "shuffle": False, "verbose": 0}
    for rows in (100, 20, 100, 50):  # room for one order, for five, and for two
        data = [part[:rows] for part in points]
        assert loop.fit(*data, **how).history == theirs.fit(*data, **how).history
    assert len(ours.train_function.traced.programs) == 2


def test_another_length_is_compiled_only_where_that_pays_too(network, points, monkeypatch) -> None:
    monkeypatch.setattr("kopt.training.execute.xla.estimate", lambda plan: Estimate(1.0, 0.01))
    model, seen = network(), []
    for rows, epochs in ((100, 11), (50, 1), (100, 1), (50, 21), (50, 1)):
        Loop(model).fit(*(part[:rows] for part in points), batch_size=10, epochs=epochs, verbose=0)
        seen.append(model.train_function.xla)
    assert seen == [True, False, True, True, True]


def test_an_end_that_is_found_late_leaves_the_epochs_that_are_left(network, points, monkeypatch) -> None:
    monkeypatch.setattr("kopt.training.execute.xla.estimate", lambda plan: Estimate(1.0, 0.1))  # pays after 10 steps
    data = tf.data.Dataset.from_tensor_slices(points).batch(10).filter(lambda *_: True)
    for epochs, pays in ((2, False), (3, True)):
        model = network()
        Loop(model).fit(data, epochs=epochs, shuffle=False, verbose=0)
        assert model.train_function.xla is pays


class EachLoss(keras.Model):
    """A model whose step returns a loss for each example."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            each = tf.square(self(x, training=True) - y)[:, 0]
            loss = tf.reduce_mean(each)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss, "each": each}


def test_logs_of_any_size_are_those_of_the_last_batch(points) -> None:
    histories = []
    for train in (lambda model: model.fit, lambda model: Loop(model, jit=False).fit):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((10,))
        model = EachLoss(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd")
        histories.append(train(model)(*points, batch_size=16, epochs=2, shuffle=False, verbose=0).history)
    theirs, ours = histories
    np.testing.assert_allclose(ours["loss"], theirs["loss"])
    assert [np.shape(one) for one in ours["each"]] == [np.shape(one) for one in theirs["each"]]
