"""ValidateEvery: validations right after their steps, which change nothing of training, in fit and in Loop."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import callbacks
from kopt.callbacks import EMA, Average, StopWhen, ValidateEvery
from kopt.optimizers import Optimizer
from kopt.rules import ScheduleFreeSGD
from kopt.training import Loop
from kopt.training.checkpoint.callback import Checkpoint

EPOCHS, BATCH = 3, 10  # of ten steps


class Weights(keras.callbacks.Callback):
    """Keeps the weights after each step."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_train_batch_end(self, batch, logs=None):
        self.kept.append(self.model.get_weights())


def data(points, engine: str):
    if engine != "dataset":
        return points
    return (tf.data.Dataset.from_tensor_slices(points).map(lambda x, y: (x, y)).batch(BATCH),)


def train(model, points, listed, *, loop: bool, engine: str = "auto", epochs: int = EPOCHS, **how):
    fit = Loop(model, jit=False, engine="auto" if engine == "dataset" else engine).fit if loop else model.fit
    given = data(points, engine)
    size = {"batch_size": BATCH, "shuffle": False} if len(given) > 1 else {}
    return fit(*given, epochs=epochs, verbose=0, callbacks=listed, **size, **how).history


@pytest.fixture(scope="module")
def held_out(points):
    return points[0][:25] + 1, points[1][:25]


@pytest.fixture(scope="module")
def expected(network, points, held_out) -> list[float]:
    """The validation loss after each step, by Keras' own evaluation of the weights after it."""
    model, weights = network(), Weights()
    train(model, points, [weights], loop=False)
    found = []
    for values in weights.kept:
        model.set_weights(values)
        found.append(model.evaluate(*held_out, verbose=0))
    return [loss for loss, _ in found]


