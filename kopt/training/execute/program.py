"""Program: what runs a stretch of steps, compiled once for any number of them."""

import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training.execute.lookups import Lookups
from kopt.training.execute.normalization import fused_normalization
from kopt.training.execute.resident import ResidentProgram, blank
from kopt.training.execute.xla import decided
from kopt.training.feed.batches import is_optional, rows, shared, sliced
from kopt.training.feed.chunks import Arrays, ResidentStretch, StreamStretch
from kopt.training.feed.placement import Jit
from kopt.training.steps.train import TrainStep, checking
from kopt.training.steps.update_hooks import HookedStep, working

__all__ = ["Program"]

log = logging.getLogger("kopt")

LENGTHS = 8  # of arrays for which "auto" compiles with XLA: 0.5 s and more each, and 5 MB that are never freed
PROGRAMS = 16  # that a model's phase keeps; the one that was used last stays longest


class Refused(Exception):
    """XLA's compiler refuses a program."""


class Program:
    """Runs a step over stretches of resident arrays or of what an iterator gives, as compiled programs.

    It stands as `model.train_function` or `model.test_function`, so that whoever sets that to None gets a fresh trace;
    what stock fit and evaluate give it there runs as Keras' own function would.

    Args:
        model: The compiled model.
        step: What to do with one batch.
        jit: Whether to compile with XLA; "auto" asks `xla.decided` of each kind of batch, before data are drawn.
        logs: "metrics" where the logs are the model's metrics, "step" where they are what the last step returned.
    """

    def __init__(self, model: Any, step: Callable[[Any], Any], jit: Jit, logs: Literal["metrics", "step"]):
        self.model, self.step, self.jit, self.logs = model, step, jit, logs
        self.strategy = model.distribute_strategy
        self.alone = self.strategy.num_replicas_in_sync == 1
        self.xla: bool | None = None  # whether the last kind of batch is compiled with XLA
        self.decided: dict[Any, bool] = {}
        self.lengths: dict[Any, set[Any]] = {}
        self.programs: OrderedDict[Any, Callable[..., Any]] = OrderedDict()
        self.traces: OrderedDict[Any, Any] = OrderedDict()
        self.lookups = Lookups()
        self.stock: dict[Any, Callable[[Any], Any]] = {}
        self.watched: dict[str, Any] = {}

    def __call__(self, work: Any) -> Any:
        """Run a stretch, or what Keras' iterator gives; the logs after it."""
        if not isinstance(work, (ResidentStretch, StreamStretch)):
            return self.as_keras(work)
        if work.fresh and (self.model.run_eagerly or not self.resets_metrics()):
            self.model.reset_metrics()
        if self.model.run_eagerly:
            return self.one_by_one(work, self.one)
        return self.resident(work) if isinstance(work, ResidentStretch) else self.streamed(work)

    def as_keras(self, iterator: Any) -> Any:
        if self.hooks not in self.stock:
            self.stock[self.hooks] = internals.make_function(self.model, self.step)
        return self.stock[self.hooks](iterator)

    @property
    def hooks(self) -> tuple[Any, ...]:
        """What callbacks have in the step, with which it is traced."""
        return working(self.model) if isinstance(self.step, (TrainStep, HookedStep)) else ()

    def one_by_one(self, work: Any, step: Callable[[Any], Any]) -> Any:
        """A call of a step for each batch, from Python."""
        last = None
        for batch in itertools.islice(work.iterator, work.steps):
            last = step(batch)
            work.ran += 1
        return self.results(last) if work.ran else None

    # One step

    def one(self, batch: Any) -> Any:
        """The step on one batch, by every replica."""
        batch = there(batch)
        if self.alone or any(isinstance(leaf, tf.distribute.DistributedValues) for leaf in tf.nest.flatten(batch)):
            return self.everywhere(batch)
        return self.everywhere(shared(rows(batch), lambda start, stop: sliced(batch, start, stop), self.strategy))

    def everywhere(self, share: Any) -> Any:
        logs = self.strategy.run(self.step, args=(share,))
        if self.logs == "metrics":
            return ()
        return logs if self.alone else tf.nest.map_structure(self.mean, logs)

    def mean(self, value: Any) -> Any:
        return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)

    def resets_metrics(self) -> bool:
        """Whether programs reset the metrics."""
        return self.alone and internals.metrics_reset_in_graph(self.model)

    def reset_if(self, fresh: Any) -> None:
        """Reset the metrics, where a program can."""
        if self.resets_metrics():
            internals.either(fresh, self.model.reset_metrics, lambda: None)

    def log_specs(self, traced: Any) -> Any:
        """What the logs at the end of a program look like."""
        empty = tf.nest.map_structure(lambda spec: tf.zeros([n or 0 for n in spec.shape], spec.dtype), traced)
        return tf.function(self.results, autograph=False).get_concrete_function(empty).structured_outputs

    @property
    def spans(self) -> bool:
        """Whether a call can hold several epochs, and give the logs of each."""
        return self.logs == "metrics" and self.resets_metrics() and not self.model.run_eagerly

    def results(self, last: Any) -> Any:
        """The logs at the end of a program, with the numbers that are watched."""
        logs = self.model.get_metrics_result() if self.logs == "metrics" else last
        if not isinstance(logs, dict):
            return logs
        return logs | {name: tf.convert_to_tensor(variable) for name, variable in self.watched.items()}

    def decide(self, key: Any, spec: Callable[[], Any], nested: bool) -> bool:
        """Return whether to use XLA for a kind of batch; see `xla.decided`."""
        whole = key, self.hooks
        if whole not in self.decided:
            self.decided[whole], why = decided(self, spec(), nested)
            log.info("jit: %s, %s", self.decided[whole], why)
        self.xla = self.decided[whole]
        return self.xla

    def step_for(self, xla: bool, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a step as it is traced: for XLA with fast random numbers, watched lookups, batches of unknown size.

        Without XLA, "auto" has batch normalization by the fused kernel.
        """

        def watched(batch: Any) -> Any:
            with internals.fast_random(), internals.sizes_unknown(self.model), self.lookups.watch():
                return step(batch)

        def fused(batch: Any) -> Any:
            with fused_normalization(self.model):
                return step(batch)

        bits = self.jit != "auto" or not self.alone or internals.asked_jit(self.model) is False
        return watched if xla else step if bits else fused

    def trace(self, spec: Any, xla: bool) -> Any:
        """The step on one batch as a concrete function, with or without its check of the gradient."""
        make = lambda: tf.function(self.step_for(xla, self.one), autograph=False).get_concrete_function(spec)
        return kept(self.traces, (str(spec), xla, checking.get(), self.hooks), make)

    def made(self, key: Any, xla: bool, make: Callable[[], Callable[..., Any]], *arguments: Any) -> Any:
        """Run the program of a key, made and compiled at the first call; an index out of range raises.

        Raises:
            Refused: When a program is XLA's as a whole, and its compiler refuses it, before anything has run.
        """
        watched = tuple((name, id(variable)) for name, variable in self.watched.items())
        whole, started = (key, xla, watched, self.hooks), time.perf_counter()
        new = whole not in self.programs
        program = kept(self.programs, whole, make)
        try:
            result = program(*arguments)
        except internals.REFUSALS as error:
            if not (new and xla and isinstance(program, ResidentProgram) and self.jit == "auto"):
                raise
            raise Refused(str(error).partition("\n")[0]) from error
        if new:
            log.info("compiled in %.1f s", time.perf_counter() - started)
        if xla:
            self.lookups.raise_if_found()
        return result

    # Over resident arrays

    def resident(self, work: ResidentStretch) -> Any:
        """Run the parts of epochs; the logs of each are left in the stretch."""
        arrays, room = work.arrays, len(work.orders)
        xla = self.decide(arrays.batch_key, lambda: arrays.whole_batch, nested=False) and self.few_lengths(arrays)
        make = lambda: ResidentProgram(self, arrays, room, xla)
        try:
            found = self.made(arrays.key(xla, room), xla, make, work)
        except Refused as refusal:
            self.decided[arrays.batch_key, self.hooks] = False
            log.info("jit: False, XLA refuses the step: %s", refusal)
            return self.resident(work)
        work.ran = work.steps
        values = tf.nest.map_structure(lambda numbers: numbers.numpy(), found)
        # Logs of a step of ones own may be nested, as `{m.name: m.result() for m in model.metrics}` is.
        work.logs = [tf.nest.map_structure(lambda rows: rows[place], values) for place in range(len(work.parts))]
        return work.logs[-1]

    def few_lengths(self, arrays: Arrays) -> bool:
        """Return whether to compile with XLA for arrays of this length; after several, one program serves all."""
        lengths = self.lengths.setdefault((arrays.batch_key, self.hooks), set())
        if self.jit == "auto" and len(lengths) == LENGTHS and arrays.examples not in lengths:
            log.info("jit: False for %d examples, XLA has compiled for %d other lengths", arrays.examples, LENGTHS)
            self.xla = False
            return False
        lengths.add(arrays.examples)
        return True

    # Over an iterator

    def streamed(self, work: StreamStretch) -> Any:
        if isinstance(work.iterator, tf.distribute.DistributedIterator):
            # What TensorFlow has sharded: each replica's own batches.
            made = tf.function(self.one, autograph=False, reduce_retracing=True)
            step = self.programs.setdefault(("sharded", self.hooks), made)
            return self.one_by_one(work, step)
        spec = there(work.iterator.element_spec)
        key = "stream", str(spec)
        xla = self.decide(key, lambda: spec, nested=True)
        arguments = work.iterator, tf.constant(work.steps), tf.constant(work.fresh)
        make = lambda: self.build_stream(spec, xla).get_concrete_function(*arguments)
        logs, ran, waited = self.made(key, xla, make, *arguments)
        work.ran, work.waited = int(ran), float(waited)
        return logs

    def build_stream(self, spec: Any, xla: bool) -> Any:
        """A program over any number of an iterator's batches; it ends with the data.

        It gives the logs, after how many steps it ended, and the seconds that it waited for data.
        """
        one = tf.function(self.step_for(xla, self.one), autograph=False, jit_compile=xla or None)
        outputs = one.get_concrete_function(spec).structured_outputs

        def stretch(iterator: Any, count: Any, fresh: Any) -> Any:
            self.reset_if(fresh)

            def following() -> tuple[Any, Any]:
                started = tf.timestamp()
                with tf.control_dependencies([started]):
                    batch = iterator.get_next_as_optional()
                with tf.control_dependencies([batch.has_value()]):
                    return batch, tf.timestamp() - started

            def body(ran: Any, batch: Any, waited: Any, _: Any) -> Any:
                logs = one(there(batch.get_value()))
                # The next one only where it is to be used in this call.
                batch, wait = tf.cond(ran + 1 < count, following, lambda: (batch, tf.constant(0.0, "float64")))
                return ran + 1, batch, waited + wait, logs

            zeros, shapes = blank(outputs)
            ran, _, waited, last = tf.while_loop(
                lambda ran, batch, waited, _: (ran < count) & batch.has_value() & self.lookups.fine(),
                body,
                (tf.constant(0), *following(), zeros),
                parallel_iterations=1,
            )
            return self.results(last), ran, waited

        return tf.function(stretch, autograph=False)


def kept(store: OrderedDict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    """Return the value of a key, made when missing; keep the `PROGRAMS` that were used last."""
    if key not in store:
        store[key] = make()
        while len(store) > PROGRAMS:
            store.popitem(last=False)
    store.move_to_end(key)
    return store[key]


def there(batch: Any) -> Any:
    """Return a batch, or its spec, without the parts that the data do not have."""
    return tf.nest.map_structure(lambda leaf: None if is_optional(leaf) else leaf, batch)
