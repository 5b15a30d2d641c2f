"""Epochs: training, validation, evaluation and prediction over the chunks of a source."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.distribute import is_chief, over_workers, workers
from kopt.training.callback import Times
from kopt.training.callback_needs import send_epoch, spans_epochs, steps_to_call, watched, watches_batches
from kopt.training.checkpoint.saver import Run, Unsaved
from kopt.training.epoch_result import EpochResult, Moment
from kopt.training.execute.base import Executor
from kopt.training.execute.predictions import predictions_of
from kopt.training.execute.program import Program
from kopt.training.execute.xla import Decision, settled
from kopt.training.feed.chunks import Chunk, ChunkResult, ChunkSizer
from kopt.training.feed.placement import Jit
from kopt.training.feed.sources import Source
from kopt.training.steps.evaluate import EvaluateStep
from kopt.training.steps.train import TrainStep, skipped
from kopt.values.checks import require
from kopt.values.types import KerasCallback, KerasModel, Nest, Phase, Step, Variable

log = logging.getLogger("kopt")

UNSAVED = Unsaved()

SKIPPED = "skipped steps"  # their number, among a program's logs

BatchMethod = Callable[..., None]
Frequency = int | Collection[int]  # of validation: every so many epochs, or after these


class Epochs:
    """Goes over data chunk by chunk and calls the callbacks; the workers of a cluster stop together.

    Args:
        model: The model.
        steps: The step on one batch, by phase.
        jit: Whether to compile with XLA: "auto", True or False.
        executors: Kinds of executors that are asked before kopt's own.
    """

    def __init__(
        self, model: KerasModel, steps: Mapping[Phase, Step], jit: Jit, executors: Sequence[type[Executor]] = ()
    ):
        self.model, self.steps, self.jit, self.executors = model, steps, jit, tuple(executors)
        self.settled: Mapping[Phase, Mapping[str, Decision]] = {}
        self.called: Sequence[KerasCallback] = ()
        self.skipped_before = 0

    def train(
        self,
        initial: int,
        epochs: int,
        data: Source,
        callbacks: keras.callbacks.CallbackList,
        validation: Source | None = None,
        frequency: Frequency = 1,
        saver: Unsaved = UNSAVED,
    ) -> None:
        """Train from one epoch to before another.

        Args:
            initial: The first epoch's number.
            epochs: The last epoch's number plus one.
            data: The data.
            callbacks: The callbacks.
            validation: Data to validate on, or None.
            frequency: Validate every so many epochs, or after the listed ones.
            saver: Writes checkpoints, and puts training back.
        """
        sources = {"train": data} | ({} if validation is None else {"validation": validation})
        run = Run(self.model, self.steps["train"], sources, callbacks.callbacks, initial, self)
        saver.check(run)
        self.begin(data, callbacks)
        moment = saver.moment or Moment(internals.initial_epoch(self.model, initial))
        if moment.amid:
            callbacks.on_epoch_begin(moment.epoch)
        saver.restore(run)
        self.skipped_before = sum(int(tf.convert_to_tensor(count)) for count in self.counted.values())
        epoch = first = moment.epoch
        result, stop = moment.result, moment.stopped
        self.model.stop_training |= stop  # as the run that was complete left it
        while epoch < epochs and not stop:
            begun = moment.amid and epoch == first
            if not begun:
                callbacks.on_epoch_begin(epoch)
            # The first epoch is alone: callbacks begin with it, and it shows how long one takes.
            results = self.several(data, epoch, epochs, saver) if epoch > first else []
            results = results or [self.over("train", data, epoch, callbacks, saver, result if begun else EpochResult())]
            for place, result in enumerate(results):
                if place:
                    callbacks.on_epoch_begin(epoch)
                self.report(epoch, result)
                if validation is not None and due(epoch, frequency):
                    saver.validating(Moment(epoch, amid=True, result=result))
                    found = self.evaluate(validation, callbacks, saver)
                    logs = result.logs | {f"val_{name}": value for name, value in found.items()}
                    result = EpochResult(logs, result.values, result.times)
                callbacks.on_epoch_end(epoch, result.logs)
                epoch += 1
            stop = self.agreed_stop("train")
            ended = Moment(epoch, stopped=stop, result=result)
            stop |= saver.epoch_ended(ended, len(results), last=stop or epoch >= epochs)
        if epochs > 0:
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)
        callbacks.on_train_end(logs=result.logs if result.logs or epoch > first else None)

    def evaluate(
        self, data: Source, callbacks: keras.callbacks.CallbackList, saver: Unsaved = UNSAVED
    ) -> dict[str, float]:
        """Evaluate on a source; return the logs as numbers."""
        self.model.stop_evaluating = False
        data.reset()
        callbacks.on_test_begin()
        logs = internals.plain_logs(self.over("test", data, 0, callbacks, saver).logs)
        callbacks.on_test_end(logs)
        return logs

    def predict(self, data: Source, callbacks: keras.callbacks.CallbackList) -> Nest:
        """Return the outputs for all of a source as NumPy arrays, in the structure of the model's outputs."""
        model, found = self.model, list[Nest]()
        model.stop_predicting = False
        callbacks.on_predict_begin()
        executor = predictions_of(model, self.jit)
        for chunk in data.epoch(0):
            callbacks.on_predict_batch_begin(chunk.first)
            result, seconds = timed(executor, chunk)
            if result.steps:
                (outputs,) = result.logs
                data.sizer.measure(result.steps, seconds, data.known or result.steps)
                found.append(tf.nest.map_structure(lambda output: output.numpy(), outputs))
                callbacks.on_predict_batch_end(result.last(chunk), {"outputs": outputs})
                if model.stop_predicting:
                    break
            data.advance(chunk, result)
        require(bool(found), "x", "must not be empty", "no batch")
        whole = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *found)
        callbacks.on_predict_end()
        return whole

    # Parts of training and evaluation

    def begin(self, data: Source, callbacks: keras.callbacks.CallbackList) -> None:
        """Make data and callbacks ready for the first epoch."""
        self.called = callbacks.callbacks
        data.reset()
        callbacks.on_train_begin()
        if data.sizer.asked is None and any(watches_batches(one, "train") for one in self.called):
            data.sizer = ChunkSizer(self.model.steps_per_execution)  # a batch method was set after data were placed
        data.sizer.most = lambda: steps_to_call(self.called)
        self.install("train").traced.engine = data.engine

    def over(
        self,
        phase: Phase,
        data: Source,
        epoch: int,
        callbacks: keras.callbacks.CallbackList,
        saver: Unsaved,
        so_far: EpochResult = EpochResult(),
    ) -> EpochResult:
        """Run the chunks of an epoch."""
        logs, values, times = so_far
        program, (begin, end) = self.install(phase), batch_methods(phase, callbacks)
        for chunk in data.epoch(epoch):
            begin(chunk.first)
            if self.installed(phase) is not program:  # a callback has compiled the model
                program = self.install(phase)
            result, seconds = timed(program, chunk)
            if result.steps:
                times = Times(times.steps + result.steps, times.seconds + seconds, times.waited + result.waited)
                logs, values = program.split(result.logs[-1])
                data.sizer.measure(result.steps, seconds, data.known or result.steps)
                end(result.last(chunk), logs)
                if self.agreed_stop(phase, data):
                    break
            data.advance(chunk, result)
            if phase == "test":
                saver.validated_chunk()
            elif saver.chunk_ended(Moment(epoch, amid=True, result=EpochResult(logs, values, times)), result.steps):
                break
        metrics = logs and program.traced.logs == "metrics"
        return EpochResult(dict(logs) if metrics else internals.epoch_logs(self.model, logs), values, times)

    def several(self, data: Source, epoch: int, last: int, saver: Unsaved) -> list[EpochResult]:
        """Train for several epochs in one call when callbacks allow it; return the result of each."""
        if any(watches_batches(one, "train") or not spans_epochs(one) for one in self.called):
            return []
        chunk, program = data.whole_epochs(epoch, last), self.install("train")
        if chunk is None or not program.executor(chunk).spans_epochs:
            return []
        result, seconds = timed(program, chunk)
        data.sizer.measure(chunk.steps, seconds, chunk.steps)
        saver.count(chunk.steps)
        count = len(chunk.parts)
        times = Times(chunk.steps // count, seconds / count, 0.0)
        return [EpochResult(*program.split(logs), times) for logs in result.logs]

    def agreed_stop(self, phase: Phase, data: Source | None = None) -> bool:
        """Return whether any worker wants to stop; make the workers' next chunks equal, for each ends in a collective.

        Args:
            phase: What may be stopped.
            data: The data, where another chunk may follow.
        """
        model, strategy = self.model, self.model.distribute_strategy
        stop = bool(model.stop_training if phase == "train" else model.stop_evaluating)
        if workers(strategy) == 1:
            return stop
        size = data.sizer.size if data and is_chief(strategy) else 0
        stops, size = over_workers(strategy, [stop, size])
        stop = bool(stops)
        if phase == "train":
            model.stop_training = stop
        else:
            model.stop_evaluating = stop
        if data:
            data.sizer.size = int(size)
        return stop

    def installed(self, phase: Phase) -> object:
        """Return what stands as the model's function of a phase."""
        return self.model.train_function if phase == "train" else self.model.test_function

    def install(self, phase: Phase) -> Program:
        """Return the program of a phase; a new one where a callback or compile has dropped the last."""
        model, step, program = self.model, self.steps[phase], self.installed(phase)
        if not isinstance(program, Program) or not program.is_for(step, self.jit, self.executors):
            of_metrics = isinstance(step, (TrainStep, EvaluateStep)) and not internals.has_own_metrics(model)
            program = Program(model, step, self.jit, "metrics" if of_metrics else "step", self.executors)
            if phase == "train":
                model.train_function = program
            else:
                model.test_function = program
        program.traced.settled = dict(self.settled.get(phase, {}))
        program.watch(watched(self.called) | self.counted if phase == "train" else {})
        return program

    # What checkpoints keep of programs

    def decisions(self) -> dict[Phase, Nest]:
        """Return what was decided about XLA, as plain values by phase and kind of batch."""
        programs = {phase: self.installed(phase) for phase in self.steps}
        return {phase: one.traced.decided() for phase, one in programs.items() if isinstance(one, Program)}

    def settle(self, decisions: Mapping[Phase, Nest]) -> None:
        """Decide about XLA as it was decided before."""
        self.settled = {phase: settled(kinds) for phase, kinds in decisions.items()}
        for phase in self.settled:
            self.install(phase)

    def prepare(self, data: Source) -> None:
        """Trace the training step, which makes the variables that are made at the first step, and changes none."""
        program = self.install("train")
        if not self.model.run_eagerly:
            program.traced.trace(data.batch_spec, False)

    @property
    def counted(self) -> dict[str, Variable]:
        """The number of skipped steps, by its name in a program's logs; nothing where the step does not count them."""
        return {SKIPPED: skipped(self.model).value} if isinstance(self.steps["train"], TrainStep) else {}

    def report(self, epoch: int, result: EpochResult) -> None:
        """Pass the watched values and the times of an epoch to callbacks, and log how many steps were skipped."""
        send_epoch(self.called, result.values, result.times)
        so_far = int(result.values.get(SKIPPED, 0))
        if so_far > self.skipped_before and is_chief(self.model.distribute_strategy):
            count = so_far - self.skipped_before
            said = "1 step was" if count == 1 else f"{count} steps were"
            log.warning("epoch %d: %s skipped, for its gradient was not finite", epoch + 1, said)
        self.skipped_before = so_far


def timed(program: Program | Executor, chunk: Chunk) -> tuple[ChunkResult, float]:
    """Run a chunk; return its result and the seconds that it took."""
    started = time.perf_counter()
    result = program.run(chunk)
    return result, time.perf_counter() - started


def batch_methods(phase: Phase, callbacks: keras.callbacks.CallbackList) -> tuple[BatchMethod, BatchMethod]:
    """Return what is called before and after each chunk."""
    if phase == "train":
        return callbacks.on_train_batch_begin, callbacks.on_train_batch_end
    return callbacks.on_test_batch_begin, callbacks.on_test_batch_end


def due(epoch: int, frequency: Frequency) -> bool:
    """Return whether to validate after this epoch: every so many, or the listed ones, counted from 1."""
    return epoch + 1 in frequency if isinstance(frequency, Collection) else (epoch + 1) % frequency == 0


def times_due(first: int, last: int, frequency: Frequency) -> int:
    """Return the number of validations from one epoch to before another."""
    if isinstance(frequency, Collection):
        return sum(first < one <= last for one in frequency)
    return max(0, last // frequency - first // frequency)
