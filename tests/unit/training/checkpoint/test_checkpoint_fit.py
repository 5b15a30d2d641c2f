"""Checkpoint in Keras' own fit: a run goes on after its last epoch to the bit, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kopt
from kopt.callbacks import Checkpoint
from kopt.state import training_variables
from kopt.training.checkpoint.fingerprint import fingerprint
from kopt.training.checkpoint.folder import CheckpointFolder

X = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
Y = X[:, :1]


class Stop(keras.callbacks.Callback):
    """Raise at an update, as an error in a callback does."""

    def __init__(self, at: int):
        super().__init__()
        self.at = at

    def get_state(self) -> dict:
        return {}

    def set_state(self, state: dict) -> None:
        pass

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        if int(self.model.optimizer.iterations) == self.at:
            raise RuntimeError("stopped")


def model_of(*, rate: float = 0.3, width: int = 1, optimizer: str = "adam") -> keras.Model:
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dropout(rate), keras.layers.BatchNormalization(), keras.layers.Dense(width)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def run(folder, at: int = 0, epochs: int = 5):
    """Train; return the History, and the bits of all that training changes."""
    model = model_of()
    callbacks = [
        Stop(at),
        keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.5, min_delta=1),
        keras.callbacks.EarlyStopping(patience=3, min_delta=0.1, restore_best_weights=True),
        Checkpoint(folder, every="1 epoch", keep_best="val_loss"),
    ]
    how = {"validation_data": (X, Y), "shuffle": False, "verbose": 0}
    history = model.fit(X, Y, epochs=epochs, callbacks=callbacks, **how).history
    metrics = {id(one.value) for one in model.metrics_variables}
    kept = [one for one in training_variables(model) if id(one) not in metrics]
    return history, [tf.convert_to_tensor(one).numpy().tobytes() for one in kept]


def test_a_run_that_was_stopped_twice_ends_as_one_that_was_not(tmp_path) -> None:
    whole = run(tmp_path / "whole")
    for at in (3, 7):  # in the second epoch and in the fourth
        with pytest.raises(RuntimeError, match="stopped"):
            run(tmp_path / "parts", at)
    assert run(tmp_path / "parts") == whole
    assert len(whole[0]["learning_rate"]) == 4  # it stopped early
    assert len(set(whole[0]["learning_rate"])) > 1
    assert run(tmp_path / "parts") == whole  # nothing is left to train
    best = CheckpointFolder(tmp_path / "parts").read_best()
    assert best is not None
    assert best.values["moment"][0] == 1 + int(np.argmin(whole[0]["val_loss"]))


def test_more_epochs_go_on_from_the_last(tmp_path) -> None:
    run(tmp_path / "parts", epochs=2)
    assert run(tmp_path / "parts", epochs=4) == run(tmp_path / "whole", epochs=4)


@pytest.mark.parametrize(
    "other, says",
    [
        ({"rate": 0.5}, r"layer 2.rate was 0.3 and is 0.5"),
        ({"width": 2}, r"layer 4.units was 1 and is 2"),
        ({"optimizer": "sgd"}, r"optimizer.class was Adam and is SGD"),
    ],
)
def test_another_run_is_refused_by_what_differs(other: dict, says: str, tmp_path) -> None:
    model_of().fit(X, Y, verbose=0, callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(ValueError, match=says):
        model_of(**other).fit(X, Y, verbose=0, callbacks=[Checkpoint(tmp_path)])
    with CheckpointFolder(tmp_path).locked():  # is free again
        pass


def test_it_is_the_last_callback_of_a_built_model(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"callbacks must have Checkpoint as the last one in model.fit"):
        callbacks = [Checkpoint(tmp_path), keras.callbacks.TerminateOnNaN()]
        model_of().fit(X, Y, verbose=0, callbacks=callbacks)
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    unbuilt.compile("sgd", "mse")
    with pytest.raises(ValueError, match="model must be built before fit"):
        unbuilt.fit(X, Y, verbose=0, callbacks=[Checkpoint(tmp_path)])


def test_a_checkpoint_of_fit_is_none_of_loop(tmp_path) -> None:
    model_of().fit(X, Y, verbose=0, callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(ValueError, match=r"must be one of kopt.fit, not of model.fit"):
        kopt.fit(model_of(), X, Y, verbose=0, checkpoint=tmp_path)


def test_one_that_loop_has_used_serves_fit_too(tmp_path) -> None:
    checkpoint, model = Checkpoint(tmp_path / "loop"), model_of()
    kopt.Loop(model).fit(X, Y, verbose=0, callbacks=[checkpoint])
    with pytest.raises(ValueError, match=r"must be one of model.fit, not of kopt.fit"):
        model.fit(X, Y, verbose=0, callbacks=[checkpoint])


def test_what_has_no_effect_is_refused(tmp_path) -> None:
    for checkpoint in (None, Checkpoint(tmp_path / "none")):
        with pytest.raises(ValueError, match="every must be given beside a folder of checkpoints, or to Checkpoint"):
            kopt.fit(model_of(), X, Y, verbose=0, checkpoint=checkpoint, every="5s")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "how, says",
    [
        ({"every": "3"}, "every must be a duration"),
        ({"every": "0 steps"}, "every must be a duration"),
        ({"keep": 0}, "keep must be a whole number >= 1"),
        ({"keep_best": "dice"}, "score must be one whose direction is known"),
        ({"signals": ["TERM"]}, "signals must be names such as 'SIGTERM'"),
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'warn'"),
        ({"strict": 1}, "strict must be True or False"),
    ],
)
def test_arguments_are_checked_before_any_work(how: dict, says: str, tmp_path) -> None:
    with pytest.raises(ValueError, match=says):
        Checkpoint(tmp_path / "none", **how)
    assert not (tmp_path / "none").exists()


class Two(keras.Model):
    """Two optimizers, and a layer that draws by Keras' global seed."""

    def __init__(self):
        super().__init__()
        self.first, self.second = keras.layers.Dense(4), keras.layers.Dense(1)
        self.others = [keras.optimizers.Adam(0.05), keras.optimizers.SGD(0.05, momentum=0.9)]

    def call(self, x, training=False):
        x = self.first(x)
        return self.second(x + keras.random.normal(keras.ops.shape(x)) if training else x)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
        parts = [self.first.trainable_variables, self.second.trainable_variables]
        for optimizer, part, gradients in zip(self.others, parts, tape.gradient(loss, parts)):
            optimizer.apply(gradients, part)
        return {"loss": loss}


def test_several_optimizers_and_keras_global_seed_go_on(tmp_path) -> None:
    """The seed is made, and optimizers are built, in the first step: neither is there when a run goes on."""
    found = []
    for folder, ends in (("whole", (4,)), ("ended", (2, 4))):
        for epochs in ends:
            keras.utils.set_random_seed(3)
            model = Two()
            model(X[:1])
            model.compile(loss="mse")
            checkpoint = Checkpoint(tmp_path / folder, every="1 epoch")
            history = model.fit(X, Y, epochs=epochs, shuffle=False, verbose=0, callbacks=[checkpoint]).history
        found.append((history, [tf.convert_to_tensor(one).numpy().tobytes() for one in training_variables(model)]))
    assert found[0] == found[1] and len(found[0][0]["loss"]) == 4


class Ones(keras.layers.Layer):
    def __init__(self, what: object):
        super().__init__()
        self.what = what


def test_a_layer_without_a_configuration_is_told_by_its_class() -> None:
    layer = keras.layers.TimeDistributed(Ones(object()))
    with pytest.raises(NotImplementedError):
        layer.get_config()
    model = keras.Sequential([keras.Input((2, 3)), layer])
    assert fingerprint(model, model.train_step, {})["layer 2.class"] == "TimeDistributed"
