"""The evaluation weights of Schedule-Free: who sees them, and that training goes on from its own."""

import logging
import pathlib

import keras
import numpy as np
import pytest

import kopt
from kopt import callbacks
from kopt.optimizers import Decayed, Optimizer
from kopt.rules import Momentum, ScheduleFreeAdamW, ScheduleFreeSGD
from kopt.training import Loop, minimize
from kopt.training.rule_weights import RuleWeights

HOW = {"batch_size": 20, "shuffle": False, "verbose": 0}
RULE = ScheduleFreeAdamW(warmup=7, weight_decay=0.01)
SAVED = """
import keras, numpy, sys
model = keras.saving.load_model(sys.argv[1], compile=False)
numpy.savez(sys.argv[2], *model.get_weights())
assert "kopt" not in sys.modules
"""
REPLICAS = """
import sys
import keras, numpy as np, tensorflow as tf
import kopt
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1]))
strategy = tf.distribute.MirroredStrategy([f"CPU:{place}" for place in range(int(sys.argv[1]))])
with strategy.scope():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    model.compile(kopt.optimizers.Optimizer(kopt.rules.ScheduleFreeAdamW(), 0.01), "mse")
x = np.random.default_rng(0).normal(size=(40, 3))
how = {"batch_size": 8, "shuffle": False, "verbose": 0, "validation_data": (x, x[:, :1])}
history = kopt.fit(model, x, x[:, :1], epochs=2, **how).history
more = kopt.fit(model, x, x[:, :1], epochs=4, initial_epoch=2, **how).history
np.savez(sys.argv[2], *model.get_weights(), *map(np.array, (*history.values(), *more.values())))
"""


class Looks(keras.callbacks.Callback):
    """The kernel when batches begin, in validation and at the ends of epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.batch, self.test, self.epoch = list[np.ndarray](), list[np.ndarray](), list[list[np.ndarray]]()

    def on_train_batch_begin(self, batch, logs=None):
        self.batch.append(self.model.get_weights()[0])

    def on_test_batch_begin(self, batch, logs=None):
        self.test.append(self.model.get_weights()[0])

    def on_epoch_end(self, epoch, logs=None):
        self.epoch.append(self.model.get_weights())


def optimizer(rule: kopt.rules.Rule = RULE) -> Optimizer:
    return Optimizer(rule, 0.02)


def fitted(model: keras.Model, how: str, points, listed=(), **arguments) -> keras.callbacks.History:
    """Train by the ways that there are."""
    if how == "fit":
        return model.fit(*points, callbacks=[RuleWeights(), *listed], **HOW | arguments)
    return Loop(model, jit="jit" in how).fit(*points, callbacks=list(listed), **HOW | arguments)


def same(one: keras.Model, other: keras.Model, **tolerance: float) -> None:
    for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, **{"atol": 0.0} | tolerance)


@pytest.fixture(scope="module")
def theirs(network, points) -> list[list[np.ndarray]]:
    """The package's x at the end of each of four epochs, by torch alone."""
    schedulefree = pytest.importorskip("schedulefree", reason="schedulefree is in the extra [peers]")
    torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
    x, y = map(torch.tensor, points)
    parameters = [torch.nn.Parameter(torch.tensor(weight)) for weight in network().get_weights()]
    numbers = {"lr": 0.02, "warmup_steps": 7, "weight_decay": 0.01}
    stepper = schedulefree.AdamWScheduleFree(parameters, **numbers)
    found = []
    for _ in range(4):
        stepper.train()
        for first in range(0, 100, 20):
            stepper.zero_grad()
            kernel, bias, last, offset = parameters
            outputs = torch.relu(x[first : first + 20] @ kernel + bias) @ last + offset
            torch.mean((outputs - y[first : first + 20]) ** 2).backward()
            stepper.step()
        stepper.eval()
        found.append([parameter.detach().numpy().copy() for parameter in parameters])
    return found


