"""Needs of callbacks: epochs run together only when every callback method is declared to allow it."""

import keras
import numpy as np
import pytest

from kopt import callbacks
from kopt.schedules import Constant
from kopt.training import Loop, ProgressBar
from kopt.training.callback_needs import spans_epochs, watches_batches

EPOCHS = 14


def on(method: str, make):
    """Return a function that makes a callback with a method set on the instance."""

    def build(act):
        callback = make()
        setattr(callback, method, act)
        return callback

    return build


class Schedule(callbacks.LearningRate):
    """A subclass of a callback that spans epochs, with an undeclared method."""

    def __init__(self, act):
        super().__init__(Constant(0.02))
        self.act = act

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.act(epoch, logs)


class Logged(keras.callbacks.History):
    def __init__(self, act):
        super().__init__()
        self.act = act

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.act(epoch, logs)


class Proxy(keras.callbacks.Callback):
    """A stand-in whose methods are another callback's."""

    def __init__(self, act):
        super().__init__()
        self.__dict__["inner"] = keras.callbacks.LambdaCallback(on_epoch_end=act)

    def __getattribute__(self, name):
        if name.startswith("on_epoch"):
            return getattr(object.__getattribute__(self, "inner"), name)
        return object.__getattribute__(self, name)


class Late(keras.callbacks.Callback):
    """Sets its method when training begins."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def on_train_begin(self, logs=None):
        self.on_epoch_end = self.act


UNKNOWN = {
    "lambda": lambda act: keras.callbacks.LambdaCallback(on_epoch_end=act),
    "instance": on("on_epoch_end", keras.callbacks.Callback),
    "instance of History": on("on_epoch_end", keras.callbacks.History),
    "instance of ours": on("on_epoch_end", callbacks.Diagnosis),
    "subclass of ours": Schedule,
    "subclass of History": Logged,
    "proxy": Proxy,
    "late": Late,
    "nested": lambda act: [[keras.callbacks.LambdaCallback(on_epoch_end=act)]],
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_undeclared_methods_are_called_in_time(name: str, network, points) -> None:
    """The updates at each epoch's end, a rate halved there, snapshots, and a stop: as in stock fit."""

    def run(loop: bool):
        model, seen = network("sgd"), []

        def act(epoch, logs=None):
            seen.append((int(model.optimizer.iterations), model.get_weights()[0].copy()))
            if name != "subclass of ours":  # whose schedule is the rate's owner
                model.optimizer.learning_rate = float(model.optimizer.learning_rate) * 0.9
            model.stop_training = epoch == EPOCHS - 4

        fit = Loop(model, jit=False).fit if loop else model.fit
        how = {"batch_size": 50, "epochs": EPOCHS, "shuffle": False, "verbose": 0}
        history = fit(*points, callbacks=[UNKNOWN[name](act)], **how)
        return seen, history.history

    (expected, kept), (found, history) = run(False), run(True)
    assert [updates for updates, _ in found] == [updates for updates, _ in expected]
    assert len(found) == EPOCHS - 3 and history == kept
    for (_, one), (_, other) in zip(expected, found):
        np.testing.assert_array_equal(one, other)


def test_batch_methods_that_are_set_on_an_instance_count(network, points) -> None:
    calls: list[int] = []

    def run(callback):
        calls.clear()
        Loop(network("sgd"), jit=False).fit(*points, batch_size=25, epochs=3, verbose=0, callbacks=[callback])
        return list(calls)

    count = lambda batch, logs=None: calls.append(batch)
    assert run(on("on_train_batch_end", lambda: callbacks.LearningRate(Constant(0.1)))(count)) == [0, 1, 2, 3] * 3
    late = Late(None)
    late.on_train_begin = lambda logs=None: setattr(late, "on_train_batch_end", count)
    assert run(late) == [0, 1, 2, 3] * 3


def test_a_flag_holds_for_the_class_and_for_subclasses_without_methods(tmp_path) -> None:
    class Same(callbacks.LearningRate):
        """Overrides nothing."""

    class OfHistory(keras.callbacks.History):
        """Overrides nothing."""

    declared = [
        keras.callbacks.History(),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        callbacks.LearningRate(Constant(0.1)),
        callbacks.Throughput(),
        callbacks.TimeBudget("1h"),
        ProgressBar(live=False),
        Same(Constant(0.1)),
        OfHistory(),
        keras.callbacks.Callback(),
        keras.callbacks.LambdaCallback(),
    ]
    assert [one for one in declared if not spans_epochs(one) or watches_batches(one, "train")] == []
    unknown = [make(print) for name, make in UNKNOWN.items() if name not in ("late", "nested")]
    assert [one for one in [*unknown, callbacks.EpochTime(), Schedule(print)] if spans_epochs(one)] == []


def test_a_close_that_is_not_kopts_is_left_alone(network, points) -> None:
    class Closing(keras.callbacks.Callback):
        def close(self):
            raise AssertionError("called")

    Loop(network("sgd"), jit=False).fit(*points, verbose=0, callbacks=[Closing()])
