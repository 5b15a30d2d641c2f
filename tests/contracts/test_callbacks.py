"""What holds of every callback."""

import keras
import numpy as np
import pytest

from kopt import callbacks, schedules, select
from kopt.knobs import Knob
from kopt.training import Loop

EXAMPLES = {
    "average": lambda: [callbacks.Average(callbacks.EMA(0.9))],
    "average, swa": lambda: [callbacks.Average(callbacks.SWA(0.4))],
    "average, lawa": lambda: [callbacks.Average(callbacks.LAWA(3))],
    "diagnosis": lambda: [callbacks.Diagnosis(verbose=0)],
    "epoch_time": lambda: [callbacks.EpochTime()],
    "gradient_monitor": lambda: [callbacks.GradientMonitor(5, noise=True)],
    "layer_rates": lambda: [callbacks.LayerRates({select.biases: 0.5}, depth_decay=0.9, unfreeze=2)],
    "learning_rate": lambda: [callbacks.LearningRate(schedules.Cosine(0.02).warmup(1), unit="epoch")],
    "scheduled": lambda: [callbacks.Scheduled(Knob(1.0, name="dial"), schedules.Linear(1.0), unit="epoch")],
    "reduce_on_plateau": lambda: [callbacks.ReduceOnPlateau("loss", factor=0.5, patience=1, min_delta=10)],
    "spike_guard": lambda: [callbacks.SpikeGuard(10)],
    "throughput": lambda: [callbacks.Throughput()],
    "time_budget": lambda: [callbacks.TimeBudget("1h")],
}
TIMES = ("seconds", "examples_per_second", "step_seconds", "data_seconds", "compute_seconds")
every_callback = pytest.mark.parametrize("name", EXAMPLES)


def train(model, points, listed, *, loop: bool, epochs: int = 6, **how):
    fit = Loop(model, jit=False).fit if loop else model.fit
    history = fit(*points, batch_size=10, epochs=epochs, shuffle=False, verbose=0, callbacks=listed, **how).history
    return {name: values for name, values in history.items() if name not in TIMES}


def test_every_registered_callback_has_an_example() -> None:
    assert {name.partition(",")[0] for name in EXAMPLES} == set(callbacks.registry)


@every_callback
@pytest.mark.parametrize("steps", [1, 10])
def test_fit_and_loop_agree(name: str, steps: int, network, points) -> None:
    models = [network("adam", steps_per_execution=steps) for _ in range(2)]
    histories = [train(model, points, EXAMPLES[name](), loop=loop) for model, loop in zip(models, (False, True))]
    assert sorted(histories[0]) == sorted(histories[1])
    for metric, values in histories[0].items():
        np.testing.assert_allclose(histories[1][metric], values, rtol=1e-6, err_msg=metric)
    for one, other in zip(models[0].get_weights(), models[1].get_weights()):
        np.testing.assert_array_equal(one, other)


@every_callback
@pytest.mark.parametrize("loop", [False, True])
def test_resumed_equals_uninterrupted(name: str, loop: bool, network, points, tmp_path) -> None:
    class Die(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise RuntimeError("died")

    def run(*more):
        model = network("adam")
        return model, train(model, points, [*EXAMPLES[name](), *more], loop=loop)

    whole, expected = run()
    with pytest.raises(RuntimeError, match="died"):
        run(keras.callbacks.BackupAndRestore(tmp_path / "backup"), Die())
    resumed, found = run(keras.callbacks.BackupAndRestore(tmp_path / "backup"))
    for metric, values in found.items():
        np.testing.assert_allclose(values, expected[metric][3:], rtol=1e-6, err_msg=metric)
    for one, other in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-7)


@every_callback
@pytest.mark.parametrize("loop", [False, True])
def test_when_training_raises_the_model_trains_on_as_a_fresh_one(name: str, loop: bool, network, points) -> None:
    class Die(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("died")

    model, fresh = network("sgd"), network("sgd")
    start = model.get_weights()
    with pytest.raises(RuntimeError, match="died"):
        train(model, points, [*EXAMPLES[name](), Die()], loop=loop)
    model.set_weights(start)
    assert train(model, points, EXAMPLES[name](), loop=loop) == train(fresh, points, EXAMPLES[name](), loop=loop)


@every_callback
@pytest.mark.parametrize("loop", [False, True])
def test_no_interference_with_keras_callbacks(name: str, loop: bool, network, points, tmp_path) -> None:
    others = [
        keras.callbacks.EarlyStopping("loss", patience=3),
        keras.callbacks.ModelCheckpoint(tmp_path / "last.keras"),
        keras.callbacks.TensorBoard(tmp_path / "logs"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    alone, beside = network("adam"), network("adam")
    expected = train(alone, points, EXAMPLES[name](), loop=loop)
    found = train(beside, points, [*EXAMPLES[name](), *others], loop=loop)
    for metric, values in expected.items():
        np.testing.assert_allclose(found[metric], values, rtol=1e-6, err_msg=metric)
    loaded = keras.saving.load_model(tmp_path / "last.keras")
    for one, other in zip(loaded.get_weights(), beside.get_weights()):
        np.testing.assert_array_equal(one, other)


@every_callback
@pytest.mark.parametrize("loop", [False, True])
def test_beside_keras_average_of_the_optimizer(name: str, loop: bool, network, points) -> None:
    averaging = lambda: network(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9))
    alone, beside = averaging(), averaging()
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=False)
    if name.startswith(("average", "layer_rates")):  # both would change what it averages
        with pytest.raises(ValueError, match="use_ema must be False"):
            train(beside, points, [*EXAMPLES[name](), swap], loop=loop, epochs=1)
        return
    how = {"validation_data": points, "epochs": 3}
    stock = train(
        alone, points, [keras.callbacks.SwapEMAWeights(swap_on_epoch=False), *steering(name)], loop=loop, **how
    )
    found = train(beside, points, [swap, *EXAMPLES[name]()], loop=loop, **how)
    np.testing.assert_allclose(found["val_loss"], stock["val_loss"], rtol=1e-6)
    for one, other in zip(alone.get_weights(), beside.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-7)


def steering(name: str):
    """A callback that changes training itself; nothing for those that only look."""
    return EXAMPLES[name]() if name in ("learning_rate", "reduce_on_plateau") else []
