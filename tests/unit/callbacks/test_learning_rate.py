"""LearningRate: the rate of every update, whatever runs it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.callbacks import LearningRate
from kopt.optimizers import Optimizer
from kopt.rules import Adam, GradientDescent
from kopt.schedules import Constant, Cosine, Schedule, Step
from kopt.training import Loop
from kopt.training.callback_needs import watches_batches

SCHEDULE = Cosine(0.1).warmup(1)


def runner(model, loop: bool, jit: bool = False):
    return Loop(model, jit=jit).fit if loop else model.fit


def taken_rates(
    schedule: Schedule, loop: bool, *, epochs: int = 4, unit: str = "epoch", jit: bool = False, **compiled
) -> np.ndarray:
    """The rate at each update, read off a model whose gradient is always 1."""

    class Slope(keras.layers.Layer):
        def build(self, shape):
            self.place = self.add_weight(shape=(), initializer="zeros", name="place")

        def call(self, x):
            return x * self.place

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            places.append(float(self.model.layers[-1].place.numpy()))

    places: list[float] = [0.0]
    model = keras.Sequential([keras.Input((1,)), Slope()])
    model.compile(
        keras.optimizers.SGD(1e-3, **compiled.pop("optimizer", {})), lambda y, p: p, jit_compile=jit, **compiled
    )
    runner(model, loop, jit)(
        np.ones((40, 1)),
        np.ones((40, 1)),
        batch_size=4,
        epochs=epochs,
        verbose=0,
        callbacks=[LearningRate(schedule, unit=unit), Watch()],
    )
    return -np.diff(places)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("jit", [False, True])
def test_the_rate_is_right_at_every_step(loop: bool, jit: bool) -> None:
    expected = [float(SCHEDULE.resolve(4.0)(step / 10)) for step in range(40)]
    np.testing.assert_allclose(taken_rates(SCHEDULE, loop, jit=jit), expected, rtol=2e-5, atol=2e-7)


@pytest.mark.parametrize("loop", [False, True])
def test_the_rate_is_right_under_steps_per_execution(loop: bool) -> None:
    rates = [float(SCHEDULE.resolve(4.0)(step / 10)) for step in range(40)]
    expected = np.add.reduceat(rates, np.arange(0, 40, 5))
    found = taken_rates(SCHEDULE, loop, steps_per_execution=5)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-7)


@pytest.mark.parametrize("loop", [False, True])
def test_accumulated_gradients_count_updates(loop: bool) -> None:
    rates = taken_rates(
        Step(0.1, 0.5, every=1), loop, epochs=1, unit="step", optimizer={"gradient_accumulation_steps": 2}
    )
    np.testing.assert_allclose(rates, np.repeat(0.1 * 0.5 ** np.arange(5), 2) * ([0, 1] * 5), rtol=1e-5)


@pytest.mark.parametrize(
    ("unit", "schedule", "expected"),
    [
        ("step", Cosine(0.1), lambda step: 0.05 * (1 + np.cos(np.pi * step / 40))),
        ("epoch", Cosine(0.1), lambda step: 0.05 * (1 + np.cos(np.pi * step / 40))),
        ("run", Cosine(0.1), lambda step: 0.05 * (1 + np.cos(np.pi * step / 40))),
        ("run", Step(0.1, 0.5, every=0.5), lambda step: 0.1 * 0.5 ** (step // 20)),
        ("epoch", Step(0.1, 0.5, every=2), lambda step: 0.1 * 0.5 ** (step // 20)),
    ],
)
def test_units(unit: str, schedule: Schedule, expected) -> None:
    np.testing.assert_allclose(taken_rates(schedule, True, unit=unit), expected(np.arange(40)), rtol=2e-5, atol=2e-7)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_an_epoch_of_unknown_length_is_learned(loop: bool, network, points) -> None:
    x, y = points
    unknown = tf.data.Dataset.from_tensor_slices((x, y)).batch(10).filter(lambda a, b: True)
    model, schedule = network("sgd"), LearningRate(SCHEDULE, unit="epoch", per_step=True)
    history = runner(model, loop)(unknown, epochs=4, shuffle=False, verbose=0, callbacks=[schedule]).history
    # Keras counts 11 updates for 10 batches: the one that finds no more data is counted too.
    length = int(model.optimizer.iterations) / 4
    known = [float(SCHEDULE.resolve(4.0)(epoch + (length - 1) / length)) for epoch in range(4)]
    assert history["learning_rate"][0] == 0.0  # the first epoch is taken at its start
    np.testing.assert_allclose(history["learning_rate"][1:], known[1:], rtol=1e-5)
    with pytest.raises(ValueError, match="^steps_per_epoch must be known for LearningRate"):
        runner(model, loop)(unknown, shuffle=False, verbose=0, callbacks=[LearningRate(Cosine(0.1), unit="run")])


@pytest.mark.parametrize("loop", [False, True])
def test_the_rate_of_every_step_on_request(loop: bool, network, points) -> None:
    callback = LearningRate(SCHEDULE, unit="epoch", per_step=True)
    runner(network("sgd"), loop)(*points, batch_size=10, epochs=4, verbose=0, callbacks=[callback])
    expected = SCHEDULE.resolve(4.0)(np.arange(40) / 10)
    np.testing.assert_allclose(callback.rates, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loop", [False, True])
def test_under_a_loss_scale(loop: bool, network, points) -> None:
    model = network(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3)))
    history = fit(model, points, 3, loop=loop)
    expected = [float(SCHEDULE.resolve(3.0)(epoch + 0.9)) for epoch in range(3)]
    np.testing.assert_allclose(history["learning_rate"], expected, rtol=1e-6)


@pytest.mark.parametrize("loop", [False, True])
def test_every_optimizer_of_a_multi_optimizer(loop: bool, network, points) -> None:
    model = network()
    inner = keras.optimizers.SGD(1e-3, name="body"), keras.optimizers.SGD(1e-3, name="head")
    kernel = model.layers[0].kernel.path
    chosen = keras.optimizers.OptimizerMap(inner[0], {kernel: inner[1]})
    model.compile(keras.optimizers.MultiOptimizer(chosen), "mse")
    history = fit(model, points, 3, loop=loop)
    expected = [float(SCHEDULE.resolve(3.0)(epoch + 0.9)) for epoch in range(3)]
    for name in ("learning_rate", "learning_rate_body", "learning_rate_head"):
        np.testing.assert_allclose(history[name], expected, rtol=1e-6)


@pytest.mark.parametrize("loop", [False, True])
def test_a_raise_leaves_a_model_that_trains_on(loop: bool, network, points) -> None:
    class Die(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    model = network("sgd")
    with pytest.raises(KeyboardInterrupt):
        runner(model, loop)(*points, epochs=3, verbose=0, callbacks=[LearningRate(SCHEDULE, unit="epoch"), Die()])
    fresh = fit(network("sgd"), points, 3, loop=loop)
    assert fit(model, points, 3, loop=loop)["learning_rate"] == fresh["learning_rate"]


def test_a_schedule_of_another_length_says_so_once(network, points, caplog) -> None:
    with caplog.at_level("INFO", "kopt"):
        model = network("sgd")
        callbacks = [LearningRate(Cosine(0.1, duration=2), unit="epoch")]
        history = model.fit(*points, epochs=4, verbose=0, callbacks=callbacks).history
    assert [record.message for record in caplog.records if "lasts" in record.message] == [
        "LearningRate(Cosine(0.1, duration=2), unit='epoch') lasts 2 of the run's 4 epochs"
    ]
    assert history["learning_rate"][2:] == [0, 0]


def fit(model, points, epochs: int, schedule: Schedule = SCHEDULE, loop: bool = True, **how):
    callbacks = [LearningRate(schedule, unit="epoch")]
    return runner(model, loop)(
        *points, batch_size=10, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **how
    ).history


@pytest.mark.parametrize("loop", [False, True])
def test_an_already_trained_model_follows_a_new_schedule(loop: bool, network, points) -> None:
    model = network("sgd")
    runner(model, loop)(*points, epochs=1, verbose=0)
    assert fit(model, points, 2, Constant(0.03), loop)["learning_rate"] == pytest.approx([0.03, 0.03])
    assert fit(model, points, 2, Constant(0.02), loop)["learning_rate"] == pytest.approx([0.02, 0.02])


@pytest.mark.parametrize("loop", [False, True])
def test_a_second_fit_starts_over_and_is_not_traced_again(loop: bool, network, points) -> None:
    model = network("sgd")
    first = fit(model, points, 3, loop=loop)["learning_rate"]
    function = model.train_function
    assert fit(model, points, 3, loop=loop)["learning_rate"] == first
    assert model.train_function is function


@pytest.mark.parametrize("loop", [False, True])
def test_initial_epoch_goes_on(loop: bool, network, points) -> None:
    model = network("sgd")
    whole = fit(network("sgd"), points, 4, loop=loop)["learning_rate"]
    runner(model, loop)(*points, batch_size=10, epochs=2, verbose=0)
    assert fit(model, points, 4, loop=loop, initial_epoch=2)["learning_rate"] == whole[2:]


def test_afterwards_the_rate_is_a_plain_number_again(network, points) -> None:
    model = network("sgd")
    last = fit(model, points, 2, Constant(0.03))["learning_rate"][-1]
    assert float(model.optimizer.learning_rate) == pytest.approx(last)
    model.optimizer.learning_rate = 0.5
    before = model.get_weights()
    model.fit(*points, batch_size=100, epochs=1, verbose=0)
    slow = network("sgd")
    slow.set_weights(before)
    slow.optimizer.learning_rate = 0.5
    slow.fit(*points, batch_size=100, epochs=1, verbose=0)
    for one, other in zip(model.get_weights(), slow.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("optimizer", [lambda: keras.optimizers.Adam(0.01), lambda: Optimizer(Adam(), 0.01)])
@pytest.mark.parametrize("ending", ["model.keras", "model.weights.h5"])
def test_files_are_interchangeable_with_and_without_the_callback(
    optimizer, ending: str, network, points, tmp_path
) -> None:
    """Iterations and moments included, in both directions, and the rate in a file is a plain number."""
    steered, plain = network(optimizer()), network(optimizer())
    fit(steered, points, 2)
    plain.fit(*points, epochs=2, verbose=0)
    for source, steer in ((steered, False), (plain, True)):
        path = tmp_path / f"{steer}{ending}"
        if ending == "model.keras":
            source.save(path)
            target = keras.saving.load_model(path)
            assert isinstance(target.get_compile_config()["optimizer"]["config"]["learning_rate"], float)
        else:
            source.save_weights(path)
            target = network(optimizer())
            target.optimizer.build(target.trainable_variables)
            if steer:
                LearningRate(SCHEDULE).set_model(target)
            target.load_weights(path)
        assert len(target.optimizer.variables) == len(source.optimizer.variables)
        for one, other in zip(source.optimizer.variables, target.optimizer.variables):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
        if steer:
            assert len(fit(target, points, 2)["learning_rate"]) == 2


@pytest.mark.parametrize("steered_first", [True, False])
def test_a_backup_of_a_steered_run_goes_on_without_the_callback_and_the_reverse(
    steered_first: bool, network, points, tmp_path
) -> None:
    class Die(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("died")

    def go_on(steer: bool, *more):
        model = network("adam")
        callbacks = [LearningRate(Constant(0.01))] if steer else []
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        model.fit(*points, epochs=4, shuffle=False, verbose=0, callbacks=[*callbacks, backup, *more])
        return model

    with pytest.raises(RuntimeError, match="died"):
        go_on(steered_first, Die())
    assert int(go_on(not steered_first).optimizer.iterations) == 4 * 4


def test_history_csv_logger_and_tensorboard_see_the_rate_last_used(network, points, tmp_path) -> None:
    model = network("sgd")
    callbacks = [
        LearningRate(SCHEDULE, unit="epoch"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "logs"),
    ]
    history = Loop(model, jit=False).fit(*points, batch_size=10, epochs=3, callbacks=callbacks, verbose=0).history
    expected = [float(SCHEDULE.resolve(3.0)(epoch + 0.9)) for epoch in range(3)]
    np.testing.assert_allclose(history["learning_rate"], expected, rtol=1e-6)
    table = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
    np.testing.assert_allclose(table["learning_rate"], expected, rtol=1e-6)
    assert float(model.optimizer.learning_rate) == pytest.approx(expected[-1])
    written = [
        float(tf.make_ndarray(value.tensor))
        for path in sorted((tmp_path / "logs").rglob("events*"))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "epoch_learning_rate"
    ]
    np.testing.assert_allclose(written, expected, rtol=1e-6)


def test_no_hook_needs_every_batch() -> None:
    assert not watches_batches(LearningRate(Constant(0.1)), "train")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LearningRate("cosin", rate=0.1), "schedule must be one of"),
        (lambda: LearningRate(0.1), "schedule must be a kopt schedule or the name of one, got 0.1."),
        (
            lambda: LearningRate(Constant(0.1), rate=0.1),
            "fields must be left out where a schedule is given, got ['rate'].",
        ),
        (lambda: LearningRate(Constant(0.1), unit="epochs"), "unit must be 'step', 'epoch' or 'run', got 'epochs'."),
        (lambda: LearningRate("constant", rate=-0.1), "rate must be >= 0, got -0.1."),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_what_cannot_work_is_refused_before_the_first_step(network, points) -> None:
    model = network(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)))
    with pytest.raises(
        ValueError, match=r"^learning_rate must be a number in an optimizer that LearningRate\(.*\) steers, got "
    ):
        fit(model, points, 1)
    model = network(Optimizer(GradientDescent()))
    both = [LearningRate(Constant(0.1)), LearningRate(Constant(0.2))]
    with pytest.raises(ValueError, match="^callbacks must hold one that sets the learning rate, got "):
        Loop(model).fit(*points, epochs=1, callbacks=both, verbose=0)
    with pytest.raises(ValueError, match="^warmup_duration must be shorter than the run of 1, got 1.0"):
        fit(model, points, 1)
    with pytest.raises(ValueError, match="^steps_per_epoch must be known for LearningRate"):
        model.fit((points for _ in range(3)), epochs=1, shuffle=False, callbacks=[LearningRate(SCHEDULE)], verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_setting_the_rate_while_it_is_steered_is_refused(network, points) -> None:
    own = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(model.optimizer, "learning_rate", 0.2)
    )
    model, callbacks = network("sgd"), [LearningRate(Constant(0.1)), own]
    with pytest.raises(
        ValueError,
        match=r"^learning_rate must be left to LearningRate\(Constant\(0.1\), unit='step'\), whose run has not ended",
    ):
        model.fit(*points, epochs=2, callbacks=callbacks, verbose=0)
