"""A dataset that shuffles gives every batch in the order that it has in Keras' own fit."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.training import Loop

X = np.arange(20, dtype="float32")[:, np.newaxis]


class Seen(keras.layers.Layer):
    """Notes the examples of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[int]] = []

    def note(self, inputs: Any) -> None:
        self.batches.append(inputs.numpy().ravel().astype(int).tolist())

    def call(self, inputs: Any) -> Any:
        tf.py_function(self.note, [inputs], [])
        return inputs


def shuffled(known: bool = True) -> tf.data.Dataset:
    data = tf.data.Dataset.from_tensor_slices((X, X)).shuffle(8, seed=1)
    return (data if known else data.filter(lambda *_: True)).batch(4)


def halves() -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Two datasets that share the state of one shuffle."""
    whole = tf.data.Dataset.from_tensor_slices((X, X)).shuffle(20, seed=3)
    return whole.take(12).batch(4), whole.skip(12).batch(4)


def order(trainer: Any, seen: Seen, case: str) -> list[list[int]]:
    data, validation = halves() if case == "one shuffle for both" else (shuffled(case != "unknown size"), None)
    how: dict[str, Any] = {"epochs": 4, "shuffle": False, "verbose": 0}
    if case == "cut":
        how["steps_per_epoch"] = 3
    if case in ("validated", "one shuffle for both"):
        how["validation_data"] = validation or data
    between = lambda epoch, logs: (trainer.evaluate(data, verbose=0), trainer.predict(data, verbose=0))
    if case == "evaluated in between":
        how["callbacks"] = [keras.callbacks.LambdaCallback(on_epoch_end=between)]
    trainer.fit(data, **how)
    trainer.fit(data, **how | {"epochs": 1})
    return seen.batches


CASES = ["plain", "cut", "validated", "one shuffle for both", "evaluated in between", "unknown size"]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(("case", "strategy"), [*((case, False) for case in CASES), ("validated", True)])
def test_a_dataset_that_shuffles_has_fits_order(case: str, strategy: bool) -> None:
    found = []
    for ours in (False, True):
        scope = tf.distribute.OneDeviceStrategy("cpu:0") if strategy else tf.distribute.get_strategy()
        keras.utils.set_random_seed(0)
        with scope.scope():
            seen = Seen()
            model = keras.Sequential([keras.Input((1,)), seen, keras.layers.Dense(1)])
            model.compile("sgd", "mse")
        found.append(order(Loop(model, jit=False) if ours else model, seen, case))
    assert found[0] == found[1]
    assert len({str(batch) for batch in found[0]}) > 6  # epochs differ
