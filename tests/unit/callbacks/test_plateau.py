"""ReduceOnPlateau: Keras' rules, on top of any schedule, resumable."""

import functools
import shutil

import keras
import numpy as np
import pytest

import kopt
from kopt.callbacks import LearningRate, ReduceOnPlateau
from kopt.schedules import Cosine
from kopt.training import Loop

ARGUMENTS = [
    {"factor": 0.5, "patience": 1, "min_delta": 10},
    {"factor": 0.5, "patience": 2, "min_delta": 10, "cooldown": 1},
    {"factor": 0.1, "patience": 0, "min_delta": 10, "min_lr": 0.002},
    {"factor": 0.3, "patience": 1, "min_delta": 10, "mode": "max"},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_without_a_schedule_it_is_keras_own(arguments: dict, network, points) -> None:
    rates = []
    for callback in (ReduceOnPlateau("loss", **arguments), keras.callbacks.ReduceLROnPlateau("loss", **arguments)):
        model = network(keras.optimizers.SGD(0.01))
        history = model.fit(*points, epochs=8, shuffle=False, verbose=0, callbacks=[callback])
        rates.append(history.history["learning_rate"])
    assert rates[0] == pytest.approx(rates[1], rel=1e-6) and len(set(rates[0])) > 1


@pytest.mark.parametrize("loop", [False, True])
def test_it_multiplies_a_running_schedule(loop: bool, network, points) -> None:
    model, schedule = network("sgd"), Cosine(0.01)
    plateau = ReduceOnPlateau("loss", factor=0.5, patience=2, min_delta=10)
    fit = Loop(model, jit=False).fit if loop else model.fit
    how = {"batch_size": 10, "epochs": 7, "verbose": 0}
    history = fit(*points, callbacks=[LearningRate(schedule, unit="epoch"), plateau], **how).history
    factors = [1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    planned = [float(schedule.resolve(7.0)(epoch + 0.9)) for epoch in range(7)]
    np.testing.assert_allclose(history["learning_rate"], np.multiply(planned, factors), rtol=1e-5)


def test_min_lr_bounds_the_scheduled_rate(network, points) -> None:
    model = network("sgd")
    callbacks = [LearningRate("constant", rate=0.01), ReduceOnPlateau("loss", 0.1, 0, min_delta=10, min_lr=0.004)]
    history = model.fit(*points, epochs=4, verbose=0, callbacks=callbacks).history
    np.testing.assert_allclose(history["learning_rate"], [0.01, 0.01, 0.004, 0.004], rtol=1e-6)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("scheduled", [False, True])
def test_resumed_equals_uninterrupted(loop: bool, scheduled: bool, network, points, tmp_path) -> None:
    """From the backup that a run has after its third epoch, in the middle of a wait."""

    class Keep(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                shutil.copytree(tmp_path / "backup", tmp_path / "kept")

    def run(*more):
        model = network(keras.optimizers.Adam(0.01))
        schedule = [LearningRate(Cosine(0.02), unit="epoch")] if scheduled else []
        plateau = ReduceOnPlateau("loss", factor=0.5, patience=3, min_delta=10, cooldown=1)
        fit = Loop(model, jit=False).fit if loop else model.fit
        history = fit(*points, epochs=10, shuffle=False, verbose=0, callbacks=[*schedule, plateau, *more]).history
        return model, history

    whole, expected = run(keras.callbacks.BackupAndRestore(tmp_path / "backup"), Keep())
    resumed, found = run(keras.callbacks.BackupAndRestore(tmp_path / "kept"))
    assert len(found["loss"]) == 7
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name][3:], rtol=1e-6, err_msg=name)
    assert min(expected["learning_rate"]) < expected["learning_rate"][0] / 2
    for one, other in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize(
    "optimizer", [keras.optimizers.Adam, lambda rate: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(rate))]
)
def test_a_keras_file_takes_the_counters_along(optimizer, network, points, tmp_path) -> None:
    def go_on(model, **how):
        callbacks = [
            LearningRate(Cosine(0.02), unit="epoch"),
            ReduceOnPlateau("loss", 0.5, 3, min_delta=10, cooldown=1),
        ]
        return model.fit(*points, shuffle=False, verbose=0, callbacks=callbacks, **how).history["learning_rate"]

    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 4:
                self.model.save(tmp_path / "model.keras")
                self.model.stop_training = True

    whole = go_on(network(optimizer(0.01)), epochs=10)
    cut = network(optimizer(0.01))
    callbacks = [
        LearningRate(Cosine(0.02), unit="epoch"),
        ReduceOnPlateau("loss", 0.5, 3, min_delta=10, cooldown=1),
        Save(),
    ]
    cut.fit(*points, shuffle=False, verbose=0, callbacks=callbacks, epochs=10)
    resumed = go_on(kopt.load_model(tmp_path / "model.keras"), epochs=10, initial_epoch=5)
    assert resumed == pytest.approx(whole[5:], rel=1e-6)
    assert go_on(keras.saving.load_model(tmp_path / "model.keras"), epochs=10, initial_epoch=5) != pytest.approx(
        whole[5:]
    )


