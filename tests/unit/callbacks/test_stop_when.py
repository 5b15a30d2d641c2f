"""StopWhen: conditions on several metrics, as code and as text, and when they stop training."""

import logging

import keras
import numpy as np
import pytest

from kopt.callbacks import Condition, StopWhen, metric, parse_condition
from kopt.training import fit
from kopt.training.checkpoint.callback import Checkpoint
from kopt.values.fields import from_json, to_json

CONDITIONS = {
    "val_loss plateaus 3 and val_auc > 0.9": metric("val_loss").plateaus(3) & (metric("val_auc") > 0.9),
    "(loss<=1e-3|~mae >= 2)": (metric("loss") <= 1e-3) | ~(metric("mae") >= 2),
    "dice plateaus 2 by .5 max or not not a/b < -1": metric("dice").plateaus(2, min_delta=0.5, mode="max")
    | ~~(metric("a/b") < -1),
    "a > 1 or b > 1 and c > 1": (metric("a") > 1) | ((metric("b") > 1) & (metric("c") > 1)),
}


@pytest.mark.parametrize("text", CONDITIONS)
def test_a_text_says_what_code_says_and_a_condition_survives_its_repr_and_json(text: str) -> None:
    condition = CONDITIONS[text]
    assert parse_condition(text) == condition
    assert eval(repr(condition), {"metric": metric}) == condition == from_json(to_json(condition))
    assert hash(parse_condition(text)) == hash(condition)


@pytest.mark.parametrize(
    "text",
    ["", "loss", "loss > ", "loss > x", "loss > nan", "loss > 0x1", "loss plateaus", "loss plateaus 1.5", "> 1"]
    + ["loss plateaus 3 by", "(loss > 1", "loss > 1)", "loss > 1 and", "loss > 1 loss < 2", "and > 1", "loss == 1"]
    + ["__import__('os') > 1 and", "loss > 1; mae > 1", "(" * 1000 + "loss > 1", "not " * 1000 + "loss > 1"],
)
def test_a_text_that_says_no_condition_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="^condition must read like 'val_loss plateaus 3 and val_auc > 0.9', and not "):
        StopWhen(text)


def test_what_python_would_answer_without_the_metrics_is_refused() -> None:
    for wrong in (lambda: 0 < metric("a") < 1, lambda: (metric("a") > 1) and (metric("b") > 1)):
        with pytest.raises(ValueError, match="^condition must be combined by &, | and ~"):
            wrong()
    with pytest.raises(ValueError, match="^mode must be 'min' or 'max' for a metric whose direction is not known"):
        metric("dice").plateaus(3)
    for wrong in (
        lambda: metric("a").plateaus(0, mode="min"),
        lambda: metric("two words"),
        lambda: StopWhen(metric("a")),
    ):
        with pytest.raises(ValueError, match="must be"):
            wrong()


def test_a_metric_without_a_value_makes_nothing_true() -> None:
    there, lacking = metric("a") > 0, metric("b") > 0
    holds = lambda condition: condition.holds({"a": [1.0], "b": []})
    assert [holds(one) for one in (there, lacking, ~lacking, there & lacking, there | lacking)] == [
        True, None, None, None, True,
    ]  # fmt: skip
    assert [holds(one) for one in (~there & lacking, ~there | lacking, metric("b").plateaus(1, mode="min"))] == [
        False, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateaus_are_those_of_early_stopping(mode: str) -> None:
    draws = np.random.default_rng(0)
    stopped = 0
    for _ in range(50):
        values = np.where(draws.random(12) < 0.1, np.nan, draws.normal(size=12).round(1)).tolist()
        values[0] = 1.0  # after a first NaN EarlyStopping sees no improvement any more
        patience, delta = int(draws.integers(1, 5)), float(draws.choice([0.0, 0.3]))
        keras_own = keras.callbacks.EarlyStopping("loss", patience=patience, min_delta=delta, mode=mode)
        keras_own.set_model(keras.Sequential())
        keras_own.model.stop_training = False
        keras_own.on_train_begin()
        for epoch, value in enumerate(values):
            keras_own.on_epoch_end(epoch, {"loss": value})
            if keras_own.model.stop_training:
                break
        plateau = metric("loss").plateaus(patience, min_delta=delta, mode=mode)
        found = [plateau.holds({"loss": values[: one + 1]}) for one in range(epoch + 1)]
        assert found == [False] * epoch + [bool(keras_own.model.stop_training)]
        stopped += found[-1]
    assert stopped > 20


class Scripted(keras.callbacks.Callback):
    """Logs numbers that are written down."""

    def __init__(self, **curves: list[float | None]):
        super().__init__()
        self.curves = curves

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: curve[epoch] for name, curve in self.curves.items() if curve[epoch] is not None})

    def get_state(self):
        return {}

    def set_state(self, state):
        pass


