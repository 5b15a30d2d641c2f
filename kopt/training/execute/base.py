"""Executor: a way to run the traced step over a chunk; TracedStep: a model's step, its traces and compiled programs."""

import abc
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Literal, NamedTuple, TypeVar

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.execute.choices import log_choices
from kopt.training.execute.compile_cache import kept
from kopt.training.execute.estimate import Plan
from kopt.training.execute.lookups import Lookups
from kopt.training.execute.normalization import fused_normalization
from kopt.training.execute.xla import Decision, decide
from kopt.training.feed.batches import rows, shared, sliced, without_missing
from kopt.training.feed.chunks import Chunk, ChunkResult
from kopt.training.feed.placement import Jit
from kopt.training.steps.train import TrainStep
from kopt.training.steps.update_hooks import HookedStep, working
from kopt.values import collector
from kopt.values.types import Batch, ConcreteFunction, KerasModel, Nest, Step, Tensor, TensorSpec, Variable

log = logging.getLogger("kopt")

PROGRAMS = 16  # that a model's phase keeps; the one that was used last stays longest

Key = TypeVar("Key", bound=Hashable)
Kept = TypeVar("Kept")
KindOfChunk = TypeVar("KindOfChunk", bound=Chunk)
Program = Callable[..., Nest]


class Refused(Exception):
    """XLA's compiler refuses a program."""


class TraceKey(NamedTuple):
    """All that a trace of the step depends on.

    Attributes:
        spec: The spec of a batch, as text.
        xla: Whether it is traced for XLA.
        checked: Whether each gradient is checked, see `TrainStep.unchecked`.
        hooks: The update hooks of callbacks in the step.
    """

    spec: str
    xla: bool
    checked: bool
    hooks: tuple[Hashable, ...]


class ProgramKey(NamedTuple):
    """All that a compiled program depends on.

    Attributes:
        executor: The name of the executor that made it.
        shapes: The shapes that are fixed in it.
        xla: Whether the step is compiled with XLA in it.
        watched: Names and identities of the variables whose values are among the logs.
        hooks: The update hooks of callbacks in the step.
    """

    executor: str
    shapes: Hashable
    xla: bool
    watched: tuple[tuple[str, int], ...]
    hooks: tuple[Hashable, ...]


