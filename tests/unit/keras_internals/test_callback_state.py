"""Canaries: Keras' callbacks have the attributes of Keras 3.15, and training changes those that are called state."""

import ast
import inspect
import textwrap

import keras
import numpy as np
import pytest

from kopt.keras_internals.callback_state import KINDS, OF_ALL, has_more, keras_state, kind_of, set_keras_state

PUBLIC = [one for one in vars(keras.callbacks).values() if inspect.isclass(one)]


def assigned(kind: type) -> set[str]:
    """The attributes that the methods of a class and of its bases set."""
    sources = [inspect.getsource(one) for one in kind.__mro__ if one.__module__.startswith("keras.src.callbacks")]
    nodes = [node for source in sources for node in ast.walk(ast.parse(textwrap.dedent(source)))]
    own = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return {node.attr for node in own if isinstance(node.value, ast.Name) and node.value.id == "self"}


def test_every_public_callback_stands_in_the_table() -> None:
    assert {*PUBLIC} - {keras.callbacks.Callback, keras.callbacks.CallbackList} == {*KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_table_has_every_attribute(kind: type) -> None:
    """An attribute that is new in Keras may be state."""
    listed = [*KINDS[kind].state, *KINDS[kind].others]
    assert assigned(kind) == {*OF_ALL, *listed} and len(listed) == len({*listed})


class Watch(keras.callbacks.Callback):
    """Collects the attributes of callbacks that training changes after it has begun, by class."""

    def __init__(self, listed):
        super().__init__()
        self.listed, self.changed = listed, {type(one): set() for one in listed}

    def on_train_begin(self, logs=None):
        self.begun = [{name: copied(value) for name, value in vars(one).items()} for one in self.listed]

    def on_train_batch_end(self, batch, logs=None):
        for one, begun in zip(self.listed, self.begun):
            changed = {name for name, value in vars(one).items() if name not in begun or differs(value, begun[name])}
            self.changed[type(one)] |= changed

    def on_epoch_end(self, epoch, logs=None):
        self.on_train_batch_end(epoch)


def copied(value):
    return type(value)(value) if isinstance(value, (list, dict)) else value


def differs(value, before) -> bool:
    return value is not before and not np.array_equal(value, before)


# Made anew in a run that goes on, or of a clock.
ANEW = {"monitor_op", "min_delta", "csv_file", "writer", "_batch_start_time", "_epoch_start_time", "_summary_module"}
ANEW |= {"_prev_summary_state", "_should_write_train_graph", "_writers"}


def test_training_changes_what_is_called_state(network, points, tmp_path) -> None:
    stopping = {"monitor": "loss", "min_delta": 1e9, "restore_best_weights": True}
    listed = [
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=7),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.EarlyStopping(**stopping, patience=9, start_from_epoch=1),
        keras.callbacks.EarlyStopping(**stopping, patience=2),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "loss", save_best_only=True, save_freq=7),
        keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=1e9, cooldown=3),
        keras.callbacks.ReduceLROnPlateau("loss", patience=9, min_delta=1e9),
        keras.callbacks.TensorBoard(tmp_path / "logs", write_steps_per_second=True),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate),
        keras.callbacks.History(),
    ]
    watch, model = Watch(listed), network(keras.optimizers.SGD(0.01, use_ema=True))
    model.fit(*points, batch_size=10, epochs=3, verbose=0, callbacks=[*listed, watch], validation_data=points)
    for kind, changed in watch.changed.items():
        assert changed - ANEW == {*KINDS[kind].state}, kind


def test_subclasses_have_the_state_of_their_class() -> None:
    class Stopping(keras.callbacks.EarlyStopping):
        pass

    one, other = Stopping(), Stopping()
    one.wait, one.best = 3, np.float32(0.5)
    kind = kind_of(one)
    set_keras_state(other, kind, keras_state(one, kind))
    assert (other.wait, other.best) == (3, 0.5) and not has_more(one, kind)
    one.more = 1
    assert has_more(one, kind) and kind_of(keras.callbacks.Callback()) is None


def test_tensors_are_state_as_arrays() -> None:
    callback = keras.callbacks.TensorBoard()
    callback._previous_epoch_iterations = keras.ops.convert_to_tensor(7.0)
    found = keras_state(callback, kind_of(callback))["_previous_epoch_iterations"]
    assert isinstance(found, (np.ndarray, np.generic)) and found == 7.0


def test_a_worker_that_does_not_call_a_logger_writes_no_file(tmp_path) -> None:
    (tmp_path / "log.csv").write_text("epoch\r\n0\r\n")
    called, idle = (keras.callbacks.CSVLogger(tmp_path / name) for name in ("log.csv", "idle.csv"))
    called.append = True
    called.on_train_begin()
    called.on_epoch_end(1, {"loss": 0.5})
    state = keras_state(called, kind_of(called))
    assert bytes(state["rows"]).decode().splitlines() == ["epoch", "0", "1,0.5,NA"] and state["written"]
    set_keras_state(idle, kind_of(idle), state)
    assert not (tmp_path / "idle.csv").exists()
    called.on_train_end()
