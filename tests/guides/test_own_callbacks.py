"""Keras' guide "Writing your own callbacks": each of its callbacks, called by Keras and by kopt."""

from typing import Any

import keras
import numpy as np
import pytest

X = np.random.default_rng(0).random((48, 5)).astype("float32")
Y = X.sum(1, keepdims=True)
HOW = {"batch_size": 8, "epochs": 6, "shuffle": False, "verbose": 0}


def network(**compiled: Any) -> Any:
    model = keras.Sequential([keras.layers.Dense(1)])  # built from the data
    model.compile(keras.optimizers.RMSprop(0.1), "mean_squared_error", metrics=["mean_absolute_error"], **compiled)
    return model


@pytest.mark.parametrize("steps", [1, 4])
def test_every_hook(steps: int, as_in_fit) -> None:
    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        history = trainer.fit(X, Y, validation_split=0.5, callbacks=callbacks, **HOW | {"epochs": 2}).history
        result = trainer.evaluate(X, Y, batch_size=8, verbose=0, callbacks=callbacks)
        outputs = trainer.predict(X, batch_size=8, verbose=0, callbacks=callbacks)
        return {"history": history, "result": result, "outputs": outputs}

    calls = as_in_fit(lambda: network(steps_per_execution=steps), use, xla=steps == 4).calls
    assert len({name for name, *_ in calls}) == 14


class Told(keras.callbacks.Callback):
    """Keeps the losses that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.losses += [logs["loss"], logs["mean_absolute_error"]]


class StopAtLeastLoss(keras.callbacks.Callback):
    """Stops when the loss falls no more, with the best weights."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.wait, self.best, self.weights = 0, np.inf, None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs["loss"] < self.best:
            self.best, self.wait, self.weights = logs["loss"], 0, self.model.get_weights()
            return
        self.wait += 1
        if self.wait >= 1:
            self.model.stop_training = True
            self.model.set_weights(self.weights)


class Scheduled(keras.callbacks.Callback):
    """Sets the rate at the beginning of some epochs."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        rates = {1: 0.05, 3: 0.01, 4: 0.005}
        self.model.optimizer.learning_rate = rates.get(epoch, float(self.model.optimizer.learning_rate))


class Watching(keras.callbacks.Callback):
    """Predicts, evaluates and reads weights and updates in the middle of training."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen += [self.model.predict(X[:3], verbose=0), self.model.get_weights()[0].copy()]
        self.seen += [self.model.evaluate(X, Y, verbose=0), int(self.model.optimizer.iterations)]


@pytest.mark.parametrize("kinds", [[StopAtLeastLoss], [Scheduled], [Watching], [Told, StopAtLeastLoss, Scheduled]])
def test_callbacks_of_ones_own(kinds: list, as_in_fit) -> None:
    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        own = [kind() for kind in kinds]
        history = trainer.fit(X, Y, steps_per_epoch=3, callbacks=[*own, *callbacks], **HOW).history
        kept = {type(one).__name__: getattr(one, "losses", getattr(one, "seen", 0)) for one in own}
        return {"history": history, "kept": kept, "updates": int(model.optimizer.iterations)}

    as_in_fit(network, use)


def test_batches_can_be_counted_stopped_and_logged_by_a_lambda(as_in_fit) -> None:
    def use(trainer: Any, model: Any, callbacks: Any) -> dict[str, Any]:
        numbers: list[float] = []

        def count(batch: int, logs: Any) -> None:
            numbers.append(logs["loss"])
            model.stop_training = len(numbers) == 8

        own = keras.callbacks.LambdaCallback(on_train_batch_end=count)
        trainer.fit(X, Y, callbacks=[own, *callbacks], **HOW)
        return {"numbers": numbers, "updates": int(model.optimizer.iterations)}

    as_in_fit(network, use)
