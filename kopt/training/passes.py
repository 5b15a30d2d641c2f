"""Passes: going over data by the programs of a model's steps."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.distribute import is_chief, over_workers, workers
from kopt.training.engine import Jit
from kopt.training.hooks import TIMES, Phase, Times, watched
from kopt.training.program import Program
from kopt.training.sources import Source
from kopt.training.test_step import TestStep
from kopt.training.train_step import TrainStep, skipped

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
        self.watched: dict[str, Any] = {}
        self.told_times = False
        self.skipped_before = 0

    def epochs(
        self, initial: int, epochs: int, data: Source, validation: Source | None, freq: Any, called: Any
    ) -> None:
        """Train from one epoch to before another, validating every so many or after the listed ones."""
        model, logs = self.model, None
        data.reset()
        self.watched = watched(called.callbacks) | self.counted
        self.told_times = any(getattr(callback, "told_times", False) for callback in called.callbacks)
        self.skipped_before = sum(int(tf.convert_to_tensor(count)) for count in self.counted.values())
        called.on_train_begin()
        begin = epoch = internals.initial_epoch(model, initial)
        stop = False
        while epoch < epochs and not stop:
            called.on_epoch_begin(epoch)
            # The first epoch is alone: callbacks begin with it, and it shows how long one takes.
            spanned = self.span(data, epoch, epochs) if epoch > begin else []
            for place, logs in enumerate(spanned):
                if place:
                    called.on_epoch_begin(epoch)
                self.tell_skipped(epoch, logs)
                called.on_epoch_end(epoch, logs)
                epoch += 1
            if not spanned:
                logs = self.over("train", data, epoch, called)
                self.tell_skipped(epoch, logs)
                if validation is not None and due(epoch, freq):
                    logs |= {f"val_{name}": value for name, value in self.evaluated(validation, called).items()}
                called.on_epoch_end(epoch, logs)
                epoch += 1
            stop = self.agreed_stop("train")
        if epochs > 0:
            model.optimizer.finalize_variable_values(model.trainable_weights)
        called.on_train_end(logs=logs)

    def over(self, phase: Phase, data: Source, epoch: int, callbacks: Any) -> dict[str, Any]:
        """Go once through the data; the logs."""
        model, logs, extra, times = self.model, {}, {}, Times(0, 0.0, 0.0)
        begin, end = getattr(callbacks, f"on_{phase}_batch_begin"), getattr(callbacks, f"on_{phase}_batch_end")
        program = self.install(phase)
        for work in data.epoch(epoch):
            begin(work.first)
            started = time.perf_counter()
            found = program(work)
            took = time.perf_counter() - started
            if not work.ran:
                continue  # there was nothing left
            times = Times(times.steps + work.ran, times.seconds + took, times.waited + work.waited)
            logs = found
            extra = {name: found.pop(name) for name in program.watched if isinstance(found, dict)}
            data.pace.measure(work.ran, took, data.known or work.ran)
            end(work.last, logs)
            if self.agreed_stop(phase, data):
                break
        extra |= {TIMES: times} if phase == "train" and self.told_times else {}
        return (dict(logs) if logs and program.logs == "metrics" else internals.epoch_logs(model, logs)) | extra

    def span(self, data: Source, epoch: int, last: int) -> list[dict[str, Any]]:
        """Train for several epochs in one call, where there is time for that; the logs of each."""
        work = data.span(epoch, last)
        program = self.install("train")
        if work is None or not program.spans:
            return []
        started = time.perf_counter()
        program(work)
        took = time.perf_counter() - started
        data.pace.measure(work.steps, took, work.steps)
        logs = work.logs or []
        if self.told_times:
            times = Times(work.steps // len(work.parts), took / len(work.parts), 0.0)
            logs = [log | {TIMES: times} for log in logs]
        return logs

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
            of_metrics = isinstance(step, (TrainStep, TestStep)) and not internals.has_own_metrics(model)
            program = Program(model, step, self.jit, "metrics" if of_metrics else "step")
            setattr(model, name, program)
        program.watched = self.watched if phase == "train" else {}
        return program

    def evaluated(self, data: Source, callbacks: Any) -> dict[str, float]:
        """Evaluate on a source; the logs as numbers."""
        self.model.stop_evaluating = False
        data.reset()
        callbacks.on_test_begin()
        logs = internals.plain_logs(self.over("test", data, 0, callbacks))
        callbacks.on_test_end(logs)
        return logs

    @property
    def counted(self) -> dict[str, Any]:
        """The number of skipped steps, by its name in a program's logs; nothing where the step does not count them."""
        return {SKIPPED: skipped(self.model).value} if isinstance(self.steps["train"], TrainStep) else {}

    def tell_skipped(self, epoch: int, logs: dict[str, Any]) -> None:
        """Say how many steps an epoch has skipped, which its logs hold."""
        so_far = int(logs.pop(SKIPPED, 0))
        if so_far > self.skipped_before and is_chief(self.model.distribute_strategy):
            count = so_far - self.skipped_before
            said = "1 step was" if count == 1 else f"{count} steps were"
            log.warning("epoch %d: %s skipped, for its gradient was not finite", epoch + 1, said)
        self.skipped_before = so_far


def due(epoch: int, frequency: Any) -> bool:
    """Whether to validate after this epoch: every so many, or the listed ones, counted from 1."""
    return epoch + 1 in frequency if isinstance(frequency, Collection) else (epoch + 1) % frequency == 0
