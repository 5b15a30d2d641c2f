"""Loop: fit's contract, and what is refused."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.callbacks import LearningRate
from kopt.training import Loop, ProgressBar, fit, order


class Calls(keras.callbacks.Callback):
    """Records the order of hooks."""

    def __init__(self, batches: bool = True):
        super().__init__()
        self.calls: list[tuple] = []
        if batches:
            self.on_train_batch_begin = lambda batch, logs=None: self.calls.append(("begin", batch))
            self.on_train_batch_end = lambda batch, logs=None: self.calls.append(("end", batch, sorted(logs)))

    def on_train_begin(self, logs=None):
        self.calls.append(("train begin",))

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("epoch begin", epoch))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(("epoch end", epoch, sorted(logs)))

    def on_train_end(self, logs=None):
        self.calls.append(("train end", sorted(logs)))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("batch_size", [20, 30])
def test_callbacks_are_called_as_in_fit(steps: int, batch_size: int, network, points) -> None:
    how = {"batch_size": batch_size, "epochs": 2, "validation_split": 0.1, "verbose": 0}
    ours, theirs = Calls(), Calls()
    Loop(network(steps_per_execution=steps)).fit(*points, callbacks=[ours], **how)
    network(steps_per_execution=steps).fit(*points, callbacks=[theirs], **how)
    assert ours.calls == theirs.calls


def test_stop_training_in_a_hook_stops(network, points) -> None:
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    model = network()
    history = Loop(model).fit(*points, batch_size=10, epochs=5, callbacks=[Stop()], verbose=0)
    assert int(model.optimizer.iterations) == 3 and len(history.history["loss"]) == 1


def test_keras_callbacks_work(network, points, tmp_path) -> None:
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
        keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "logs"),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.ReduceLROnPlateau(patience=0, min_delta=10, verbose=0),
    ]
    model = network("adam")
    history = fit(model, *points, epochs=4, validation_split=0.2, callbacks=callbacks, verbose=0).history
    assert len((tmp_path / "log.csv").read_text().splitlines()) == len(history["loss"]) + 1
    assert keras.saving.load_model(tmp_path / "best.keras").built and any((tmp_path / "logs").rglob("events*"))
    assert float(model.optimizer.learning_rate) < 0.001


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # fit says so of any data of unknown size
@pytest.mark.parametrize("kind", ["dataset", "unknown size", "generator", "py_dataset", "steps_per_epoch", "strings"])
def test_any_data_that_fit_takes(kind: str, network, points) -> None:
    x, y = points

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, place):
            return x[25 * place : 25 * place + 25], y[25 * place : 25 * place + 25]

    def data():
        whole = tf.data.Dataset.from_tensor_slices((x, y)).batch(25)
        return {
            "dataset": lambda: {"x": whole},
            "unknown size": lambda: {"x": whole.filter(lambda a, b: True)},
            "generator": lambda: {
                "x": (batch for _ in range(2) for batch in whole.as_numpy_iterator()),
                "steps_per_epoch": 4,
            },
            "py_dataset": lambda: {"x": Batches()},
            "steps_per_epoch": lambda: {"x": x, "y": y, "batch_size": 25, "steps_per_epoch": 2},
            "strings": lambda: {"x": x, "y": y, "batch_size": 25, "validation_freq": 2, "validation_data": whole},
        }[kind]()

    ours, theirs = network("adam"), network("adam")
    found = Loop(ours, jit=False).fit(**data(), epochs=2, shuffle=False, verbose=0).history
    # At the end of data of unknown size, stock fit counts an update that has no batch: Adam's corrections go astray.
    known = data() if kind != "unknown size" else {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(25)}
    assert found == theirs.fit(**known, epochs=2, shuffle=False, verbose=0).history
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations)
    for one, other in zip(ours.get_weights(), theirs.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_a_model_with_its_own_train_step_keeps_it(points) -> None:
    class Own(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data) | {"mine": tf.constant(3.0)}

    model = Own([keras.Input((10,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert fit(model, *points, epochs=2, verbose=0).history["mine"] == [3.0, 3.0]


def test_run_eagerly_and_a_second_fit(network, points) -> None:
    eager, graph = network("adam", run_eagerly=True), network("adam")
    for model in (eager, graph):
        for _ in range(2):
            Loop(model, seed=1, jit=False).fit(*points, batch_size=25, epochs=1, verbose=0)
    for one, other in zip(eager.get_weights(), graph.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_fit_after_loop_and_loop_after_fit_use_what_was_compiled_last(network, points) -> None:
    mixed, plain = network("adam"), network("adam")
    how = {"epochs": 1, "shuffle": False, "verbose": 0}
    for fits in ((fit, keras.Model.fit, fit), (keras.Model.fit,) * 3):
        model = mixed if fit in fits else plain
        for once in fits:
            once(model, *points, **how)
        model.compile(keras.optimizers.SGD(0.1), "mae")
        fits[0](model, *points, **how)
    for one, other in zip(mixed.get_weights(), plain.get_weights()):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_order_is_a_pure_function_of_seed_and_epoch() -> None:
    orders = [tuple(order(50, seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9 and all(sorted(one) == list(range(50)) for one in orders)
    assert orders[4] == tuple(order(50, seed=1, epoch=1))
    np.testing.assert_array_equal(order(5, seed=1, epoch=1, shuffle=False), np.arange(5))


def test_the_global_seed_rules_the_order(network, points) -> None:
    weights = []
    for seed in (1, 1, 2):
        model = network("adam")
        keras.utils.set_random_seed(seed)
        fit(model, *points, batch_size=10, epochs=2, verbose=0)
        weights.append(model.get_weights()[0])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.abs(weights[0] - weights[2]).max() > 0


def test_lists_of_inputs_and_targets_in_every_engine(points) -> None:
    x, y = points

    def build():
        keras.utils.set_random_seed(1)
        inputs = [keras.Input((4,)), keras.Input((6,))]
        hidden = keras.layers.Concatenate()(inputs)
        model = keras.Model(inputs, [keras.layers.Dense(1)(hidden), keras.layers.Dense(1)(hidden)])
        model.compile("adam", ["mse", "mae"])
        return model

    data, how = ([x[:, :4], x[:, 4:]], [y, -y]), {"batch_size": 16, "shuffle": False, "verbose": 0}
    expected = build()
    expected.fit(*data, **how)
    for engine in ("resident", "stream"):
        model = build()
        Loop(model, engine=engine, jit=False).fit(*data, **how)
        for one, other in zip(model.get_weights(), expected.get_weights()):
            np.testing.assert_array_equal(one, other)


def test_a_step_of_ones_own_gives_the_logs_and_is_gone_afterwards(network, points) -> None:
    model = network("sgd")
    before = model.get_weights()
    history = Loop(model, step=lambda data: {"mine": tf.constant(7.0)}).fit(*points, verbose=0).history
    assert history == {"mine": [7.0]}
    model.fit(*points, verbose=0)
    assert np.abs(model.get_weights()[0] - before[0]).max() > 0


def test_a_model_without_trainable_weights_adapts_its_statistics() -> None:
    models = []
    for fits in (fit, keras.Model.fit):
        model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(scale=False, center=False)])
        model.compile("sgd", "mse")
        x = np.random.default_rng(0).normal(2, 3, (40, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits(model, x, x, shuffle=False, verbose=0)
        models.append(model.get_weights())
    for one, other in zip(*models):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_what_was_shown_and_installed_is_put_away_when_training_raises(network, points, capsys) -> None:
    class Die(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    model, bar = network("sgd"), ProgressBar(live=True)
    with pytest.raises(KeyboardInterrupt):
        fit(model, *points, epochs=3, verbose=0, callbacks=[LearningRate("constant", rate=0.1), Die(), bar])
    assert bar.bar is None
    model.optimizer.learning_rate = 0.5
    assert float(model.optimizer.learning_rate) == 0.5


def test_keras_debugging_limit_of_epochs_counts(network, points) -> None:
    keras.config.set_max_epochs(1)
    try:
        assert len(fit(network(), *points, epochs=3, verbose=0).history["loss"]) == 1
    finally:
        keras.config.set_max_epochs(None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x, y: fit(m), "x must be given, got None."),
        (lambda m, x, y: fit(m, x, y, initial_epoch="a"), "initial_epoch must be a whole number >= 0, got 'a'."),
        (lambda m, x, y: fit(m, x, y, steps_per_epoch=0), "steps_per_epoch must be a whole number >= 1, got 0."),
        (lambda m, x, y: fit(m, x, y, validation_freq=0), "validation_freq must be >= 1 or epochs from 1 on, got 0."),
        (lambda m, x, y: fit(m, x, y, validation_steps=-1), "validation_steps must be a whole number >= 1, got -1."),
        (lambda m, x, y: fit(m, x, y, verbose=3), "verbose must be 'auto', 0, 1 or 2, got 3."),
        (lambda m, x, y: fit(m, x, y, validation_data=(x, y[:3])), "Data cardinality is ambiguous"),
        (
            lambda m, x, y: Loop(m, strategy=tf.distribute.OneDeviceStrategy("cpu:0")),
            "strategy must be the one that the model was built under, got <",
        ),
        (lambda m, x, y: Loop("model"), "model must be a Keras model, got 'model'."),
        (lambda m, x, y: Loop(m, engine="fast"), "engine must be 'auto', 'resident' or 'stream', got 'fast'."),
        (lambda m, x, y: Loop(m, jit="yes"), "jit must be 'auto', True or False, got 'yes'."),
        (lambda m, x, y: Loop(m, seed=-1), "seed must be a whole number in [0, 2 ** 64), got -1."),
        (lambda m, x, y: fit(keras.Sequential(name="raw"), x, y), "model must be compiled, got 'raw'."),
        (lambda m, x, y: fit(m, x, y, batch_size=0), "batch_size must be >= 1 or 'full', got 0."),
        (lambda m, x, y: fit(m, x, y, batch_size=2.5), "batch_size must be >= 1 or 'full', got 2.5."),
        (lambda m, x, y: fit(m, x, y, epochs=-1), "epochs must be a whole number >= 0, got -1."),
        (lambda m, x, y: fit(m, x, y, validation_split=1), "validation_split must be in [0, 1), got 1."),
        (lambda m, x, y: fit(m, x[:0], y[:0]), "x must not be empty, got '0 examples'."),
        (
            lambda m, x, y: fit(m, tf.data.Dataset.from_tensors((x, y)), batch_size="full"),
            "batch_size must be a number where the data are no arrays, got 'full'.",
        ),
        (
            lambda m, x, y: Loop(m, engine="resident").fit(pair for pair in [(x, y)]),
            "engine must be 'stream' here: the data are no dense arrays of numbers",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message: str, network, points) -> None:
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError) as caught:
        call(model, *points)
    assert str(caught.value).startswith(message)
    for one, other in zip(before, model.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_progress_is_plain_text_off_a_terminal_and_a_bar_on_one(network, points, capsys) -> None:
    fit(network(), *points, epochs=2, validation_split=0.1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("epoch 1/2  loss ") and "val_mae" in lines[1]
    network().fit(*points, epochs=1, verbose=0, callbacks=[ProgressBar(live=True)])
    assert "epoch 1/1" in capsys.readouterr().out
    fit(network(), *points, verbose=0)
    assert capsys.readouterr().out == ""
