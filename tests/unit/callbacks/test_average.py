"""Averaged weights against torch's on the same trajectory, and who sees them."""

import keras
import numpy as np
import pytest

from kopt import load_model
from kopt.callbacks import EMA, LAWA, SWA, Average, Checkpoint, LearningRate
from kopt.schedules import Cosine, Triangular
from kopt.training import Loop, refresh_statistics

HOW = {"batch_size": 20, "shuffle": False, "verbose": 0}


class Trajectory(keras.callbacks.Callback):
    """The weights after every update, and after every epoch."""

    def __init__(self, every_batch=True):
        super().__init__()
        self.updates, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.updates.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.updates[-1])


def averaged_by_torch(trajectory, average):
    """torch's AveragedModel over the weights of a trajectory."""
    torch = pytest.importorskip("torch")
    module = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(weight)) for weight in trajectory[0]])
    rule = {"multi_avg_fn": torch.optim.swa_utils.get_ema_multi_avg_fn(average)} if average else {}
    found = torch.optim.swa_utils.AveragedModel(module, **rule)
    for weights in trajectory:
        with torch.no_grad():
            for parameter, weight in zip(module, weights):
                parameter.copy_(torch.tensor(weight))
        found.update_parameters(module)
    return [parameter.detach().numpy() for parameter in found.module]


@pytest.fixture(scope="module")
def trajectory(network, points) -> Trajectory:
    """The weights of a run that nothing averages."""
    followed = Trajectory()
    network("adam").fit(*points, epochs=4, callbacks=[followed], **HOW)
    return followed


@pytest.mark.parametrize("how", ["fit", "fit, 5 steps", "loop", "loop, jit"])
@pytest.mark.parametrize("of", [EMA(0.9), SWA(0.5), LAWA(2)])
def test_averages_are_torchs(of, how: str, network, points, trajectory) -> None:
    model = network("adam", steps_per_execution=5 if "5" in how else 1)
    fit = Loop(model, jit="jit" in how).fit if "loop" in how else model.fit
    fit(*points, epochs=4, callbacks=[Average(of)], **HOW)
    kinds = {EMA: trajectory.updates, SWA: trajectory.epochs[2:], LAWA: trajectory.epochs[-2:]}
    expected = averaged_by_torch(kinds[type(of)], 0.9 if isinstance(of, EMA) else None)
    for one, other in zip(model.get_weights(), expected):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("loop", [False, True])
