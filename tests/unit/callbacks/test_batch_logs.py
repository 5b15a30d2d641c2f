"""BatchLogs: the numbers of single batches equal Keras' own evaluation of each, whatever a program call holds."""

import csv

import keras
import numpy as np
import pytest

from kopt.callbacks import BatchLogs
from kopt.callbacks.batch_logs import COLUMNS, ROWS
from kopt.training import Loop, TrainStep
from kopt.training.checkpoint.callback import Checkpoint

EPOCHS, BATCH = 3, 10


class Before(keras.callbacks.Callback):
    """Evaluates each batch alone before it is trained on."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y, self.logs = x, y, []

    def on_train_batch_begin(self, batch, logs=None):
        rows = slice(batch * BATCH, batch * BATCH + BATCH)
        kept = [(one, one.numpy()) for one in self.model.metrics_variables]
        self.logs.append(self.model.test_on_batch(self.x[rows], self.y[rows], return_dict=True))
        for one, value in kept:
            one.assign(value)


@pytest.fixture(scope="module")
def rows(points):
    return points[0][:95], points[1][:95]  # the last batch has 5


def train(model, rows, listed, *, loop: bool = True, epochs: int = EPOCHS, jit=False, engine="auto", **how):
    fit = Loop(model, jit=jit, engine=engine).fit if loop else model.fit
    return fit(*rows, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=listed, **how).history


@pytest.fixture(scope="module")
def expected(network, rows) -> dict[str, list[float]]:
    model, before = network(), Before(*rows)
    train(model, rows, [before], loop=False)
    return {name: [logs[name] for logs in before.logs] for name in ("loss", "mae")}


WAYS = [
    {"loop": False},
    {"loop": False, "steps": 4},
    {"loop": True},
    {"loop": True, "steps": 3, "validated": True},
    {"loop": True, "engine": "stream"},
    {"loop": True, "jit": True},
    {"loop": True, "every": 7},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_each_batch_is_alone(way, network, rows, expected) -> None:
    how = {name: way[name] for name in ("loop", "engine", "jit") if name in way}
    how |= {"validation_data": rows} if way.get("validated") else {}
    batches, every = BatchLogs(way.get("every", 1)), way.get("every", 1)
    history = train(model := network(steps_per_execution=way.get("steps", 1)), rows, [batches], **how)
    assert batches.history["step"] == list(range(every, 10 * EPOCHS + 1, every))
    for name, values in expected.items():
        np.testing.assert_allclose(batches.history[name], values[every - 1 :: every], rtol=2e-5, err_msg=name)
    plain = train(other := network(steps_per_execution=way.get("steps", 1)), rows, [], **how)
    assert history == plain
    for one, another in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(one, another)


def test_the_table_goes_round_and_several_epochs_run_in_a_call(network, rows) -> None:
    batches, epochs = BatchLogs(), ROWS // 4
    train(network(), rows, [batches], epochs=epochs)
    assert batches.history["step"] == list(range(1, 10 * epochs + 1)) and len(set(batches.history["loss"])) > 2 * ROWS
    few = BatchLogs(10)
    train(network(), rows, [few], epochs=epochs)
    assert few.history["loss"] == batches.history["loss"][9::10]


def test_a_resumed_run_has_the_same_records_and_file(network, rows, tmp_path) -> None:
    whole, table = BatchLogs(3), tmp_path / "table.csv"
    train(network(), rows, [whole])
    for epochs in (1, 2, EPOCHS):
        batches = BatchLogs(3, file=table)
        train(network(), rows, [batches], epochs=epochs, checkpoint=Checkpoint(tmp_path / "run"))
    assert batches.history == whole.history
    with table.open() as lines:
        found = list(csv.DictReader(lines))
    assert {name: [float(row[name]) for row in found] for name in found[0]} == whole.history


def test_what_it_cannot_record_is_refused(network, rows) -> None:
    for wrong in (0, 1.5, True):
        with pytest.raises(ValueError, match="^every must be a whole number >= 1"):
            BatchLogs(wrong)
    with pytest.raises(ValueError, match=f"^steps_per_execution must be at most {ROWS} for BatchLogs"):
        train(network(steps_per_execution=ROWS + 1), rows, [BatchLogs()])
    model = network()
    with pytest.raises(ValueError, match="^micro_batches must be 1 for the metrics of single batches"):
        Loop(model, step=TrainStep(model, micro_batches=2)).fit(*rows, verbose=0, callbacks=[BatchLogs()])
    model, batches = network(), BatchLogs(metrics=False)
    Loop(model, step=TrainStep(model, micro_batches=2)).fit(*rows, verbose=0, callbacks=[batches])
    assert sorted(batches.history) == ["loss", "step"]
    several = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])
    metrics = [keras.metrics.MeanAbsoluteError(name=f"mae_{place}") for place in range(COLUMNS)]
    several.compile("sgd", "mse", metrics=metrics)
    with pytest.raises(ValueError, match=f"^metrics must be fewer than {COLUMNS}"):
        train(several, rows, [BatchLogs()])
