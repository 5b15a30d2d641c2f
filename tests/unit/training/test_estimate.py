"""The estimate whether XLA pays, and what "auto" makes of it."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

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


def test_a_loop_over_a_sequence_runs_as_often_as_that_is_long() -> None:
    def scanned(x: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return tf.scan(lambda total, row: tf.tanh(total + row), x)

    short, long = (estimate(plan_of(scanned, (tf.TensorSpec([length, 4]), tf.TensorSpec([])))) for length in (10, 100))
    assert short.compiling == long.compiling and 5 < long.saved / short.saved < 11


def test_auto_takes_xla_where_the_steps_that_are_planned_pay_for_it(network, points, caplog, monkeypatch) -> None:
    monkeypatch.setattr("kopt.training.execute.xla.estimate", lambda plan: Estimate(1.0, 0.01))
    caplog.set_level(logging.INFO, "kopt")
    model = network()
    loop, how = Loop(model), {"batch_size": 10, "verbose": 0, "validation_data": points}
    loop.fit(*points, epochs=10, **how)
    assert (model.train_function.xla, model.test_function.xla) == (False, False)
    assert "XLA takes about 1.0 s to compile and saves 10000 us a step, 100 steps are planned" in caplog.text
    loop.fit(*points, epochs=11, validation_freq=2, **how)
    assert (model.train_function.xla, model.test_function.xla) == (True, False)
    loop.fit(*points, epochs=1, **how)  # what is compiled is kept
    assert (model.train_function.xla, model.test_function.xla) == (True, False)
    assert caplog.text.count("jit: True") == 1


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
    caplog.set_level(logging.INFO, "kopt")
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
