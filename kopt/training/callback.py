"""Callback: a Keras callback that declares what it needs of training, and may work in the graph."""

from collections.abc import Callable as Function
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kopt.keras_internals import optimizers_of
from kopt.state.knob import held_knob
from kopt.state.slots import held_slots
from kopt.training.around import around, nothing
from kopt.training.received import Received, Times
from kopt.training.steps.installing import (
    holder,
    install,
    own_step,
    remove,
    remove_interrupted,
    remove_waiting,
    require_at_work,
)
from kopt.training.steps.update_hooks import Need, Update, UpdateHook
from kopt.values.checks import require
from kopt.values.types import CallbackState, Config, DType, KerasModel, KerasOptimizer, Logs, Variable

__all__ = ["Callback"]


class Callback(keras.callbacks.Callback):
    """A Keras callback, for `model.fit` and `kopt.fit`, that declares its needs and may work in the training program.

    A subclass that defines `on_update` has it called in the graph after each update of the weights, on any engine and
    at any `steps_per_execution`, with no cost on the host. It needs no `super()` in Keras' callback methods: when
    `on_epoch_begin`, `on_epoch_end`, `on_train_batch_begin` and `on_train_end` are called, `on_update` follows an
    optimizer that was replaced, is checked to be at work, and is removed when training ends. When `model.fit` raises,
    it stays until `close()` or the next fit with a callback of the class.

    A flag holds for the callback methods of the class that declares it: not for those of its subclasses.

    Attributes:
        every_batch: Whether batch methods must be called after every batch, whatever `steps_per_execution` is.
        any_chunk: Whether batch methods may be called after any number of batches.
        spans_epochs: Whether several epochs may run before the epoch methods are called for each: they then change
            nothing that training reads, and read nothing but logs, `epoch_values` and `epoch_times`.
        chief_only: Whether only the chief of several workers calls the callback.
        wants_times: Whether `Loop` passes the times of an epoch when nothing is watched.
        needs: The parts of an update that `on_update` reads: "before", "gradients", "loss", "examples", "metrics".
        changes_weights: Whether `on_update` changes weights; such callbacks come before those that look.
        arrays: The variables that `on_update` changes besides weights, by name; `build` makes them by `add_array`.
        steers_rate: Whether the callback sets the learning rate, which no other may write.
        trace_key: A hashable value of all that `on_update` reads besides `arrays`. Callbacks of a class with equal keys
            share one traced program; None shares with no other.
        in_mid_epoch: Whether a validation is at work that is not at an epoch's end, see `ValidateEvery`.
        optimizer: The attribute of the model that is the only optimizer it is for; None for all.

    Example:
        >>> class Distance(Callback):
        ...     '''Log the length of the way that the weights have gone in a run.'''
        ...     needs = frozenset({"before"})
        ...
        ...     def build(self, model):
        ...         self.add_array("distance")
        ...
        ...     def on_update(self, update):
        ...         squares = [tf.reduce_sum((new - old) ** 2) for new, old in zip(update.weights, update.before)]
        ...         self.arrays["distance"].assign_add(tf.sqrt(tf.add_n(squares)))
        ...
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         logs["distance"] = float(self.read_array("distance"))
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> model = keras.Sequential([keras.Input((1,)), layer])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> history = model.fit(np.ones((1, 1)), np.zeros((1, 1)), epochs=2, callbacks=[Distance()], verbose=0)
        >>> [round(distance, 3) for distance in history.history["distance"]]  # the weight is 1, 0.8, 0.64
        [0.2, 0.36]

    Source:
        `keras.callbacks.Callback`.
    """

    every_batch: bool = False
    any_chunk: bool = False
    spans_epochs: bool = False
    chief_only: bool = False
    wants_times: bool = False
    needs: frozenset[Need] = frozenset()
    changes_weights: bool = False
    arrays: Mapping[str, Variable] = {}
    steers_rate: bool = False
    trace_key: Hashable = None
    in_mid_epoch: bool = False
    optimizer: str | None = None
    received: Received | None = None

    _first_number: int | None = None  # of the first epoch
    _hook: UpdateHook | None = None
    _hooked: KerasModel | None = None  # the model that has the hook
    _parts: Sequence[object] = ()  # what the callback was installed for
    _traced: object = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Make a subclass's callback methods do the work of the base class too, without `super()`."""
        super().__init_subclass__(**arguments)
        for name, (before, after) in AROUND.items():
            if name in vars(cls):
                setattr(cls, name, around(vars(cls)[name], before, after))

    # What a subclass may define

    @property
    def watched(self) -> Mapping[str, Variable]:
        """Return the variables whose values `Loop` passes at the end of each epoch, by name."""
        return {}

    def build(self, model: KerasModel) -> None:
        """Make the arrays of `on_update`, when a run begins and after optimizers or trained weights were replaced."""

    def on_update(self, update: Update) -> None:
        """Work in the graph after an update."""

    def install(self) -> None:
        """Install `on_update` in the model's training steps; do nothing when the class defines none."""
        if type(self).on_update is Callback.on_update:
            return
        model, name = self.model, type(self).__name__
        with model.distribute_strategy.scope():
            self.build(model)
        own = ("self", id(self)) if self.trace_key is None else ("key", self.trace_key)
        key = type(self), own, frozenset(self.needs), tuple(map(id, self.arrays.values()))
        self._hook, self._hooked = install(model, name, key, lambda: self), model
        self._hook.owner = self

    def reinstall(self) -> None:
        """Install the callback for the optimizers and weights that have replaced others in the middle of a run."""
        self.remove()
        self.install()

    def remove(self) -> None:
        """Remove `on_update` from the model's training steps; do nothing when it is not there."""
        if self._hook is not None and self._hooked is not None:
            remove(self._hooked, self._hook)

    def close(self) -> None:
        """Leave nothing in the model, when training ends and when it raises in `Loop`."""
        self.remove()

    def get_state(self) -> CallbackState:
        """Return what a resumed run needs of the callback beside its arguments and the model; {} by default.

        That is what its methods remember from one call to the next, such as a count of epochs. What `on_update`
        changes, and Knobs, are the model's: a checkpoint has them. Durations are seconds, not times of a clock.
        A user's class that derives from Keras' own may define the two methods as well.

        Returns:
            Numbers, texts, None, arrays, and lists and dicts with text keys of these.
        """
        return {}

    def set_state(self, state: CallbackState) -> None:
        """Put back what `get_state` returned: after `on_train_begin`, in mid-epoch after `on_epoch_begin` too.

        Args:
            state: What `get_state` of a callback with the same arguments has returned.

        Raises:
            ValueError: By default, when there is a state.
        """
        require(not state, "state", f"must be empty for {type(self).__name__}, which has no set_state", sorted(state))

    def steps_to_call(self) -> int | None:
        """Return after how many further steps at most a program call must end; None for any number.

        `Loop` asks before each call, and asks for no more steps, whatever `steps_per_execution` is.
        """
        return None

    def on_validation(self, step: int, logs: Logs = None) -> None:
        """Called by `ValidateEvery` after a validation in mid-epoch, with the number of steps of the run so far."""

    # What a subclass may call

    def add_array(self, name: str, shape: Sequence[int] = (), dtype: DType = "float32") -> Variable:
        """Return a live array that is saved with the model; zeros when the model has none yet.

        Args:
            name: The array's name in `arrays`.
            shape: Its shape.
            dtype: Its type.
        """
        held_by, attribute = holder(self.model), f"kopt_{type(self).__name__}_{name}"
        if len(shape) == 0:  # load_model cannot tell Slots of one scalar from a Knob
            array = held_knob(held_by, attribute, 0.0, keras.backend.standardize_dtype(dtype)).value
        else:
            (array,) = held_slots(held_by, attribute, [tf.TensorSpec(shape, dtype)]).arrays
        self.arrays = {**self.arrays, name: array}
        return array

    def read_array(self, name: str) -> np.ndarray:
        """Return the current value of one of `arrays`, on any number of replicas."""
        return keras.ops.convert_to_numpy(self.arrays[name])

    def epoch_values(self) -> dict[str, np.ndarray]:
        """Return the watched values at the end of the training part of the epoch."""
        if self.received is not None and self.received.values is not None:
            return dict(self.received.values)
        return {name: keras.ops.convert_to_numpy(variable) for name, variable in self.watched.items()}

    def epoch_times(self) -> Times | None:
        """Return the times of the epoch; None outside `Loop`."""
        return None if self.received is None else self.received.times

    def epoch_index(self, epoch: int) -> int:
        """Return an epoch's number from 0 on: a user's loop, which calls no set_params, may count from 1."""
        if self._first_number is None:
            self._first_number = 1 if epoch == 1 and not self.params else 0
        return epoch - self._first_number

    @property
    def optimizers(self) -> dict[str, KerasOptimizer]:
        """Return the optimizers that the callback is for, by name."""
        return optimizers_of(self.model, own_step(self.model), self.optimizer)

    # What training calls

    def set_model(self, model: KerasModel) -> None:
        """Set the model, and install the callback before the training function is made."""
        if self._hooked is not None and self._hooked is not model:
            self.remove()
        super().set_model(model)
        self.received = self._first_number = None
        if not self.installs:
            return
        remove_interrupted(model, type(self).__name__)
        try:
            self.install()
        except BaseException:  # no hook of a training that never begins may stay, whatever stopped it
            remove_waiting(model)
            raise
        self._parts = self._parts_now()

    def set_params(self, params: Config | None) -> None:
        """Set the parameters of training, when all its callbacks have the model."""
        super().set_params(params)
        self._begin()

    def receive_epoch(self, values: Mapping[str, np.ndarray] | None, times: Times) -> None:
        """Receive the watched values and the times of an epoch from `Loop`, before `on_epoch_end` is called."""
        self.received = Received(values, times)

    @property
    def installs(self) -> bool:
        """Whether the class installs something in the model."""
        cls = type(self)
        return cls.on_update is not Callback.on_update or cls.install is not Callback.install

    def follow(self) -> None:
        """Reinstall the callback when optimizers or weights were replaced; compile drops the traced step."""
        if not self.installs:
            return
        self._begin()
        model = self.model
        if model.train_function is self._traced is not None and model.optimizer is self._parts[0]:
            return
        parts = self._parts_now()
        if len(parts) != len(self._parts) or any(one is not other for one, other in zip(parts, self._parts)):
            self.reinstall()
            self._begin()
            self._parts = self._parts_now()
            model.train_function = None  # it was traced for the parts before
        if model.train_function is None:
            model.make_train_function()  # model.fit would call the one that compile has dropped
        self._traced = model.train_function

    def require_at_work(self) -> None:
        """Raise ValueError when training has not called `on_update`."""
        if self._hook is not None:
            self._begin()
            require_at_work(self._hook, self.model)

    def _begin(self) -> None:
        if self._hook is not None:
            self._hook.begun = True

    def _parts_now(self) -> list[object]:
        return [self.model.optimizer, *self.optimizers.values(), *self.model.trainable_weights]

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.follow()
        super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.require_at_work()
        super().on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.follow()
        super().on_train_batch_begin(batch, logs)

    def on_train_end(self, logs: Logs = None) -> None:
        super().on_train_end(logs)
        self.close()


# What the base class does before and after a subclass's own callback methods.
AROUND: dict[str, tuple[Function[[Callback], None], Function[[Callback], None]]] = {
    "on_epoch_begin": (lambda one: one.follow(), nothing),
    "on_epoch_end": (lambda one: one.require_at_work(), nothing),
    "on_train_batch_begin": (lambda one: one.follow(), nothing),
    "on_train_end": (nothing, lambda one: one.close()),
}