class TracedStep:
    """A model's step for one phase: how replicas run it, whether XLA compiles it, its traces and compiled programs.

    The executors of a model's phase share it, and so one set of traces and one compile cache.

    Args:
        model: The model, compiled but for predictions.
        step: The step on one batch.
        jit: Whether to compile with XLA; "auto" decides it for each kind of batch, before data are drawn.
        logs: "metrics" where the logs are the model's metrics, "step" where they are what the last step returned,
            "outputs" where every process computes the outputs of whole batches.

    Attributes:
        alone: Whether there is one replica.
        xla: Whether the last kind of batch is compiled with XLA; None before the first.
        lookups: The checks of indices in steps that XLA compiles.
        watched: Variables whose values are added to the logs, by name.
        engine: Where the data of the run that begins lie, until it is logged; empty for what needs no line in the log.
    """

    engine = ""

    def __init__(self, model: KerasModel, step: Step, jit: Jit, logs: Literal["metrics", "step", "outputs"]):
        self.model, self.step, self.jit, self.logs = model, step, jit, logs
        self.strategy = model.distribute_strategy
        self.alone: bool = self.strategy.num_replicas_in_sync == 1
        self.xla: bool | None = None
        self.lookups = Lookups()
        self.watched: dict[str, Variable] = {}
        self.decisions: dict[tuple[Hashable, tuple[Hashable, ...]], Decision] = {}
        self.settled: dict[str, Decision] = {}  # of an earlier process, by the text of the kind of batch
        self.traces: OrderedDict[TraceKey, ConcreteFunction] = OrderedDict()
        self.programs: OrderedDict[ProgramKey, Program] = OrderedDict()

    @property
    def hooks(self) -> tuple[Hashable, ...]:
        """The update hooks with which the step is traced."""
        return working(self.model) if isinstance(self.step, (TrainStep, HookedStep)) else ()

    # One step

    def on_batch(self, batch: Batch, checked: bool = True) -> Nest:
        """Run the step on one batch, a part of it on each replica; return its logs, nothing where they are metrics."""
        batch = without_missing(batch)
        if self.logs == "outputs":
            return self.step(batch)
        if self.alone or any(isinstance(leaf, tf.distribute.DistributedValues) for leaf in tf.nest.flatten(batch)):
            return self.on_shares(batch, checked)
        shares = shared(rows(batch), lambda start, stop: sliced(batch, start, stop), self.strategy)
        return self.on_shares(shares, checked)

    def on_shares(self, share: Batch, checked: bool = True) -> Nest:
        """Run the step on every replica, each on its share of a batch."""
        step = self.step if checked or not isinstance(self.step, TrainStep) else self.step.unchecked
        logs = self.strategy.run(step, args=(share,))
        if self.logs == "metrics":
            return ()
        return logs if self.alone else tf.nest.map_structure(self.mean, logs)

    def mean(self, value: Tensor) -> Tensor:
        return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)

    def prepared(self, step: Step, xla: bool) -> Step:
        """Return a step as it is traced: for XLA with fast random numbers, watched lookups, batches of unknown size.

        On one device Keras' Adam is traced as its formula, with Keras' bits; "auto" has it, and batch normalization, by
        TensorFlow's kernels where XLA is not taken.
        """
        keeps_bits = self.jit != "auto" or not self.alone or internals.asked_jit(self.model) is False
        optimizers = internals.held_optimizers(self.model).values() if internals.on_one_device(self.strategy) else []

        def watched(batch: Batch) -> Nest:
            with internals.fast_random(), internals.sizes_unknown(self.model), self.lookups.watch():
                return step(batch)

        def fused(batch: Batch) -> Nest:
            with contextlib.nullcontext() if keeps_bits else fused_normalization(self.model):
                return step(batch)

        def shorter(batch: Batch) -> Nest:
            with internals.shorter_adam(optimizers, kernel=not keeps_bits and not xla):
                return (watched if xla else fused)(batch)

        return shorter

    def trace(self, spec: Nest, xla: bool, checked: bool = True) -> ConcreteFunction:
        """Return the step on one batch as a concrete function."""

        def make() -> ConcreteFunction:
            step = self.prepared(lambda batch: self.on_batch(batch, checked), xla)
            with collector.paused():
                return tf.function(step, autograph=False, jit_compile=xla or None).get_concrete_function(spec)

        return recall(self.traces, TraceKey(str(spec), xla, checked, self.hooks), make)

    # Metrics and logs

    def resets_metrics(self) -> bool:
        """Return whether programs can reset the metrics."""
        return self.alone and internals.metrics_reset_in_graph(self.model)

    def reset_if(self, fresh: Tensor) -> None:
        """Reset the metrics in a program, where it can."""
        if self.resets_metrics():
            internals.either(fresh, self.model.reset_metrics, lambda: None)

    def results(self, last: Nest) -> Nest:
        """Return the logs after the last step, with the values of what is watched."""
        logs = self.model.get_metrics_result() if self.logs == "metrics" else last
        if not isinstance(logs, dict):
            return logs
        return logs | {name: tf.convert_to_tensor(variable) for name, variable in self.watched.items()}

    def log_specs(self, outputs: Nest) -> Nest:
        """Return the specs of the logs at the end of a program, whose step has outputs of these specs."""
        results = tf.function(self.results, autograph=False)
        return results.get_concrete_function(blank(outputs)[0]).structured_outputs

    # XLA

    def decide(self, batch: Hashable, spec: Callable[[], Nest], plan: Plan) -> bool:
        """Return whether to compile the step with XLA for a kind of batch.

        A decision stands, but where XLA did not pay for a run of fewer steps.

        Args:
            batch: The key of the kind of batch.
            spec: Returns its spec.
            plan: What the run plans for such batches.
        """
        key = batch, self.hooks
        made = self.decisions.get(key) or self.settled.get(repr(batch))
        if made is None or not made.stands(plan.steps):
            wanted = spec()
            trace = lambda: self.trace(wanted, True, plan.checked())
            made = decide(self.model, self.jit, wanted, trace, plan, alone=self.alone)
            if not self.engine:
                log.debug("jit: %s, %s", made.xla, made.why)
        self.decisions[key] = made
        self.log_choices(made)
        self.xla = made.xla
        return made.xla

    def log_choices(self, made: Decision | None = None) -> None:
        """Log where the data of a run lie and what was decided about XLA, once a run; None where nothing was."""
        if self.engine:
            jit = "" if made is None else f"; jit: {made.xla}, {made.why}"
            log_choices(f"engine: {self.engine}{jit}")
            self.engine = ""

    def pays(self, batch: Hashable, steps: int | None) -> bool:
        """Return whether XLA pays for so many steps, or is asked for, where it was taken for a kind of batch."""
        cost = self.decisions[batch, self.hooks].estimate
        return cost is None or cost.pays(steps)

    def refuse_xla(self, batch: Hashable) -> None:
        """Compile a kind of batch without XLA from now on."""
        self.decisions[batch, self.hooks] = Decision(False, "XLA refuses the step")

    def decided(self) -> dict[str, Nest]:
        """Return the decisions as plain values, by the text of the kind of batch."""
        return {repr(batch): made.plain() for (batch, _), made in self.decisions.items()}

    # Programs

    def key(self, executor: str, shapes: Hashable, xla: bool) -> ProgramKey:
        """Return the key of an executor's program."""
        watched = tuple((name, id(variable)) for name, variable in self.watched.items())
        return ProgramKey(executor, shapes, xla, watched, self.hooks)

    def call(self, key: ProgramKey, make: Callable[[], Program], *arguments: Nest, refusable: bool = False) -> Nest:
        """Call the program of a key, made and compiled at the first call; an index out of range raises.

        Args:
            key: The key.
            make: Makes the program.
            *arguments: The arguments of the program.
            refusable: Whether XLA compiles the whole program, so that a refusal comes before anything has run.

        Raises:
            Refused: When XLA's compiler refuses a program that is refusable.
        """
        new, started = key not in self.programs, time.perf_counter()
        program = recall(self.programs, key, make)
        try:
            with kept():
                result = program(*arguments)
        except internals.REFUSALS as error:
            if not (new and refusable):
                raise
            raise Refused(str(error).partition("\n")[0]) from error
        if new:
            log.debug("compiled in %.1f s", time.perf_counter() - started)
        if key.xla:
            self.lookups.raise_if_found()
        return result