CURVES = {
    "val_loss": [1.0, 0.5, None, 0.6, 0.7, 0.4, 0.5, 0.6, 0.6, 0.6],
    "val_auc": [0.5, 0.95, None, 0.8, 0.85, 0.9, 0.91, 0.9, 0.95, 0.99],
}


def run(loop: bool, network, points, condition: Condition | str, epochs: int = 10, curves=CURVES, **how) -> StopWhen:
    stop, model = StopWhen(condition), network()
    listed = [Scripted(**curves), stop]
    train = (lambda *data, **more: fit(model, *data, **more)) if loop else model.fit
    stop.history = train(*points, batch_size=50, epochs=epochs, verbose=0, callbacks=listed, **how).history
    return stop


@pytest.mark.parametrize("loop", [False, True])
def test_training_stops_when_all_hold_at_once(loop: bool, network, points, caplog) -> None:
    """The loss plateaus in epochs 5 (0.5, 0.6, 0.7) and 8, 9, ..., the score is high in 2, 7, 9, 10."""
    with caplog.at_level(logging.INFO, "kopt"):
        stop = run(loop, network, points, "val_loss plateaus 2 and val_auc > 0.9")
    assert stop.stopped == 8 and len(stop.history["val_auc"]) == 8  # one of the nine epochs logs nothing
    assert "stopped in epoch 9: (metric('val_loss').plateaus(2) & (metric('val_auc') > 0.9)) holds, with" in caplog.text
    never = run(loop, network, points, metric("val_auc") > 2)
    assert never.stopped is None and len(never.history["val_auc"]) == 9


def test_a_resumed_run_stops_where_a_whole_one_does(network, points, tmp_path) -> None:
    whole = run(True, network, points, "val_loss plateaus 2 and val_auc > 0.9")
    for epochs in (4, 8, 10):
        part = run(
            True, network, points, "val_loss plateaus 2 and val_auc > 0.9", epochs, checkpoint=Checkpoint(tmp_path)
        )
    assert part.curves == whole.curves and part.stopped == 8 and part.history == whole.history
    fresh = StopWhen("val_loss plateaus 2 and val_auc > 0.9")
    assert fresh.get_state() != whole.get_state()  # so that the law can fail


@pytest.mark.parametrize("loop", [False, True])
def test_an_unknown_metric_is_refused_with_those_there_are(loop: bool, network, points, caplog) -> None:
    rule = r"^condition must be about metrics of the logs, \['loss', 'mae', 'val_auc', 'val_loss'\], got 'acc'"
    with pytest.raises(ValueError, match=rule):
        run(loop, network, points, "acc > 1 or loss < 0")
    rule = r"^condition must be about metrics of the logs, \['loss', 'mae', 'val_auc', 'val_loss'\], got 'val_acc'"
    with pytest.raises(ValueError, match=rule):
        run(loop, network, points, "val_acc > 1 or loss < 0")
    stop, model = StopWhen("val_acc > 1"), network()
    train, ended = (lambda *data, **more: fit(model, *data, **more)) if loop else model.fit, []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ended.append(epoch))
    rule = r"^condition must be about metrics of the logs, \['loss', 'mae', 'val_loss', 'val_mae'\], got 'val_acc'"
    with pytest.raises(ValueError, match=rule):  # before the first epoch is over: Keras and kopt log no such thing
        train(*points, epochs=3, verbose=0, callbacks=[note, stop], validation_split=0.2)
    assert ended == []
    run(loop, network, points, "val_loss > 1", curves={})
    said = [record.getMessage() for record in caplog.records if record.name == "kopt"]
    assert [one for one in said if one.startswith("StopWhen")] == [
        "StopWhen waits for val_loss, which the logs of epoch 1 lack"
    ]
