"""Program: the object that stands as a model's `train_function` or `test_function` and has executors run chunks."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

from kopt import keras_internals as internals
from kopt.training.execute.base import Executor, TracedStep
from kopt.training.execute.eager import EagerExecutor, ShardedExecutor
from kopt.training.execute.resident import ResidentExecutor
from kopt.training.execute.stream import StreamExecutor
from kopt.training.feed.chunks import Chunk, ChunkResult
from kopt.training.feed.placement import Jit
from kopt.values.checks import require
from kopt.values.types import KerasModel, Nest, Step, Variable

# The first one that takes a chunk runs it.
EXECUTORS: tuple[type[Executor], ...] = (EagerExecutor, ResidentExecutor, ShardedExecutor, StreamExecutor)


class Program:
    """Runs a step over chunks, by the first executor that takes them.

    It stands as `model.train_function` or `model.test_function`, so that a fresh trace is made after that is set to
    None. What stock fit and evaluate pass to it there runs as Keras' own function would.

    Args:
        model: The compiled model.
        step: The step on one batch.
        jit: Whether to compile with XLA; "auto" decides it for each kind of batch.
        logs: "metrics" where the logs are the model's metrics, "step" where they are what the last step returned.
        executors: Kinds of executors that are asked before kopt's own.
    """

    def __init__(
        self,
        model: KerasModel,
        step: Step,
        jit: Jit,
        logs: Literal["metrics", "step"],
        executors: Sequence[type[Executor]] = (),
    ):
        self.traced = TracedStep(model, step, jit, logs)
        self.kinds = tuple(executors)
        self.executors = [kind(self.traced) for kind in (*executors, *EXECUTORS)]
        self.stock: dict[Hashable, Step] = {}

    @property
    def step(self) -> Step:
        """The step on one batch."""
        return self.traced.step

    @property
    def xla(self) -> bool | None:
        """Whether the last kind of batch was compiled with XLA; None before the first."""
        return self.traced.xla

    def is_for(self, step: Step, jit: Jit, executors: Sequence[type[Executor]]) -> bool:
        """Return whether a program is made of these."""
        return self.step == step and self.traced.jit == jit and self.kinds == tuple(executors)

    def __call__(self, iterator: Nest) -> Nest:
        """Run what Keras' own loop passes, as Keras' own function does; return the logs."""
        hooks = self.traced.hooks
        if hooks not in self.stock:
            self.stock[hooks] = internals.make_function(self.traced.model, self.step)
        return self.stock[hooks](iterator)

    def executor(self, chunk: Chunk) -> Executor:
        """Return the executor of a chunk."""
        found = next((one for one in self.executors if one.takes(chunk)), None)
        require(found is not None, "executors", "must have one that takes the chunk", type(chunk).__name__)
        assert found is not None
        return found

    def run(self, chunk: Chunk) -> ChunkResult:
        """Run a chunk."""
        executor = self.executor(chunk)
        if chunk.fresh and not executor.resets_metrics:
            self.traced.model.reset_metrics()
        result = executor.run(chunk)
        self.traced.log_choices()  # of an executor that decides nothing
        require(isinstance(result, ChunkResult), f"{type(executor).__name__}.run", "must return a ChunkResult", result)
        return result

    def watch(self, variables: Mapping[str, Variable]) -> None:
        """Have the values of variables among the logs, by name."""
        self.traced.watched = dict(variables)

    def split(self, logs: Nest) -> tuple[Nest, dict[str, Nest]]:
        """Return logs without the values that are watched, and these values, where logs are a dictionary."""
        if not isinstance(logs, dict):
            return logs, {}
        watched = self.traced.watched
        kept = {name: value for name, value in logs.items() if name not in watched}
        return kept, {name: value for name, value in logs.items() if name in watched}