@pytest.mark.parametrize("how", ["fit", "loop", "loop, jit"])
def test_x_at_the_end_of_each_epoch_is_the_packages(how: str, network, points, theirs) -> None:
    model, looks = network(optimizer()), Looks()
    fitted(model, how, points, [looks], epochs=4)
    for ours, other in zip([*looks.epoch, model.get_weights()], [*theirs, theirs[-1]], strict=True):
        for one, reference in zip(ours, other):
            np.testing.assert_allclose(one, reference, rtol=1e-5, atol=1e-5)


def test_several_epochs_in_one_program_end_at_the_packages_x(network, points, theirs) -> None:
    model = network(optimizer())
    fitted(model, "loop", points, epochs=4)
    for one, reference in zip(model.get_weights(), theirs[-1]):
        np.testing.assert_allclose(one, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["fit", "loop"])
def test_validation_and_files_see_x_and_training_does_not(how: str, network, points, tmp_path) -> None:
    bare, without = network(optimizer()), Looks()
    bare.fit(*points, epochs=3, validation_data=points, callbacks=[without], **HOW)  # by y alone
    model, beside, path = network(optimizer()), Looks(), tmp_path / "last.keras"
    listed = [beside, keras.callbacks.ModelCheckpoint(path)]
    history = fitted(model, how, points, listed, epochs=3, validation_data=points).history
    np.testing.assert_array_equal(beside.batch, without.batch)
    ends = [weights[0] for weights in beside.epoch]
    np.testing.assert_array_equal(beside.test[4::5], ends)
    np.testing.assert_array_equal(model.get_weights()[0], ends[-1])
    assert all(np.any(one != other[0]) for one, other in zip(ends, without.epoch))
    saved = keras.saving.load_model(path)
    same(saved, model)
    losses = [one.evaluate(*points, verbose=0)[0] for one in (saved, model)]
    np.testing.assert_allclose(losses, history["val_loss"][-1], rtol=1e-6)
    np.testing.assert_array_equal(saved.predict(points[0], verbose=0), Loop(model, jit=False).predict(points[0]))


