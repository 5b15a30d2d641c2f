"""Saver: writes checkpoints while a Loop trains, and puts training back to where it was stopped."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

import kopt.keras_internals.resuming as randomness
from kopt import distribute
from kopt.training.callback_needs import is_of_chief
from kopt.training.checkpoint.best import Best
from kopt.training.checkpoint.callback_states import required_pairs, restore_states, states_of, without_state
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.every import Due
from kopt.training.checkpoint.fingerprint import fingerprint, unlike
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.training.checkpoint.options import Options
from kopt.training.checkpoint.state import described, differences, parts_of, put_back, put_parts_back, taken
from kopt.training.checkpoint.unsaved import Run, Unsaved
from kopt.training.checkpoint.writer import Writer
from kopt.training.epoch_result import Moment
from kopt.training.feed.position import Position
from kopt.training.feed.saved_iterators import PREFIX
from kopt.training.signals import Signals, exception_of
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasCallback, KerasModel
from kopt.values.version import __version__

log = logging.getLogger("kopt")

LONG = 1.0  # seconds of drawing data again that are said
FORMAT = 1  # of what a checkpoint holds


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
        self.best = Best(options.keep_best)
        self.found = randomness.random_states()
        self.start = self.before = self.found  # before the run; before its data are drawn
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
                require_kind(self.saved, "kopt.fit", str(self.options.folder))
                self.start = self.before = self.saved.values["start"]
                randomness.set_random_states(self.start)  # before data are looked at, for they are drawn again by it
            self.writer = Writer(self.folder, on_error=self.options.on_error)
            try:
                yield
            finally:
                if self.saved is not None:  # it was refused
                    randomness.set_random_states(self.found)
                self.writer.close()

    @property
    def moment(self) -> Moment | None:
        return None if self.saved is None else Moment.of(self.saved.values["moment"])

    def seed(self, drawn: int) -> int:
        self.drawn = drawn if self.saved is None else self.saved.values["seed"]
        self.before = randomness.random_states()
        return self.drawn

    def budget(self, name: str, asked: int | None) -> int | None:
        if self.saved is None or name not in self.saved.values["resident"]:
            return asked
        return 2**62 if self.saved.values["resident"][name] else 0

    def check(self, run: Run) -> None:
        self.run, self.of = run, fingerprint(run.model, run.step, run.sources)
        self.require_declared(run.callbacks)
        if self.saved is None:
            return
        unequal = unlike(self.saved.values["fingerprint"], self.of)
        require(not unequal, "checkpoint", f"must be of this run: {unequal}", str(self.options.folder))
        required_pairs(run.callbacks, self.states(self.saved))

    def require_declared(self, callbacks: Sequence[KerasCallback]) -> None:
        """Name the callbacks whose state is not saved, or refuse them."""
        require_declared(callbacks, self.options.strict)

    def restore(self, run: Run) -> None:
        self.due.begin()
        if self.saved is not None:
            self.go_on(run, self.saved)
        _, received = self.agreed(False)
        if received and self.options.on_signal == "raise":  # nothing was trained that a checkpoint would have
            raise exception_of(received)

    def go_on(self, run: Run, saved: Content) -> None:
        """Put training back to where it was stopped."""
        values = saved.values
        started = time.perf_counter()
        for name, source in run.sources.items():
            position = Position(**values["positions"][name])
            if name == "train":
                place = {name: array for name, array in saved.arrays.items() if name.startswith(PREFIX)}
                source.go_to(position, run.first, values["moment"][1], place)
            else:
                source.revisit(position)
        seconds, drawn = time.perf_counter() - started, self.drawn_by_data(run)
        if seconds > LONG:
            log.info("checkpoint: drawing the data again up to where training stopped took %.1f s", seconds)
        run.programs.settle(values["decisions"])
        run.programs.prepare(run.sources["train"])
        randomness.set_random_states(values["random"], but=drawn)  # makes Keras' global seed, which is a variable
        variables = run.variables
        differ = differences(values["variables"], described(variables))
        require(not differ, "checkpoint", f"must be of this model: {differ}", str(self.options.folder))
        restore_states(run.callbacks, self.states(saved))
        put_back(variables, saved.arrays)
        put_parts_back(variables, saved.arrays, self.strategy)
        randomness.set_random_states(values["random"], but=drawn)
        self.best.value, self.steps = values["best"], values["steps"]
        epoch, amid = values["moment"][:2]
        where = f"in epoch {epoch + 1}" if amid else f"after epoch {epoch}"
        before, now = values["replicas"], self.strategy.num_replicas_in_sync
        if before != now:
            log.info(
                "checkpoint: written on %d replicas, goes on on %d: equal to rounding, not to the bit", before, now
            )
        log.info("checkpoint: training goes on %s, after %d updates", where, self.steps)
        self.saved = None

    def drawn_by_data(self, run: Run) -> list[str]:
        """Return the random generators that are where they should be, as data are drawn by them.

        A stream draws ahead in a thread, not always equally far: what is in a checkpoint does not say where.
        """
        streamed = any(source.arrays is None for source in run.sources.values())
        return randomness.drawn_since(self.before) if streamed else []

    def content(self, moment: Moment) -> Content:
        """Return what a checkpoint holds at a moment."""
        run = self.run
        assert run is not None
        variables = run.variables
        return Content(
            taken(variables) | parts_of(variables, self.strategy) | (run.sources["train"].saved_place() or {}),
            {
                "format": FORMAT,
                "versions": versions_of(),
                "of": "kopt.fit",
                "moment": moment.plain(),
                "positions": {name: dataclasses.asdict(source.position) for name, source in run.sources.items()},
                "resident": {name: source.is_resident for name, source in run.sources.items()},
                "variables": described(variables),
                "callbacks": states_of(run.callbacks),
                "of_chief": [place for place, one in enumerate(run.callbacks) if is_of_chief(one)],
                "decisions": run.programs.decisions(),
                "steps": self.steps,
                "replicas": self.strategy.num_replicas_in_sync,
                "fingerprint": self.of,
                "seed": self.drawn,
                "random": randomness.random_states(),
                "start": self.start,
                "best": self.best.value,
            },
        )

    def states(self, saved: Content) -> list[tuple[str, CallbackState | None]]:
        """Return the saved states of the callbacks that this worker calls."""
        left_out = () if distribute.is_chief(self.strategy) else saved.values["of_chief"]
        return [state for place, state in enumerate(saved.values["callbacks"]) if place not in left_out]

    def agreed(self, due: bool) -> tuple[bool, int | None]:
        """Return whether a checkpoint is due, and the signal that a worker has received: the same on all workers."""
        received = self.signals.received or 0
        if distribute.workers(self.strategy) == 1:
            return due, received or None
        (due_there,) = distribute.from_chief(self.strategy, [float(due)])
        total, workers = distribute.over_workers(self.strategy, [float(received), float(received > 0)])
        return bool(due_there), received or (int(total / workers) if workers else None)

    def count(self, steps: int) -> None:
        self.steps += steps
        self.due.count(steps=steps)

    def chunk_ended(self, moment: Moment, steps: int) -> bool:
        self.count(steps)
        due, received = self.agreed(self.due.count() and not self.writer.busy)
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
        best = self.best.improves(moment.result.logs)
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

    def submit(self, content: Content) -> bool:
        """Have the chief write beside training; return False while it still writes."""
        return not distribute.is_chief(self.strategy) or self.writer.submit(self.steps, content)

    def write(self, content: Content, best: bool = False) -> None:
        """Have the chief write now."""
        if distribute.is_chief(self.strategy):
            self.writer.write(self.steps, content, best=best)


def require_kind(saved: Content, of: str, folder: str) -> None:
    """Raise ValueError for a checkpoint of another format, kind of training or kopt; log another Keras."""
    form, kind, versions = saved.values.get("format"), saved.values.get("of"), saved.values.get("versions", {})
    require(form == FORMAT, "checkpoint", f"must be of format {FORMAT}, not of {form}", folder)
    require(kind == of, "checkpoint", f"must be one of {of}, not of {kind}", folder)
    now = versions_of()
    other = {name: versions.get(name) for name in now if versions.get(name) != now[name]}
    require("kopt" not in other, "checkpoint", f"must be of kopt {now['kopt']}, not of {other.get('kopt')}", folder)
    for name, version in other.items():
        log.warning("checkpoint: written with %s %s, goes on with %s: not to the bit", name, version, now[name])


def versions_of() -> dict[str, str]:
    """Return the versions by which a run has its bits."""
    return {"kopt": __version__, "keras": keras.__version__, "tensorflow": tf.__version__, "numpy": np.__version__}


def require_declared(callbacks: Sequence[KerasCallback], strict: bool) -> None:
    """Name the callbacks whose state nobody declares in the log; raise ValueError for them when strict."""
    unknown = without_state(callbacks)
    if unknown:
        rule = f"must define get_state and set_state to be saved, as {', '.join(unknown)} do not"
        require(not strict, "callbacks", rule, unknown)
        log.info("checkpoint: the state of %s is not saved: define get_state and set_state", ", ".join(unknown))
