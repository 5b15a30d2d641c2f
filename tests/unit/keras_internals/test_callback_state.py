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


def test_training_changes_what_is_called_state(network, points, tmp_path) -> None:
    """Each attribute that is called state changes; what else changes is made anew when training begins."""
    listed = [
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=7),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.EarlyStopping("loss", patience=1, min_delta=1e9, restore_best_weights=True, mode="max"),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "loss", save_best_only=True, save_freq=7),
        keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=1e9, cooldown=3),
        keras.callbacks.ReduceLROnPlateau("loss", patience=9, min_delta=1e9),
        keras.callbacks.TensorBoard(tmp_path / "logs", write_steps_per_second=True),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate),
        keras.callbacks.History(),
    ]
    changed: dict[type, set[str]] = {}

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.begun = [dict(vars(one)) for one in listed]
            self.begun[-1]["history"] = {}

        def look(self):
            for one, begun in zip(listed, self.begun):
                for name, value in vars(one).items():
                    if name not in begun or value is not begun[name] and not np.array_equal(value, begun[name]):
                        changed.setdefault(type(one), set()).add(name)
            if listed[-1].history:
                changed[keras.callbacks.History] = {"epoch", "history"}

        def on_train_batch_end(self, batch, logs=None):
            self.look()

        def on_epoch_end(self, epoch, logs=None):
            self.look()

    model = network(keras.optimizers.SGD(0.01, use_ema=True))
    model.fit(*points, batch_size=10, epochs=3, verbose=0, callbacks=[*listed, Watch()], validation_data=points)
    made = {"monitor_op", "min_delta", "csv_file", "writer", "append_header"}
    for kind, found in changed.items():
        passing = {name for name in found if name.startswith(("_batch_start", "_epoch_start", "_summary", "_prev_"))}
        passing |= {"_should_write_train_graph", "_writers"} & found
        assert found - passing - made <= {*KINDS[kind].state}, kind
        assert found >= {*KINDS[kind].state}, kind
    assert {kind for kind in map(type, listed) if KINDS[kind].state} <= changed.keys()


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