WAYS = [
    {"loop": False, "every": 7},
    {"loop": True, "every": 7},
    {"loop": True, "every": 7, "steps": 3},
    {"loop": True, "every": 2, "steps": 3},
    {"loop": True, "every": 25, "engine": "stream"},
    {"loop": True, "every": 7, "engine": "dataset", "steps": 3},
    {"loop": False, "every": 10, "steps": 5},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("validated", [False, True])
def test_the_weights_after_each_nth_step_are_validated_and_training_is_as_without(
    way, validated: bool, network, points, held_out, expected
) -> None:
    every, steps, how = way["every"], way.get("steps", 1), {"loop": way["loop"], "engine": way.get("engine", "auto")}
    own = {"validation_data": held_out} if validated else {}
    plain, model = network(steps_per_execution=steps), network(steps_per_execution=steps)
    without = train(plain, points, [], **how, **own)
    validate = ValidateEvery(f"{every} steps", held_out)
    history = train(model, points, [validate], **how, **own)
    assert validate.history["step"] == list(range(every, 10 * EPOCHS + 1, every))
    np.testing.assert_allclose(validate.history["val_loss"], expected[every - 1 :: every], rtol=1e-5)
    for one, other in zip(model.get_weights(), plain.get_weights()):
        np.testing.assert_array_equal(one, other)
    assert {name: history[name] for name in without} == without  # running metrics too, to the bit
    if not validated:  # the last one of an epoch that has one
        last = [
            validate.history["val_loss"][after // every - 1]
            for after in (10, 20, 30)
            if after // every * every > after - 10
        ]
        assert history.get("val_loss", []) == last


def test_fit_refuses_steps_at_which_none_of_its_calls_ends(network, points, held_out) -> None:
    for every, steps in ((7, 5), (6, 3)):
        with pytest.raises(
            ValueError, match=f"^every must be a multiple of steps_per_execution in Keras' fit, {steps}, "
        ):
            train(network(steps_per_execution=steps), points, [ValidateEvery(f"{every} steps", held_out)], loop=False)
    rows = (one for one in [(points[0][:BATCH], points[1][:BATCH])] * 8)
    with pytest.raises(ValueError, match="^every must be such that a call of train_function ends there in Keras' fit"):
        network(steps_per_execution=2).fit(rows, shuffle=False, verbose=0, callbacks=[OneAtATime("7 steps", held_out)])


class OneAtATime(ValidateEvery):
    """Lacks the check before training."""

    def require_calls(self, steps):
        pass


@pytest.mark.parametrize(
    ("how", "rule"),
    [
        (("1 epoch", 0), "every must be a number of steps, such as '500 steps', got '1 epoch'"),
        (("30s", 0), "every must be a number of steps"),
        ((500, 0), "every must be a duration"),
        (("5 steps", None), "data must be given"),
    ],
)
def test_bad_arguments_are_refused(how, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{rule}"):
        ValidateEvery(*how)


def test_bad_data_are_refused_before_training(network, points) -> None:
    model = network()
    for held_out in ((points[0][:0], points[1][:0]), 5):
        with pytest.raises(ValueError, match="^data must "):
            train(model, points, [ValidateEvery("5 steps", held_out)], loop=True)
    assert int(model.optimizer.iterations) == 0


def test_files_have_what_the_history_has_and_go_on_with_a_run(network, points, held_out, tmp_path) -> None:
    whole = ValidateEvery("7 steps", held_out)
    expected = train(network(), points, [whole], loop=True)
    table, events = tmp_path / "table.csv", tmp_path / "events"
    for epochs in (1, 2, EPOCHS):  # training ends between validations
        validate = ValidateEvery("7 steps", held_out, file=table, folder=events)
        history = train(
            network(), points, [validate], loop=True, epochs=epochs, checkpoint=Checkpoint(tmp_path / "run")
        )
    assert history == expected and validate.history == whole.history
    with table.open() as lines:
        rows = list(csv.DictReader(lines))
    assert {name: [float(row[name]) for row in rows] for name in rows[0]} == whole.history
    records = [record for file in events.iterdir() for record in tf.compat.v1.train.summary_iterator(str(file))]
    found = [
        (record.step, tf.make_ndarray(value.tensor))
        for record in records
        for value in record.summary.value
        if value.tag == "val_loss"
    ]
    np.testing.assert_allclose(found, list(zip(whole.history["step"], whole.history["val_loss"])), rtol=1e-6)


def test_stop_when_acts_in_mid_epoch_and_counts_validations(network, points, held_out) -> None:
    for loop in (False, True):
        validate, stop, model = ValidateEvery("3 steps", held_out), StopWhen("val_loss plateaus 2 by 100"), network()
        history = train(model, points, [validate, stop], loop=loop, epochs=5)
        assert validate.history["step"] == [3, 6, 9] and int(model.optimizer.iterations) == 9
        assert stop.curves == {"val_loss": validate.history["val_loss"]} and len(history["loss"]) == 1


def test_monitors_of_epochs_see_the_last_one(network, points, held_out) -> None:
    lower = callbacks.ReduceOnPlateau("val_loss", factor=0.5, patience=1, min_delta=100)
    history = train(network(), points, [ValidateEvery("4 steps", held_out), lower], loop=True, epochs=4)
    np.testing.assert_allclose(history["learning_rate"], [0.01, 0.01, 0.005, 0.0025])


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("kind", ["average", "lawa", "schedule_free"])
def test_averages_are_validated_and_go_on_as_without(loop: bool, kind: str, network, points, held_out) -> None:
    """After the last step of an epoch the average is that of the epoch's end, but for LAWA's, which is yet to come."""

    def run(*more):
        model = network(Optimizer(ScheduleFreeSGD(), 0.05) if kind == "schedule_free" else "sgd")
        averages = {"average": EMA(0.9), "lawa": callbacks.LAWA(2)}
        first = [callbacks.RuleWeights()] if kind == "schedule_free" and not loop else []
        first += [Average(averages[kind])] if kind in averages else []
        history = train(model, points, [*first, *more], loop=loop, validation_data=held_out)
        return model.get_weights(), history

    validate = ValidateEvery("5 steps", held_out)
    (plain, without), (weights, history) = run(), run(validate)
    assert history == without
    for one, other in zip(weights, plain):
        np.testing.assert_array_equal(one, other)
    by_epoch = validate.history["val_loss"][1::2]
    if kind == "lawa":
        assert by_epoch[1:] != history["val_loss"][1:]
    else:
        np.testing.assert_allclose(by_epoch, history["val_loss"], rtol=1e-6)
    assert validate.history["val_loss"][0] != validate.history["val_loss"][1]


def test_throughput_is_of_training_alone(network, points, held_out) -> None:
    for loop in (False, True):
        speed = callbacks.Throughput()
        history = train(network(), points, [ValidateEvery("4 steps", held_out), speed], loop=loop)
        counted = np.array(history["examples_per_second"]) * history["step_seconds"] * 10
        np.testing.assert_allclose(counted, 100)


def test_a_run_that_begins_later_counts_from_its_beginning(network, points, held_out) -> None:
    validate = ValidateEvery("7 steps", held_out)
    train(network(), points, [validate], loop=False, initial_epoch=2)
    assert validate.history["step"] == [21, 28]
