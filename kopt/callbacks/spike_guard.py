"""SpikeGuard: restores the last good state when the loss spikes, and goes on at a lower rate."""

import keras
import numpy as np
import tensorflow as tf

from kopt.callbacks.base import registry
from kopt.callbacks.learning_rate import lower_rate, rate_of
from kopt.keras_internals import global_seeds, rate_variable
from kopt.state.knob import held_knob
from kopt.state.slots import held_slots
from kopt.state.snapshot import Snapshot, knob_variables, training_variables
from kopt.training.arguments import is_count
from kopt.training.callback import Callback
from kopt.training.steps.installing import holder
from kopt.training.steps.update_hooks import Need, Update, working
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasModel, KerasOptimizer, Logs, Variable

__all__ = ["SpikeGuard"]

FAST, SLOW = 0.8, 0.99  # the share of the averages of the loss that an update keeps
WARMUP = 50.0  # updates before the first alarm


@registry.register
class SpikeGuard(Callback):
    """Restore the last good state when the loss spikes or gradients stay non-finite, lower the rate, and go on.

    The loss has spiked when its average over about 5 updates is more than `deviations` times its mean absolute
    deviation above its average over about 100; the training program computes both at every update. Between
    program calls, at most every `every` updates, weights, optimizer and statistics are copied in memory; after a spike
    they are restored, but for the number of updates: schedules and data go on. The rate is multiplied by `factor`,
    through the multiplier of `LearningRate` when it is in use. "spikes" in an epoch's logs is the number of spikes.

    Args:
        every: Updates between copies, >= 1.
        deviations: The height of a spike, in mean absolute deviations, > 0.
        patience: The number of non-finite updates in a row that raises the alarm, >= 1; each of them is skipped anyway.
        factor: The factor of the rate, in (0, 1].
        tries: How often to restore the state in a run, >= 0.

    Raises:
        ValueError: When an argument is out of range; in fit, when the model has a train_step of its own.
        RuntimeError: In fit, when the loss spikes once more after `tries`; the model then has its last good state.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x = np.ones((100, 1))
        >>> x[80] = 1000.0  # a broken example
        >>> how = {"batch_size": 1, "shuffle": False, "verbose": 0}
        >>> model.fit(x, np.ones((100, 1)), callbacks=[SpikeGuard(every=10)], **how).history["spikes"]
        [1.0]

    Source:
        Chowdhery et al., PaLM: Scaling Language Modeling with Pathways, 2022, section 5.1, which goes back by hand.
    """

    any_chunk = True
    needs: frozenset[Need] = frozenset({"loss"})
    good: Snapshot | None = None
    unread: CallbackState | None = None  # a copy that was put back before the model had all its variables

    def __init__(
        self, every: int = 100, *, deviations: float = 6.0, patience: int = 10, factor: float = 0.5, tries: int = 3
    ):
        super().__init__()
        require(is_count(every), "every", "must be a whole number >= 1", every)
        require(0 < deviations < float("inf"), "deviations", "must be > 0", deviations)
        require(is_count(patience), "patience", "must be a whole number >= 1", patience)
        require(0 < factor <= 1, "factor", "must be in (0, 1]", factor)
        require(tries == 0 or is_count(tries), "tries", "must be a whole number >= 0", tries)
        self.every, self.deviations, self.patience = int(every), float(deviations), int(patience)
        self.factor, self.tries = float(factor), int(tries)
        self.trace_key = self.deviations, self.patience

    def set_model(self, model: KerasModel) -> None:
        """Install the watch over the loss before the training function is made."""
        self.drop()
        self.fresh, self.epoch, self.before, self.kept, self.kept_in = True, 0, 0.0, 0, 0
        super().set_model(model)

    def build(self, model: KerasModel) -> None:
        """Make the numbers that tell a spike, and the count of spikes.

        The numbers are the fast and the slow average of the loss, the mean absolute deviation from the slow one, the
        number of losses in them, the number of non-finite updates in a row, and whether there was an alarm.
        """
        for optimizer in self.rated:
            rate_variable(optimizer)  # refuses a schedule
        (losses,) = held_slots(holder(model), "kopt_loss_watch", [tf.TensorSpec([6], "float32")]).arrays
        self.arrays = {"losses": losses}
        self.spent = held_knob(holder(model), "kopt_spikes", 0.0)

    def reinstall(self) -> None:
        """Watch over the weights that are trained now, with the averages of the losses so far."""
        losses, spent = self.arrays["losses"], self.spent
        super().reinstall()
        self.arrays["losses"].assign(losses)
        self.spent.set(float(spent))
        self.drop()

    def on_update(self, update: Update) -> None:
        """Average the loss, and raise the alarm when it spikes."""
        losses = self.arrays["losses"]
        fast, slow, deviation, count, bad, alarm = tf.unstack(tf.convert_to_tensor(losses))
        loss = tf.cast(update.loss, "float32")
        good = update.finite & tf.math.is_finite(loss)
        bad = tf.where(good, 0.0, bad + 1.0)
        share = lambda keep: tf.maximum(1.0 - keep, 1.0 / (count + 1.0))  # at first, equal averages
        faster = fast + (loss - fast) * share(FAST)
        spike = (count >= WARMUP) & (faster - slow > self.deviations * deviation)
        alarm = tf.where((good & spike) | (bad >= self.patience), 1.0, alarm)
        new_slow = slow + (loss - slow) * share(SLOW)
        new = [faster, new_slow, deviation + (tf.abs(loss - new_slow) - deviation) * share(SLOW), count + 1.0]
        new = [tf.where(good & (alarm == 0.0), one, old) for one, old in zip(new, (fast, slow, deviation, count))]
        losses.assign(tf.stack([*new, bad, alarm]))

    def on_train_begin(self, logs: Logs = None) -> None:
        self.drop()
        self.fresh = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        epoch = self.epoch_index(epoch)
        if self.fresh and epoch == 0:
            self.spent.set(0.0)
            self.arrays["losses"].assign(tf.zeros(6))
        self.fresh, self.epoch = False, epoch
        self.before = float(self.spent)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self.good is None and self.unread is None:
            self.keep()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.read()
        alarmed = bool(self.read_array("losses")[-1])
        if alarmed and self.good:
            self.go_back()
        elif not self.good or self.updates() - self.kept >= self.every:
            self.keep()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        require(not self.fresh, "on_epoch_begin", "must be called before on_epoch_end for SpikeGuard to act", epoch)
        kept = self.good is not None
        require(kept, "on_train_batch_end", "must be called after each batch for SpikeGuard to act", epoch)
        if logs is not None:
            logs["spikes"] = float(self.spent) - self.before

    def get_state(self) -> CallbackState:
        """Return the place in the run and the copy: its values, and their places among what training changes."""
        counts = {"fresh": self.fresh, "epoch": self.epoch, "before": self.before}
        return counts | {"good": self.stored(), "kept": self.kept, "kept_in": self.kept_in}

    def set_state(self, state: CallbackState) -> None:
        self.fresh, self.epoch, self.before = state["fresh"], state["epoch"], state["before"]
        self.unread, self.kept, self.kept_in = state["good"], state["kept"], state["kept_in"]

    def stored(self) -> CallbackState | None:
        """Return the copy as a state, None where there is none."""
        if self.unread is not None or self.good is None:
            return self.unread
        places = {id(variable): place for place, variable in enumerate(self.changing())}
        copies = [(places.get(id(one)), value) for one, value in zip(self.good.variables, self.good.values)]
        still = [(place, value) for place, value in copies if place is not None]  # compile may have replaced metrics
        return {"places": [place for place, _ in still], "values": [value for _, value in still]}

    def read(self) -> None:
        """Make the copy of a state that was put back, after a step: training has then made all its variables."""
        if self.unread is None:
            return
        variables, values = self.changing(), self.unread["values"]
        places = [place for place in self.unread["places"] if place < len(variables)]
        chosen = [variables[place] for place in places]
        same = [tuple(one.shape) for one in chosen] == [np.shape(value) for value in values]
        require(same, "state", "must be of a model with the same variables", [one.name for one in chosen])
        self.good, self.unread = Snapshot(chosen, values), None

    def drop(self) -> None:
        """Drop the copies."""
        self.good = self.unread = None

    def close(self) -> None:
        """Leave nothing in the model, and drop the copies."""
        self.drop()
        super().close()

    def updates(self) -> int:
        """Return how many updates the first optimizer has made."""
        return int(keras.ops.convert_to_numpy(self.rated[0].iterations))

    @property
    def rated(self) -> list[KerasOptimizer]:
        """The optimizers with rates."""
        return list(self.optimizers.values())

    def changing(self) -> list[Variable]:
        """Return what is copied: all but what goes on after a spike, counts of updates, rates, Knobs, global seeds."""
        extra = [variable for hook in working(self.model) for variable in hook.variables]
        left = [variable for one in self.rated for variable in (one.iterations, rate_variable(one))]
        return training_variables(self.model, extra, without=[*left, *knob_variables(self.model), *global_seeds()])

    def keep(self) -> None:
        """Copy the state."""
        self.good = Snapshot(self.changing())
        self.kept, self.kept_in = self.updates(), self.epoch

    def go_back(self) -> None:
        """Put the copied state back, and lower the rate."""
        if self.good is not None:
            self.good.restore()
        if self.kept_in != self.epoch:
            self.model.reset_metrics()  # those of the epoch that the copy is of
        spent = float(self.spent)
        if spent >= self.tries:
            rate = rate_of(self.rated[0])
            raise RuntimeError(
                f"the loss has spiked {int(spent) + 1} times, the last time in epoch {self.epoch + 1} at the learning "
                f"rate {rate:g}: the rate is too high, or examples are broken. The model has its last good state."
            )
        self.spent.set(spent + 1)
        for optimizer in self.rated:
            lower_rate(optimizer, self.factor)