class Executor(abc.ABC, Generic[KindOfChunk]):
    """A way to run a model's step over a chunk.

    Args:
        traced: The step, which the executors of a model share.
    """

    def __init__(self, traced: TracedStep):
        self.traced = traced

    @property
    def resets_metrics(self) -> bool:
        """Whether `run` resets the metrics when a chunk is fresh; else they are reset before `run`."""
        return False

    @property
    def spans_epochs(self) -> bool:
        """Whether a chunk may hold several epochs: `run` then resets the metrics for each, and returns logs of each."""
        return False

    @abc.abstractmethod
    def takes(self, chunk: Chunk) -> bool:
        """Return whether the executor can run a chunk."""

    @abc.abstractmethod
    def run(self, chunk: KindOfChunk) -> ChunkResult:
        """Run the steps of a chunk."""


def recall(store: OrderedDict[Key, Kept], key: Key, make: Callable[[], Kept]) -> Kept:
    """Return the value of a key, made when missing; keep the `PROGRAMS` values that were used last."""
    if key not in store:
        store[key] = make()
        while len(store) > PROGRAMS:
            store.popitem(last=False)
    store.move_to_end(key)
    return store[key]


def blank(outputs: Nest) -> tuple[Nest, Nest]:
    """Return zeros like a step's outputs, and their shapes."""

    def zeros(spec: TensorSpec) -> Tensor:
        return tf.zeros([size or 0 for size in spec.shape], spec.dtype)

    return tf.nest.map_structure(zeros, outputs), tf.nest.map_structure(lambda spec: spec.shape, outputs)