def test_a_fresh_run_starts_over(network, points) -> None:
    model = network("sgd")
    callbacks = [LearningRate("constant", rate=0.01), ReduceOnPlateau("loss", 0.5, 1, min_delta=10)]
    first, second = (model.fit(*points, epochs=4, verbose=0, callbacks=callbacks).history for _ in range(2))
    assert first["learning_rate"] == second["learning_rate"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReduceOnPlateau(factor=1.0), "factor must be in (0, 1), got 1.0."),
        (lambda: ReduceOnPlateau(patience=-1), "patience must be >= 0, got -1."),
        (lambda: ReduceOnPlateau(mode="up"), "mode must be 'auto', 'min' or 'max', got 'up'."),
        (lambda: ReduceOnPlateau(min_lr=-1), "min_lr must be >= 0, got -1."),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message


def test_a_metric_that_is_not_there_is_refused(network, points) -> None:
    with pytest.raises(ValueError, match=r"^monitor must be one of \['learning_rate', 'loss', 'mae'\], got 'val_loss'"):
        callbacks = [LearningRate("constant", rate=0.01), ReduceOnPlateau()]
        network().fit(*points, verbose=0, callbacks=callbacks)


class Score(keras.callbacks.Callback):
    """Logs a score every few epochs, as many do."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch % 3 == 2:
            logs["val_score"] = 1.0


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("monitor", ["val_loss", "val_score"])
@pytest.mark.filterwarnings("ignore:Learning rate reduction is conditioned")
def test_a_metric_that_comes_every_few_epochs_is_waited_for_as_in_keras(monitor: str, loop, network, points) -> None:
    def rates(plateau, loop: bool):
        model = network(keras.optimizers.SGD(0.01))
        fit = Loop(model, jit=False).fit if loop else model.fit
        how = {"batch_size": 50, "epochs": 9, "shuffle": False, "verbose": 0, "validation_split": 0.2}
        callbacks = [Score(), plateau("val_loss" if monitor == "val_loss" else "val_score", 0.5, 1, mode="min")]
        return fit(*points, validation_freq=2, callbacks=callbacks, **how).history["learning_rate"]

    found = rates(functools.partial(ReduceOnPlateau, min_delta=10), loop)
    expected = rates(functools.partial(keras.callbacks.ReduceLROnPlateau, min_delta=10), False)
    assert found == pytest.approx(expected, rel=1e-6) and len(set(found)) > 1


@pytest.mark.parametrize("loop", [False, True])
def test_a_misspelt_metric_is_told_at_once_and_refused_at_the_end(loop: bool, network, points, caplog) -> None:
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model = network()
    fit = Loop(model, jit=False).fit if loop else model.fit
    how = {"epochs": 4, "verbose": 0, "validation_split": 0.2}
    refused = r"^monitor must be one of \['loss', 'mae', 'val_loss', 'val_mae'\], got 'val_los'"
    with pytest.raises(ValueError, match=refused):
        fit(*points, validation_freq=3, callbacks=[ReduceOnPlateau("val_los", mode="min")], **how)
    told = [record.getMessage() for record in caplog.records if "waiting for" in record.message]
    assert len(told) == 1
    assert told[0].startswith("waiting for 'val_los', which the logs of epoch 3 lack; they hold ['loss', 'mae'")
    # Before its first validation a run says nothing of it, and one that is taken up has had it before.
    fit(*points, validation_freq=3, callbacks=[ReduceOnPlateau("val_loss"), Stop()], **how)
    fit(*points, validation_freq=3, callbacks=[ReduceOnPlateau("val_loss")], **how)
    fit(*points, validation_freq=3, callbacks=[ReduceOnPlateau("val_loss")], initial_epoch=3, **how)


def test_what_it_cannot_follow_or_lower_is_refused(network, points) -> None:
    scheduled = network(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)))
    with pytest.raises(ValueError, match="^learning_rate must be a number in an optimizer whose rate is to be set"):
        scheduled.fit(*points, verbose=0, callbacks=[ReduceOnPlateau("loss")])
    with pytest.raises(ValueError, match="^mode must be 'min' or 'max' for 'seconds', whose better direction Keras"):
        network().fit(*points, verbose=0, callbacks=[kopt.callbacks.EpochTime(), ReduceOnPlateau("seconds")])
