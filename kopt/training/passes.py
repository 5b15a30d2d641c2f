"""Passes: going over data by the programs of a model's steps."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from kopt import keras_internals as internals
from kopt.distribute import is_chief, over_workers, workers
from kopt.training.engine import Jit, Source
from kopt.training.hooks import Phase
from kopt.training.program import Program
from kopt.training.test_step import TestStep
from kopt.training.train_step import TrainStep


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

    def over(self, phase: Phase, data: Source, epoch: int, callbacks: Any) -> dict[str, Any]:
        """Go once through the data; the logs."""
        model, logs, extra = self.model, {}, {}
        begin, end = getattr(callbacks, f"on_{phase}_batch_begin"), getattr(callbacks, f"on_{phase}_batch_end")
        program = self.install(phase)
        for work in data.epoch(epoch):
            begin(work.first)
            started = time.perf_counter()
            found = program(work)
            if not work.ran:
                continue  # there was nothing left
            logs = found
            extra = {name: found.pop(name) for name in program.watched if isinstance(found, dict)}
            data.pace.measure(work.steps, time.perf_counter() - started, data.known or work.steps)
            end(work.last, logs)
            if self.agreed_stop(phase, data):
                break
        return (dict(logs) if logs and program.logs == "metrics" else internals.epoch_logs(model, logs)) | extra

    def span(self, data: Source, epoch: int, last: int) -> list[dict[str, Any]]:
        """Train for several epochs in one call, where there is time for that; the logs of each."""
        work = data.span(epoch, last)
        program = self.install("train")
        if work is None or not program.spans:
            return []
        started = time.perf_counter()
        program(work)
        data.pace.measure(work.steps, time.perf_counter() - started, work.steps)
        return work.logs or []

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
