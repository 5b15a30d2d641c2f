"""Passes: going over data by the programs of a model's steps."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.distribute import is_chief, over_workers, workers
from kopt.training.callback import Times
from kopt.training.callback_needs import Phase, send_epoch, spans_epochs, watched, watches_batches
from kopt.training.execute.program import Program
from kopt.training.feed.chunks import Pace
from kopt.training.feed.placement import Jit
from kopt.training.feed.sources import Source
from kopt.training.steps.evaluate import EvaluateStep
from kopt.training.steps.train import TrainStep, skipped

log = logging.getLogger("kopt")

SKIPPED = "skipped steps"  # their number, among a program's logs


class Passes:
    """Goes over data stretch by stretch and calls the batch hooks; the workers of a cluster stop together.

    Args:
        model: The compiled model.
        steps: What to do with one batch, by phase.
        jit: Whether to compile with XLA: "auto", True or False.
    """

    def __init__(self, model: Any, steps: Mapping[Phase, Callable[[Any], Any]], jit: Jit):
        self.model, self.steps, self.jit = model, steps, jit
        self.called: Sequence[Any] = ()
        self.skipped_before = 0

    def epochs(
        self, initial: int, epochs: int, data: Source, validation: Source | None, freq: Any, called: Any
    ) -> None:
        """Train from one epoch to before another, validating every so many or after the listed ones."""
        model, logs = self.model, None
        self.called = called.callbacks
        data.reset()
        self.skipped_before = sum(int(tf.convert_to_tensor(count)) for count in self.counted.values())
        called.on_train_begin()
        if data.pace.asked is None and any(watches_batches(one, "train") for one in self.called):
            data.pace = Pace(model.steps_per_execution)  # a batch hook was set after the data were made ready
        begin = epoch = internals.initial_epoch(model, initial)
        stop = False
        while epoch < epochs and not stop:
            called.on_epoch_begin(epoch)
            # The first epoch is alone: callbacks begin with it, and it shows how long one takes.
            spanned = self.span(data, epoch, epochs) if epoch > begin else []
            for place, (logs, values, times) in enumerate(spanned):
                if place:
                    called.on_epoch_begin(epoch)
                self.tell(epoch, values, times)
                called.on_epoch_end(epoch, logs)
                epoch += 1
            if not spanned:
                logs, values, times = self.over("train", data, epoch, called)
                self.tell(epoch, values, times)
                if validation is not None and due(epoch, freq):
                    logs |= {f"val_{name}": value for name, value in self.evaluated(validation, called).items()}
                called.on_epoch_end(epoch, logs)
                epoch += 1
            stop = self.agreed_stop("train")
        if epochs > 0:
            model.optimizer.finalize_variable_values(model.trainable_weights)
        called.on_train_end(logs=logs)

    def over(self, phase: Phase, data: Source, epoch: int, callbacks: Any) -> "Told":
        """Go once through the data; the logs."""
        model, logs, times = self.model, {}, Times(0, 0.0, 0.0)
        values: dict[str, Any] = {}
        begin, end = getattr(callbacks, f"on_{phase}_batch_begin"), getattr(callbacks, f"on_{phase}_batch_end")
        program = self.install(phase)
        for work in data.epoch(epoch):
            begin(work.first)
            if getattr(model, f"{phase}_function") is not program:  # a callback has compiled the model
                program = self.install(phase)
            started = time.perf_counter()
            found = program(work)
            took = time.perf_counter() - started
            if not work.ran:
                continue  # there was nothing left
            times = Times(times.steps + work.ran, times.seconds + took, times.waited + work.waited)
            logs = found
            values = {name: found.pop(name) for name in program.watched if isinstance(found, dict)}
            data.pace.measure(work.ran, took, data.known or work.ran)
            end(work.last, logs)
            if self.agreed_stop(phase, data):
                break
        whole = dict(logs) if logs and program.logs == "metrics" else internals.epoch_logs(model, logs)
        return Told(whole, values, times)

    def span(self, data: Source, epoch: int, last: int) -> list["Told"]:
        """Train for several epochs in one call when callbacks allow it; return the results of each."""
        if any(watches_batches(one, "train") or not spans_epochs(one) for one in self.called):
            return []
        work = data.span(epoch, last)
        program = self.install("train")
        if work is None or not program.spans:
            return []
        started = time.perf_counter()
        program(work)
        took = time.perf_counter() - started
        data.pace.measure(work.steps, took, work.steps)
        times = Times(work.steps // len(work.parts), took / len(work.parts), 0.0)
        apart = [{name: logs.pop(name) for name in program.watched} for logs in work.logs or []]
        return [Told(logs, values, times) for logs, values in zip(work.logs or [], apart)]

    def agreed_stop(self, phase: Phase, data: Source | None = None) -> bool:
        """Whether any worker wants to stop; they then agree on the next stretch too, for its end is a collective."""
        model, flag = self.model, f"stop_{'training' if phase == 'train' else 'evaluating'}"
        if workers(model.distribute_strategy) > 1:
            size = data.pace.size if data and is_chief(model.distribute_strategy) else 0
            stop, size = over_workers(model.distribute_strategy, [bool(getattr(model, flag)), size])
            setattr(model, flag, bool(stop))
            if data:
                data.pace.size = int(size)
        return bool(getattr(model, flag))

    def install(self, phase: Phase) -> Program:
        """The program of a phase; a new one where a callback or compile has thrown the last away."""
        model, name, step = self.model, f"{phase}_function", self.steps[phase]
        program = getattr(model, name)
        if not isinstance(program, Program) or program.step != step or program.jit != self.jit:
            of_metrics = isinstance(step, (TrainStep, EvaluateStep)) and not internals.has_own_metrics(model)
            program = Program(model, step, self.jit, "metrics" if of_metrics else "step")
            setattr(model, name, program)
        program.watched = watched(self.called) | self.counted if phase == "train" else {}
        return program

    def evaluated(self, data: Source, callbacks: Any) -> dict[str, float]:
        """Evaluate on a source; the logs as numbers."""
        self.model.stop_evaluating = False
        data.reset()
        callbacks.on_test_begin()
        logs = internals.plain_logs(self.over("test", data, 0, callbacks).logs)
        callbacks.on_test_end(logs)
        return logs

    @property
    def counted(self) -> dict[str, Any]:
        """The number of skipped steps, by its name in a program's logs; nothing where the step does not count them."""
        return {SKIPPED: skipped(self.model).value} if isinstance(self.steps["train"], TrainStep) else {}

    def tell(self, epoch: int, values: Mapping[str, Any], times: Times) -> None:
        """Give callbacks what they watch of an epoch, and log how many steps were skipped."""
        send_epoch(self.called, values, times)
        so_far = int(values.get(SKIPPED, 0))
        if so_far > self.skipped_before and is_chief(self.model.distribute_strategy):
            count = so_far - self.skipped_before
            said = "1 step was" if count == 1 else f"{count} steps were"
            log.warning("epoch %d: %s skipped, for its gradient was not finite", epoch + 1, said)
        self.skipped_before = so_far


class Told(NamedTuple):
    """What an epoch gave: its logs, the values of what is watched, and its times."""

    logs: dict[str, Any]
    values: dict[str, Any]
    times: Times


def due(epoch: int, frequency: Any) -> bool:
    """Whether to validate after this epoch: every so many, or the listed ones, counted from 1."""
    return epoch + 1 in frequency if isinstance(frequency, Collection) else (epoch + 1) % frequency == 0
