"""ValidateEvery: validation every so many steps, in the middle of an epoch."""

import logging

from kopt.callbacks.base import registry
from kopt.callbacks.mid_epoch import MidEpochEvaluation
from kopt.callbacks.step_history import Place, StepHistory
from kopt.distribute import is_chief
from kopt.keras_internals import called_with
from kopt.training.arguments import require_sizes
from kopt.training.callback import Callback
from kopt.training.checkpoint.every import Every
from kopt.training.feed.placement import DataSpec
from kopt.training.feed.validation import parts_of
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasCallback, Logs, Nest

__all__ = ["ValidateEvery"]

log = logging.getLogger("kopt")


@registry.register
class ValidateEvery(Callback):
    """Validate after every so many steps of the run, right after that update, whatever the length of an epoch is.

    In `Loop` and `kopt.fit` a program call ends there by itself; in Keras' fit `every`, and the steps of an epoch, must
    be multiples of `steps_per_execution`. Training is not changed: its weights, metrics and order have the same bits.
    Averages (`Average`, `RuleWeights`) are shown to the validation, as at an epoch's end.

    Each result is logged, and is a row of `history`. Other callbacks have it at once in `on_validation`: `StopWhen`
    acts on it. The last one of an epoch is in the epoch's logs, where fit itself validates nothing: for
    `ReduceOnPlateau` and `EarlyStopping`, which stand after it, and the History.

    Args:
        every: The number of steps, "500 steps".
        data: (x, y), (x, y, sample_weight) or a dataset, as `validation_data` of fit.
        batch_size: Examples a step, >= 1; 32 when None.
        steps: Where to cut the data, >= 1; None for all.
        file: A CSV file to write, or None.
        folder: A folder to write events for TensorBoard to, or None.

    Attributes:
        history: Name -> the values of the validations: "step", "val_loss" and the metrics.

    Raises:
        ValueError: When an argument is out of range; in fit, when the data do not fit, or Keras' fit ends no program
            call at one of the steps.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> data, validate = (np.eye(2), np.ones((2, 1))), ValidateEvery("3 steps", (np.eye(2), np.ones((2, 1))))
        >>> _ = model.fit(*data, batch_size=1, epochs=4, callbacks=[validate], verbose=0)
        >>> validate.history["step"], sorted(validate.history)
        ([3, 6], ['step', 'val_loss'])

    Source:
        `val_check_interval` of Lightning's Trainer.
    """

    any_chunk = True

    def __init__(
        self,
        every: str,
        data: Nest,
        *,
        batch_size: int | None = None,
        steps: int | None = None,
        file: Place | None = None,
        folder: Place | None = None,
    ):
        super().__init__()
        found = Every.of(every)
        require(found.unit == "steps", "every", "must be a number of steps, such as '500 steps'", every)
        require(data is not None, "data", "must be given", data)
        require_sizes(batch_size=batch_size, steps=steps)
        self.every, self.written = int(found.count), StepHistory(file, folder)
        held = DataSpec(*(parts_of(data) or ()), batch_size=batch_size, name="data", phase="test")
        self.evaluation = MidEpochEvaluation(held.cut("steps", steps))
        self.steps, self.base, self.fresh, self.newest = 0, 0, True, dict[str, float]()
        self.others: list[KerasCallback] = []
        self.begun = False

    @property
    def history(self) -> dict[str, list[float]]:
        return self.written.columns

    def on_train_begin(self, logs: Logs = None) -> None:
        params = self.params or {}
        self.known, self.in_loop = params.get("steps"), "examples" in params  # which Keras' fit does not tell
        self.require_calls(1 if self.in_loop else self.model.steps_per_execution)
        self.others = [one for one in called_with(self) if one is not self]
        times = (self.known or 1) * params.get("epochs", 1) // self.every
        self.evaluation.begin(self.model, self.others, times, in_loop=self.in_loop)
        self.written.begin(is_chief(self.model.distribute_strategy))
        self.steps = self.base = 0
        self.fresh, self.begun, self.newest = True, True, {}

    def require_begun(self) -> None:
        """Raise ValueError in a user's loop, which tells callbacks neither of one another nor of the steps to come."""
        name = self.model.name
        require(self.begun, "model", "must train in fit, kopt.fit or Loop, for ValidateEvery to act", name)

    def require_calls(self, steps: int) -> None:
        """Raise ValueError unless calls of so many steps end at each validation."""
        rule = (
            f"must be a multiple of steps_per_execution in Keras' fit, {steps}, as the steps of an epoch; or kopt.fit"
        )
        require(self.every % steps == 0 and (self.known or 0) % steps == 0, "every", rule, f"{self.every} steps")

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.require_begun()
        if self.fresh:  # a run may begin with a later epoch
            self.steps = self.epoch_index(epoch) * (self.known or 0)
        self.base, self.fresh, self.newest = self.steps, False, {}

    def steps_to_call(self) -> int:
        return self.every - self.steps % self.every

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        before, self.steps = self.steps, self.base + min(batch + 1, self.known or batch + 1)
        if self.steps // self.every > before // self.every:
            rule = "must be such that a call of train_function ends there in Keras' fit, as kopt.fit does"
            require(self.in_loop or self.steps % self.every == 0, "every", rule, f"{self.every} steps")
            self.validate()

    def validate(self) -> None:
        """Validate, and pass the result on."""
        self.newest = {f"val_{name}": value for name, value in self.evaluation.run().items()}
        self.written.add({"step": [self.steps]} | {name: [value] for name, value in self.newest.items()})
        log.info("step %d: %s", self.steps, ", ".join(f"{name} {value:.4g}" for name, value in self.newest.items()))
        for one in self.others:
            if isinstance(one, Callback):
                one.on_validation(self.steps, dict(self.newest))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.require_begun()
        if logs is not None and not any(name.startswith("val_") for name in logs):
            logs.update(self.newest)

    def get_state(self) -> CallbackState:
        counts = {"steps": self.steps, "base": self.base, "fresh": self.fresh, "newest": self.newest}
        return {"history": self.written.state(), **self.evaluation.state(), **counts}

    def set_state(self, state: CallbackState) -> None:
        self.steps, self.base, self.fresh = state["steps"], state["base"], state["fresh"]
        self.newest = dict(state["newest"])
        self.written.put_back(state["history"])
        self.evaluation.put_back(state)

    def close(self) -> None:
        self.written.close()
        super().close()
