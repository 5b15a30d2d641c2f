"""Saver: writes checkpoints while a Loop trains, and puts training back to where it was stopped."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator

import kopt.keras_internals.resuming as randomness
from kopt import distribute
from kopt.tasks.directions import better
from kopt.training.callback import Times
from kopt.training.checkpoint.callback_states import restore_states, states_of, without_state
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.every import Due
from kopt.training.checkpoint.fingerprint import fingerprint, unlike
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.training.checkpoint.options import Options
from kopt.training.checkpoint.state import described, differences, put_back, taken
from kopt.training.checkpoint.unsaved import Run, Unsaved
from kopt.training.checkpoint.writer import Writer
from kopt.training.epoch_result import EpochResult, Moment
from kopt.training.feed.sources import Position
from kopt.training.signals import Signals, exception_of
from kopt.values.checks import require
from kopt.values.types import KerasModel, Logs

log = logging.getLogger("kopt")

LONG = 1.0  # seconds of drawing data again that are said
VERSION = 1  # of what a checkpoint holds


class Saver(Unsaved):
    """Writes checkpoints while a Loop trains, and puts training back.

    Args:
        options: Where and how often.
        model: The model.
    """

    def __init__(self, options: Options, model: KerasModel):
        self.options, self.strategy = options, model.distribute_strategy
        self.folder = CheckpointFolder(options.folder, keep=options.keep)
        self.due = Due(options.every)
        self.run: Run | None = None
        self.held: Content | None = None
        self.best: float | None = None
        self.start = randomness.random_states()
        self.drawn = 0
        self.steps = 0  # that were trained
        self.ended = False  # whether a signal has stopped training: nothing after its checkpoint is written

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if distribute.is_chief(self.strategy):
                stack.enter_context(self.folder.locked())
            self.signals = stack.enter_context(Signals(self.options.signals))
            self.saved = self.folder.read()
            if self.saved is not None:
                self.require_version(self.saved)
            self.writer = Writer(self.folder, on_error=self.options.on_error)
            try:
                yield
            finally:
                self.writer.close()

    def require_version(self, saved: Content) -> None:
        """Raise ValueError for a checkpoint that another version of kopt has written otherwise."""
        version = saved.values.get("version")
        require(version == VERSION, "checkpoint", f"must be of version {VERSION} of the format", version)

    @property
    def moment(self) -> Moment | None:
        if self.saved is None:
            return None
        epoch, amid, stopped, (logs, values, times) = self.saved.values["moment"]
        return Moment(epoch, amid, stopped, EpochResult(logs, values, Times(*times)))

    def seed(self, drawn: int) -> int:
        self.drawn = drawn if self.saved is None else self.saved.values["seed"]
        return self.drawn

    def budget(self, name: str, asked: int | None) -> int | None:
        if self.saved is None or name not in self.saved.values["resident"]:
            return asked
        return 2**62 if self.saved.values["resident"][name] else 0

    def check(self, run: Run) -> None:
        self.run, self.of = run, fingerprint(run.model, run.sources)
        unknown = without_state(run.callbacks)
        if unknown:
            rule = f"must define get_state and set_state to be saved, as {', '.join(unknown)} do not"
            require(not self.options.strict, "callbacks", rule, unknown)
            log.info("checkpoint: the state of %s is not saved: define get_state and set_state", ", ".join(unknown))
        if self.saved is None:
            return
        unequal = unlike(self.saved.values["fingerprint"], self.of)
        require(not unequal, "checkpoint", f"must be of this run: {unequal}", str(self.options.folder))

    def restore(self, run: Run) -> None:
        saved = self.saved
        self.due.begin()
        if saved is None:
            return
        values = saved.values
        started = time.perf_counter()
        randomness.set_random_states(values["start"])  # by which data are drawn again
        for name, source in run.sources.items():
            position = Position(**values["positions"][name])
            if name == "train":
                source.go_to(position, run.first, values["moment"][1])
            else:
                source.revisit(position.begun)
        seconds = time.perf_counter() - started
        if seconds > LONG:
            log.info("checkpoint: drawing the data again up to where training stopped took %.1f s", seconds)
        run.programs.settle(values["decisions"])
        run.programs.prepare(run.sources["train"])
        variables = run.variables
        differ = differences(values["variables"], described(variables))
        require(not differ, "checkpoint", f"must be of this model: {differ}", str(self.options.folder))
        restore_states(run.callbacks, values["callbacks"])
        put_back(variables, saved.arrays)
        randomness.set_random_states(values["random"])
        self.best, self.start, self.steps = values["best"], values["start"], values["steps"]
        epoch, amid = values["moment"][:2]
        place = f"in epoch {epoch + 1}" if amid else f"after epoch {epoch}"
        log.info("checkpoint: training goes on %s, after %d updates", place, self.steps)
        self.saved = None

    def content(self, moment: Moment) -> Content:
        """Return what a checkpoint holds at a moment."""
        run = self.run
        assert run is not None
        random = randomness.random_states()  # before the variables, for it makes Keras' global seed
        variables = run.variables
        result = moment.result
        return Content(
            taken(variables),
            {
                "version": VERSION,
                "moment": [
                    moment.epoch,
                    moment.amid,
                    moment.stopped,
                    [dict(result.logs), dict(result.values), tuple(result.times)],
                ],
                "positions": {name: dataclasses.asdict(source.position) for name, source in run.sources.items()},
                "resident": {name: source.is_resident for name, source in run.sources.items()},
                "variables": described(variables),
                "callbacks": states_of(run.callbacks),
                "decisions": run.programs.decisions(),
                "steps": self.steps,
                "fingerprint": self.of,
                "seed": self.drawn,
                "random": random,
                "start": self.start,
                "best": self.best,
            },
        )

    def agreed(self, due: bool) -> tuple[bool, int | None]:
        """Return whether a checkpoint is due, and the signal that a worker has received: the same on all workers."""
        received = self.signals.received or 0
        if distribute.workers(self.strategy) == 1:
            return due, received or None
        (due_there,) = distribute.from_chief(self.strategy, [float(due)])
        (received,) = distribute.over_workers(self.strategy, [float(received)])
        return bool(due_there), int(received) or None

    def count(self, steps: int) -> None:
        self.steps += steps
        self.due.count(steps=steps)

    def chunk_ended(self, moment: Moment, steps: int) -> bool:
        self.count(steps)
        due, received = self.agreed(self.due.count())
        if received:
            self.leave(received, self.content(moment))
        elif due and self.submit(self.content(moment)):
            self.due.begin()
        return self.ended

    def leave(self, received: int, content: Content, best: bool = False) -> None:
        """Write the checkpoint of a training that a signal ends, and raise the signal's exception or stop training."""
        if self.ended:
            return
        self.write(content, best)
        if self.options.on_signal == "raise":
            raise exception_of(received)
        assert self.run is not None
        self.ended = self.run.model.stop_training = True

    def validating(self, moment: Moment) -> None:
        self.held = self.content(moment)

    def validated_chunk(self) -> None:
        _, received = self.agreed(False)
        if received and self.held is not None:
            self.leave(received, self.held)

    def epoch_ended(self, moment: Moment, epochs: int, last: bool) -> bool:
        self.held = None
        best = self.improves(moment.result.logs)
        due, received = self.agreed(self.due.count(epochs=epochs))
        if last:
            due = self.options.at_end
        if self.ended or not (due or received or best):
            return self.ended
        content = self.content(moment)
        if received and not last:
            self.leave(received, content, best)
        elif received or best or last:
            self.write(content, best)
            self.due.begin()
        elif self.submit(content):
            self.due.begin()
        return self.ended

    def improves(self, logs: Logs) -> bool:
        """Return whether an epoch is the best so far by the log that the best checkpoint is kept by."""
        name = self.options.keep_best
        if name is None or not logs or name not in logs:
            return False
        value = float(logs[name])
        found = self.best is None or (value > self.best if better(name) == "max" else value < self.best)
        self.best = value if found else self.best
        return found

    def submit(self, content: Content) -> bool:
        """Have the chief write beside training; return False while it still writes."""
        return not distribute.is_chief(self.strategy) or self.writer.submit(self.steps, content)

    def write(self, content: Content, best: bool = False) -> None:
        """Have the chief write now."""
        if distribute.is_chief(self.strategy):
            self.writer.write(self.steps, content, best=best)