def test_everyone_sees_the_average_and_training_does_not(loop: bool, network, points, tmp_path) -> None:
    class Looks(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seen = {"batch": [], "test": [], "epoch": []}

        def on_train_batch_begin(self, batch, logs=None):
            self.seen["batch"].append(self.model.get_weights()[0])

        def on_test_batch_begin(self, batch, logs=None):
            self.seen["test"].append(self.model.get_weights()[0])

        def on_epoch_end(self, epoch, logs=None):
            self.seen["epoch"].append(self.model.get_weights()[0])

    stock, model = network("adam"), network("adam")
    without, beside = Looks(), Looks()
    stock.fit(*points, epochs=3, validation_data=points, callbacks=[without], **HOW)
    path = tmp_path / "best.keras"
    callbacks = [Average(EMA(0.5)), keras.callbacks.ModelCheckpoint(path), beside]
    fit = Loop(model, jit=False).fit if loop else model.fit
    history = fit(*points, epochs=3, validation_data=points, callbacks=callbacks, **HOW).history
    np.testing.assert_array_equal(beside.seen["batch"], without.seen["batch"])
    ends = beside.seen["epoch"]
    np.testing.assert_array_equal(beside.seen["test"][4::5], ends)
    np.testing.assert_array_equal(model.get_weights()[0], ends[-1])
    saved = keras.saving.load_model(path)
    np.testing.assert_array_equal(saved.get_weights()[0], ends[-1])
    assert history["val_loss"][-1] == pytest.approx(saved.evaluate(*points, verbose=0)[0], rel=1e-6)
    assert not np.array_equal(without.seen["epoch"][-1], ends[-1])


def test_a_loaded_model_goes_on_from_the_weights_of_training(network, points, tmp_path) -> None:
    whole, first = network("adam"), network("adam")
    whole.fit(*points, epochs=4, callbacks=[Average(EMA(0.9))], **HOW)
    first.fit(*points, epochs=2, callbacks=[Average(EMA(0.9))], **HOW)
    first.save(tmp_path / "half.keras")
    second = load_model(tmp_path / "half.keras")
    second.fit(*points, epochs=4, initial_epoch=2, callbacks=[Average(EMA(0.9))], **HOW)
    for one, other in zip(second.get_weights(), whole.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize("of", [EMA(0.9), SWA(0), LAWA(2)])
def test_a_checkpoint_of_keras_own_fit_has_the_average(of, network, points, tmp_path) -> None:
    whole = network("adam")
    whole.fit(*points, epochs=4, callbacks=[Average(of)], **HOW)
    for epochs in (2, 4):
        model = network("adam")
        model.fit(*points, epochs=epochs, callbacks=[Average(of), Checkpoint(tmp_path, every="1 epoch")], **HOW)
    for one, other in zip(model.get_weights(), whole.get_weights()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("initial_epoch", [0, 2])
def test_weights_that_were_set_between_fits_are_not_lost(initial_epoch: int, network, points) -> None:
    model, fresh = network("sgd"), network("sgd")
    model.fit(*points, epochs=2, callbacks=[Average(EMA(0.9))], **HOW)
    start = [weight + 0.1 for weight in fresh.get_weights()]
    histories = []
    for one in (model, fresh):
        one.set_weights(start)
        how = {"epochs": 4, "initial_epoch": initial_epoch, "callbacks": [Average(EMA(0.9))]}
        histories.append(one.fit(*points, **how, **HOW).history)
    assert histories[0] == histories[1]


@pytest.mark.parametrize("loop", [False, True])
def test_when_training_raises_the_average_so_far_stays(loop: bool, network, points) -> None:
    class Die(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise RuntimeError("died")

    trajectory, average = Trajectory(), Average(EMA(0.5))
    model = network("sgd")
    fit = Loop(model, jit=False).fit if loop else model.fit
    with pytest.raises(RuntimeError, match="died"):
        fit(*points, callbacks=[average, trajectory, Die()], **HOW)
    average.close()
    for one, other in zip(model.get_weights(), averaged_by_torch(trajectory.updates, 0.5)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert "train_step" not in vars(model)


def test_early_stopping_restores_what_was_judged_best(network, points) -> None:
    model = network("sgd")
    stop = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True, start_from_epoch=2)
    how = {"validation_data": points, "callbacks": [Average(EMA(0.9)), stop], "epochs": 8}
    history = Loop(model, jit=False).fit(*points, **how, **HOW).history
    assert model.evaluate(*points, verbose=0)[0] == pytest.approx(stop.best, rel=1e-5)
    assert stop.best == pytest.approx(min(history["val_loss"]), rel=1e-6)


def test_a_model_with_a_train_step_of_its_own_is_averaged(points) -> None:
    class Own(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    def build(loop):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((10,))
        model = Own(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd", "mse")
        (Loop(model, jit=False).fit if loop else model.fit)(*points, epochs=2, callbacks=[Average(EMA(0.9))], **HOW)
        return model.get_weights()

    inputs = keras.Input((10,))
    keras.utils.set_random_seed(1)
    inputs = keras.Input((10,))
    stock = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    stock.compile("sgd", "mse")
    stock.fit(*points, epochs=2, callbacks=[Average(EMA(0.9))], **HOW)
    for loop in (False, True):
        for one, other in zip(build(loop), stock.get_weights()):
            np.testing.assert_array_equal(one, other)


def test_gradients_that_accumulate_are_one_update(network, points) -> None:
    model = network(keras.optimizers.SGD(0.01, gradient_accumulation_steps=5))
    Loop(model, jit=False).fit(*points, epochs=3, callbacks=[average := Average(EMA(0.9))], **HOW)
    assert float(average.averaged.count) == 3


def test_statistics_are_torchs(points) -> None:
    torch = pytest.importorskip("torch")
    x = points[0]
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(4), keras.layers.BatchNormalization()])
    kernel = np.random.default_rng(1).normal(size=(10, 4)).astype("float32")
    model.set_weights([kernel, *model.get_weights()[1:]])
    norm = torch.nn.BatchNorm1d(4)
    linear = torch.nn.Linear(10, 4)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(kernel.T))
        linear.bias.zero_()
    other = torch.nn.Sequential(linear, norm)
    torch.optim.swa_utils.update_bn([torch.tensor(x[first : first + 25]) for first in range(0, 100, 25)], other)
    refresh_statistics(model, x, batch_size=25)
    mean, variance = model.get_weights()[-2:]
    np.testing.assert_allclose(mean, norm.running_mean.numpy(), atol=1e-6)
    np.testing.assert_allclose(variance, norm.running_var.numpy() * 24 / 25, rtol=1e-5)  # torch divides by n - 1


def test_statistics_of_the_average_at_the_end(points) -> None:
    x, y = points
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(4), keras.layers.BatchNormalization()])
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse")
    Loop(model, jit=False).fit(x, y, epochs=3, callbacks=[Average(SWA(0), statistics=x)], **HOW)
    kernel, bias = model.get_weights()[:2]
    np.testing.assert_allclose(model.layers[1].moving_mean, (x @ kernel + bias).mean(axis=0), atol=1e-5)


def test_rates_of_a_run_that_is_averaged(network, points) -> None:
    schedule = SWA(0.5).schedule(Cosine(0.1), Triangular(0.05, 0.01, every=0.25))
    history = network().fit(*points, epochs=4, callbacks=[LearningRate(schedule, unit="run")], **HOW).history
    # The last update of an epoch is a twentieth of the run before its end.
    np.testing.assert_allclose(history["learning_rate"][2:], [0.026, 0.026], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EMA(1.0), r"decay must be in \[0, 1\), got 1.0"),
        (lambda: SWA(1.0), r"start must be in \[0, 1\), got 1.0"),
        (lambda: LAWA(0), "window must be >= 1, got 0"),
        (lambda: Average("ema"), r"of must be an averaging, such as EMA\(0.999\), got 'ema'"),
    ],
)
def test_bad_arguments(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_an_optimizer_that_averages_too_is_refused(network, points) -> None:
    model = network(keras.optimizers.SGD(0.1, use_ema=True))
    with pytest.raises(ValueError, match="use_ema must be False in an optimizer beside Average, got True"):
        model.fit(*points, callbacks=[Average()], **HOW)
