"""MidEpochEvaluation: an evaluation between two steps of training, which leaves training as it was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras

from kopt.keras_internals import has_own_test_step, raw
from kopt.state.snapshot import Snapshot
from kopt.training.callback import Callback
from kopt.training.epochs import Epochs
from kopt.training.execute.program import Program
from kopt.training.feed.placement import DataSpec, place
from kopt.training.feed.position import Position
from kopt.training.steps.evaluate import EvaluateStep
from kopt.values.types import CallbackState, KerasCallback, KerasModel

__all__ = ["MidEpochEvaluation"]


class MidEpochEvaluation:
    """Evaluates data in the middle of an epoch, with a program of its own; metrics of training are put back.

    Args:
        spec: The data.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> evaluation = MidEpochEvaluation(DataSpec(np.eye(2), np.ones((2, 1)), name="data", phase="test"))
        >>> evaluation.begin(model, [], times=1, in_loop=False)
        >>> evaluation.run()
        {'loss': 1.0}
    """

    def __init__(self, spec: DataSpec):
        self.spec = spec
        self.others: Sequence[KerasCallback] = ()
        self.program: object = None  # of evaluation, beside the one of fit's own validation

    def begin(self, model: KerasModel, others: Sequence[KerasCallback], times: int, *, in_loop: bool) -> None:
        """Begin a run.

        Args:
            model: The model that trains.
            others: The callbacks that are called at an evaluation.
            times: About how often data are evaluated in the run.
            in_loop: Whether `Loop` trains, and not Keras' fit; evaluation is then compiled as training is.
        """
        step, program = model.test_step if has_own_test_step(model) else EvaluateStep(model), model.train_function
        jit = program.traced.jit if in_loop and isinstance(program, Program) else False
        self.model, self.others, self.program = model, others, None
        self.epochs, self.source = Epochs(model, {"test": step}, jit), place(model, self.spec.planned(times))

    def run(self) -> dict[str, float]:
        """Evaluate, and return the loss and the metrics."""
        called = [one for one in self.others if not isinstance(one, keras.callbacks.ProgbarLogger)]
        with self.beside_training():
            return self.epochs.evaluate(self.source, keras.callbacks.CallbackList(called))

    @contextmanager
    def beside_training(self) -> Iterator[None]:
        """Keep the metrics and the programs of training while others are at work."""
        model, own = self.model, [one for one in self.others if isinstance(one, Callback)]
        metrics, function = Snapshot(list(map(raw, model.metrics_variables))), model.test_function
        model.test_function = self.program
        for one in own:
            one.in_mid_epoch = True
        try:
            yield
        finally:
            self.program, model.test_function = model.test_function, function
            metrics.restore()
            for one in own:
                one.in_mid_epoch = False

    def state(self) -> CallbackState:
        """Return the position in the data, and what was decided about XLA."""
        position, program = self.source.position, self.program
        decided = program.traced.decided() if isinstance(program, Program) else {}
        return {"passes": position.begun, "found": position.found, "decided": decided}

    def put_back(self, state: CallbackState) -> None:
        """Go on from a state."""
        self.source.revisit(Position(state["passes"], 0, 0, 0, False, False, state["found"], 1))
        with self.beside_training():
            self.epochs.settle({"test": state["decided"]})