def test_a_file_is_x_in_keras_without_kopt(network, points, python, tmp_path) -> None:
    model = network(optimizer())
    fitted(model, "loop", points, epochs=2)
    model.save(tmp_path / "model.keras")
    script = tmp_path / "read.py"
    script.write_text(SAVED)
    python(str(script), str(tmp_path / "model.keras"), str(tmp_path / "read.npz"), PYTHONPATH="")
    with np.load(tmp_path / "read.npz") as read:
        for one, other in zip(model.get_weights(), read.values(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("how", ["fit", "loop"])
def test_training_goes_on_from_its_own_weights(how: str, network, points, tmp_path) -> None:
    """To the bit in the process and by kopt.load_model; by Keras' loading, which drops y, to rounding."""
    whole, half = network(optimizer()), network(optimizer())
    fitted(whole, how, points, epochs=4)
    fitted(half, how, points, epochs=2)
    half.save(tmp_path / "half.keras")
    exact = kopt.load_model(tmp_path / "half.keras")
    rounded = keras.saving.load_model(tmp_path / "half.keras")
    for model in (half, exact, rounded):
        fitted(model, how, points, epochs=4, initial_epoch=2)
    same(half, whole)
    same(exact, whole)
    same(rounded, whole, atol=2e-6)


@pytest.mark.parametrize("every", ["1 epoch", "3 steps"])
def test_a_checkpoint_goes_on_to_the_bit(every: str, network, points, tmp_path) -> None:
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 13:
                raise RuntimeError("killed")

        def get_state(self):
            return {}

        def set_state(self, state):
            pass

    class Go(Stop):
        def on_train_batch_end(self, batch, logs=None):
            pass

    Go.__name__ = "Stop"
    how = {"epochs": 4, "validation_data": points}
    whole = network(optimizer())
    history = fitted(whole, "loop", points, [Go()], **how).history
    cut = network(optimizer())
    with pytest.raises(RuntimeError, match="killed"):
        fitted(cut, "loop", points, [Stop()], checkpoint=tmp_path, every=every, **how)
    again = network(optimizer())
    assert fitted(again, "loop", points, [Go()], checkpoint=tmp_path, every=every, **how).history == history
    same(again, whole)


def test_a_checkpoint_of_keras_own_fit_goes_on_to_the_bit(network, points, tmp_path) -> None:
    whole, half, again = network(optimizer()), network(optimizer()), network(optimizer())
    fitted(whole, "fit", points, epochs=4)
    for model, epochs in ((half, 2), (again, 4)):
        fitted(model, "fit", points, [callbacks.Checkpoint(tmp_path, every="1 epoch")], epochs=epochs)
    same(again, whole)


def test_weights_that_were_set_are_taken_for_x(network, points) -> None:
    model = network(optimizer(ScheduleFreeSGD()))
    fitted(model, "loop", points, epochs=2)
    store: dict[str, np.ndarray] = {}
    model.optimizer.save_own_variables(store)
    leads = [np.array(value) for name, value in store.items() if name.endswith("lead")]
    start, looks = [weight + 0.1 for weight in model.get_weights()], Looks()
    model.set_weights(start)
    fitted(model, "loop", points, [looks], epochs=1)
    np.testing.assert_allclose(looks.batch[0], start[0] + leads[0] * (1 / 0.9 - 1), atol=1e-6)


def test_early_stopping_puts_back_the_best_x(network, points) -> None:
    model = network(optimizer())
    stop = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
    history = fitted(model, "loop", points, [stop], epochs=6, validation_data=points).history
    assert model.evaluate(*points, verbose=0)[0] == pytest.approx(min(history["val_loss"]), rel=1e-5)


@pytest.mark.parametrize("how", ["fit", "loop"])
def test_when_training_raises_the_model_has_x(how: str, network, points) -> None:
    class Die(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise RuntimeError("died")

    shows, cut, model = RuleWeights(), network(optimizer()), network(optimizer())
    with pytest.raises(RuntimeError, match="died"):
        if how == "fit":
            cut.fit(*points, callbacks=[shows, Die()], **HOW)
        else:
            Loop(cut, jit=False).fit(*points, callbacks=[Die()], **HOW)
    shows.close()
    fitted(model, how, [part[:80] for part in points])
    same(cut, model)
    assert "train_step" not in vars(cut)


def test_wrapped_optimizers_have_evaluation_weights_too(network, points) -> None:
    plain = network(optimizer(ScheduleFreeAdamW()))
    fitted(plain, "loop", points, epochs=2)
    scaled = network(keras.optimizers.LossScaleOptimizer(optimizer(ScheduleFreeAdamW()), initial_scale=4.0))
    fitted(scaled, "loop", points, epochs=2)
    same(scaled, plain, atol=1e-6)
    decayed = network(Decayed(optimizer(ScheduleFreeAdamW()), 0.0))
    fitted(decayed, "loop", points, epochs=2)
    same(decayed, plain)


def test_replicas_equal_one(python, tmp_path) -> None:
    script = tmp_path / "train.py"
    script.write_text(REPLICAS)
    for count in ("1", "2"):
        python(str(script), count, str(tmp_path / f"{count}.npz"))
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "2.npz") as two:
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-5, atol=1e-6)


def test_a_recipes_files_have_x(tmp_path) -> None:
    recipe = kopt.Recipe(
        "free",
        kopt.data.Digits(examples=100),
        model=kopt.models.MLP((8, 8, 1), 10, units=(16,), scale=1 / 16),
        schedule=kopt.schedules.Constant(0.02),
        rule=ScheduleFreeAdamW(),
        training=kopt.Training(epochs=2, batch_size=16),
    )
    seen = Looks()
    done = kopt.run(recipe, callbacks=[seen], folder=tmp_path, verbose=False)
    x = seen.epoch[-1]
    for name in ("model.keras", "inference.keras"):
        read = keras.saving.load_model(pathlib.Path(done.folder) / name, compile=False).get_weights()
        for weight in x:
            assert any(one.shape == weight.shape and np.array_equal(one, weight) for one in read), name
    model = kopt.load_model(pathlib.Path(done.folder) / "model.keras")
    assert model.optimizer.shows_evaluation
    for one, y in zip(x, model.optimizer.kopt_evaluation.arrays, strict=True):
        assert np.any(one != y.numpy())


def test_statistics_are_those_of_x(points) -> None:
    x, y = points
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(4), keras.layers.BatchNormalization()])
    model.add(keras.layers.Dense(1))
    model.compile(optimizer(), "mse")
    Loop(model, jit=False).fit(x, y, epochs=2, callbacks=[RuleWeights(statistics=x)], **HOW)
    kernel, bias = model.get_weights()[:2]
    np.testing.assert_allclose(model.layers[1].moving_mean, (x @ kernel + bias).mean(axis=0), atol=1e-5)


