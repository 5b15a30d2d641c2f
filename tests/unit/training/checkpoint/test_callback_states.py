"""The states of callbacks: what is refused, what is named, and what may differ."""

import json
import time

import keras
import numpy as np
import pytest

from kopt import callbacks
from kopt.experiment.signals import SignalStop
from kopt.training.checkpoint.callback_states import restore_states, states_of, without_state
from kopt.training.progress import ProgressBar

HISTORY = ("History", {"keras": {"epoch": [0], "history": {"loss": [0.5]}}})


class Silent(keras.callbacks.Callback):
    """A user's callback without methods that training calls."""


class Undeclared(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.last = epoch


class UndeclaredToo(callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.last = batch


class InTheGraph(callbacks.Callback):
    def on_update(self, update):
        """What this changes is the model's."""


class Declared(keras.callbacks.Callback):
    def __init__(self, state=None):
        super().__init__()
        self.state = state

    def on_epoch_end(self, epoch, logs=None):
        self.state = epoch

    def get_state(self):
        return {"state": self.state}

    def set_state(self, state):
        self.state = state["state"]


class Half(keras.callbacks.Callback):
    def get_state(self):
        return {}


class Stopping(keras.callbacks.EarlyStopping):
    """A subclass that remembers no more than its class."""

    def on_train_end(self, logs=None):
        super().on_train_end(logs)


class StoppingAndMore(keras.callbacks.EarlyStopping):
    def on_epoch_end(self, epoch, logs=None):
        self.more = epoch


def test_callbacks_without_a_declaration_are_named() -> None:
    more = StoppingAndMore()
    named = [Undeclared(), UndeclaredToo(), keras.callbacks.LambdaCallback(), more]
    silent = [Silent(), InTheGraph(), Declared(), Stopping(), keras.callbacks.History(), ProgressBar(), SignalStop()]
    more.on_epoch_end(0)
    assert without_state([*silent, *named]) == [type(one).__name__ for one in named]
    on_instance = Silent()
    on_instance.on_epoch_end = lambda epoch, logs=None: None
    assert without_state([on_instance]) == ["Silent"]
    assert states_of([Undeclared(), UndeclaredToo()]) == [("Undeclared", None), ("UndeclaredToo", {"own": {}})]


def test_states_are_copies() -> None:
    values = {"array": np.zeros(2), "list": [1, (2.5, None)], "number": np.float32(0.1), "flag": True}
    (_, state), callback = states_of([Declared(values)])[0], Declared()
    values["array"] += 1
    values["list"].append(3)
    restore_states([callback], [("Declared", state)])
    callback.state["list"].append(4)
    found = state["own"]["state"]
    assert found["array"].tolist() == [0, 0] and found["list"] == [1, [2.5, None]]
    assert json.loads(json.dumps(found["number"])) == np.float32(0.1) and found["flag"] is True


@pytest.mark.parametrize(
    "state, place",
    [
        ({1: 2}, r"Declared\['own'\]\['state'\] must have texts as keys"),
        ({"one": [0, {1, 2}]}, r"Declared\['own'\]\['state'\]\['one'\]\[1\] must be a number"),
        (np.array([None]), r"Declared\['own'\]\['state'\] must be an array of numbers"),
        (lambda: 1, r"Declared\['own'\]\['state'\] must be a number"),
    ],
)
def test_states_that_no_file_holds_are_refused_by_name(state, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        states_of([Declared(state)])


def test_half_of_the_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="Half must define set_state beside get_state"):
        states_of([Half()])
    with pytest.raises(ValueError, match="state must be empty for InTheGraph, which has no set_state, got .'lost'"):
        restore_states([InTheGraph()], [("InTheGraph", {"own": {"lost": 1}})])


def test_other_callbacks_than_the_checkpoints_are_refused_and_nothing_is_restored() -> None:
    history = keras.callbacks.History()
    for listed, wrong in (
        ([history], r"\[1\] was Declared, is missing"),
        ([history, Half()], r"\[1\] was Declared, is Half, got \['History', 'Half'\]"),
        ([Declared(), history], r"\[0\] was History, is Declared; \[1\] was Declared, is History"),
        ([history, Declared(), Silent()], r"\[2\] was missing, is Silent"),
    ):
        with pytest.raises(ValueError, match=rf"callbacks must be those of the checkpoint: {wrong}"):
            restore_states(listed, [HISTORY, ("Declared", {"own": {"state": 1}})])
    with pytest.raises(ValueError, match="callbacks must declare the state that Silent has in the checkpoint"):
        restore_states([history, Silent()], [HISTORY, ("Silent", {"own": {}})])
    lacking = r"the state of History must have \['epoch', 'history'\], as in this version of Keras, got \['epoch'\]"
    states = [("Declared", {"own": {"state": 1}}), ("History", {"keras": {"epoch": []}})]
    with pytest.raises(ValueError, match=lacking):
        restore_states([Declared(), history], states)
    assert history.history == {}


def test_a_run_goes_on_with_another_display() -> None:
    bar, history = ProgressBar(live=False), keras.callbacks.History()
    shown = ("ProgressBar", {"own": {"seconds": 60.0, "epochs": 2, "steps": 20, "epoch_steps": 0, "first": 0}})
    restore_states([history], [shown, HISTORY])
    assert history.history == {"loss": [0.5]}
    restore_states([history, keras.callbacks.ProgbarLogger()], [shown, HISTORY])
    restore_states([history, bar], [HISTORY])
    restore_states([history, bar], [HISTORY, shown])
    assert bar.epochs == 2 and 60 <= time.perf_counter() - bar.begun < 70


def test_time_used_goes_on_whatever_the_clocks_say(monkeypatch, network) -> None:
    """State has seconds, and the clock may be another's: of another machine, or set back."""
    listed = lambda: [callbacks.TimeBudget(10.0), callbacks.EpochTime(), callbacks.Throughput()]
    now = [1000.0]
    for clock in ("monotonic", "perf_counter"):
        monkeypatch.setattr(time, clock, lambda: now[0])
    before, after, model = listed(), listed(), network()
    for one in before:
        one.set_model(model)
    now[0] += 4
    states = states_of(before)
    now[0] = -500.0
    for one in after:
        one.set_model(model)
    restore_states(after, states)
    now[0] += 5
    assert [state["own"].get("used", state["own"].get("seconds")) for _, state in states_of(after)] == [9, 9, 9]
    budget, seconds, _ = after
    budget.look()
    assert not model.stop_training
    now[0] += 1.5
    budget.look()
    seconds.on_epoch_end(0, logs := {})
    assert model.stop_training and logs["seconds"] == 10.5