def test_a_fit_without_the_callback_says_so(network, points, caplog) -> None:
    with caplog.at_level(logging.WARNING, "kopt"):
        for listed in ([RuleWeights()], []):
            network(optimizer()).fit(*points, callbacks=listed, **HOW)
        Loop(network(optimizer()), jit=False).fit(*points, **HOW)
        network(optimizer(Momentum())).fit(*points, **HOW)
    assert len(caplog.records) == 1
    assert "fit it with kopt.fit, or with kopt.callbacks.RuleWeights() among the callbacks" in caplog.text


def test_a_fit_without_the_callback_trains_what_is_shown(network, points, caplog) -> None:
    """It says so, and the next fit goes on from there."""
    model, looks = network(optimizer()), Looks()
    fitted(model, "loop", points, epochs=2)
    with caplog.at_level(logging.WARNING, "kopt"):
        model.fit(*points, **HOW)
    assert "the model has the weights of training" in caplog.text
    trained = model.get_weights()
    fitted(model, "loop", points, [looks], epochs=1)
    np.testing.assert_array_equal(looks.batch[0], trained[0])
    assert model.optimizer.shows_evaluation


def test_a_rule_without_evaluation_weights_is_left_alone(network, points) -> None:
    shown, plain = network(optimizer(Momentum())), network(optimizer(Momentum()))
    shown.fit(*points, callbacks=[RuleWeights()], **HOW)
    plain.fit(*points, **HOW)
    same(shown, plain)


def test_another_average_beside_it_is_refused(network, points) -> None:
    model = network(optimizer(ScheduleFreeSGD()))
    rule = r"^rule must keep no evaluation weights of its own beside Average, got ScheduleFreeSGD\(\)"
    for fit in (model.fit, Loop(model).fit):
        with pytest.raises(ValueError, match=rule):
            fit(*points, callbacks=[callbacks.Average()], **HOW)


def test_an_unbuilt_model_is_refused(network, points) -> None:
    model = network(optimizer(), with_input=False)
    with pytest.raises(ValueError, match="^model must be built before its rule's weights are shown, got"):
        model.fit(*points, callbacks=[RuleWeights()], **HOW)


def test_an_evaluation_in_mid_epoch_changes_no_training(network, points) -> None:
    class Evaluates(keras.callbacks.Callback):
        def __init__(self, shows: RuleWeights) -> None:
            super().__init__()
            self.shows, self.seen = shows, list[list[np.ndarray]]()

        def on_train_batch_end(self, batch, logs=None):
            before = self.model.get_weights()
            self.shows.on_test_begin()
            self.seen = [before, self.model.get_weights()]
            self.shows.on_test_end()

    shows, plain, model = RuleWeights(), network(optimizer()), network(optimizer())
    evaluates = Evaluates(shows)
    plain.fit(*points, callbacks=[RuleWeights()], epochs=2, **HOW)
    model.fit(*points, callbacks=[shows, evaluates], epochs=2, **HOW)
    same(model, plain)
    assert np.any(evaluates.seen[0][0] != evaluates.seen[1][0])
    np.testing.assert_array_equal(evaluates.seen[1][0], model.get_weights()[0])


def test_minimize_returns_x() -> None:
    """By hand: z is 0.5 and 0.75, x their mean, and y = (x + z) / 2 = 0.6875."""
    assert minimize(lambda w: (w - 1) ** 2, 0, ScheduleFreeSGD(0.5), rate=0.25, steps=2).parameters == 0.625
