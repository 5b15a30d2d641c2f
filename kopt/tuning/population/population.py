"""Population: the members of a group in training, from epoch to epoch."""

import logging
import time
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kopt.callbacks.averaging import SWA
from kopt.report import Run
from kopt.training import Loop
from kopt.training.feed.chunks import ResidentChunk
from kopt.training.feed.order import order
from kopt.tuning.population.best import BestEpochs
from kopt.tuning.population.executor import RATE, PopulationExecutor
from kopt.tuning.population.mapping import mapped
from kopt.tuning.population.member import MemberState, MemberStep
from kopt.tuning.population.member_run import member_of
from kopt.tuning.population.members import Template, placed, starting_values
from kopt.tuning.population.structure import Group, numbers_of
from kopt.values.types import Tensor

log = logging.getLogger("kopt")

LABELS = "SparseSoftmaxCrossEntropyWithLogits"  # whose indices are checked before training


class Population:
    """The members of a group in training.

    Args:
        group: Recipes of one structure.
        template: What members share.
        vectorize: Whether the step is mapped over members; None for what its operations say.
        own_order: Whether each member has the order of examples of its own seed; else all have the first one's.
        paths: The numbers that may change while members train; those by which members differ when None.

    Attributes:
        rows: The place in the group of the member in each row of the program; some may have stopped.
        alive: The members that train: place in the group -> row.
        orders: The seed of the order of examples in each row.
        histories: The history of each member of the group.
        epoch: The number of epochs that have run.
    """

    def __init__(
        self,
        group: Group,
        template: Template,
        *,
        vectorize: bool | None = None,
        own_order: bool = True,
        paths: Sequence[str] | None = None,
    ):
        self.group, self.template, self.recipe = group, template, group.recipes[0]
        recipe = self.recipe
        step = MemberStep(recipe, template.model, (template.changed, template.seeds), template.train.batches)
        numbers = {path: tf.constant(row) for path, row in numbers_of(group.recipes, paths).items()}
        self.executor = PopulationExecutor(template.traced, step, numbers, vectorize)
        self.executor.state = self.start(step, starting_values(template, group.recipes, group.starts), numbers)
        self.own_order = own_order and len({one.seed for one in group.recipes}) > 1
        self.orders = [one.seed for one in group.recipes]
        self.rows = list(range(len(group.recipes)))
        self.alive = dict(zip(self.rows, self.rows))
        self.histories: list[dict[str, list[float]]] = [{} for _ in group.recipes]
        self.final: dict[int, list[np.ndarray]] = {}
        self.epoch, self.seconds, self.checked = 0, 0.0, False
        self.folded = tf.function(mapped(step.averaged), autograph=False)
        self.best = None if recipe.training.patience is None else BestEpochs(group.recipes)

    def start(self, step: MemberStep, values: Sequence[Tensor], numbers: Mapping[str, Tensor]) -> MemberState:
        """Return the members' states before the first update, stacked."""
        count = len(step.weights)
        return tf.function(mapped(step.start), autograph=False)(
            list(values[:count]), list(values[count:]), dict(numbers)
        )

    def run_epoch(self) -> None:
        """Train every member for an epoch, validate it, and add to its history."""
        started, arrays = time.perf_counter(), self.template.train
        seeds = self.orders if self.own_order else self.orders[:1]
        orders = np.stack([order(arrays.examples, seed=seed, epoch=self.epoch) for seed in seeds])
        chunk = ResidentChunk(
            first=0,
            steps=arrays.batches,
            fresh=True,
            planned=arrays.batches * (self.recipe.training.epochs - self.epoch),
            arrays=arrays,
            orders=tf.constant(orders),
            parts=((0, 0, arrays.batches),),
        )
        if self.executor.decide(chunk) and not self.checked:
            self.check_lookups()
        logs = dict(self.executor.run(chunk).logs[0])
        self.fold()
        shown = self.executor.shown()
        validated = self.executor.evaluate(self.template.validation, shown)
        rates = {RATE: logs.pop(RATE)}
        logs |= {f"val_{name}": values for name, values in validated.items()}
        self.seconds = time.perf_counter() - started
        logs |= rates | {"seconds": np.full(len(self.rows), self.seconds / len(self.rows))}
        for member, row in self.alive.items():
            for name, values in logs.items():
                self.histories[member].setdefault(name, []).append(float(values[row]))
        self.epoch += 1
        if self.best is not None:
            self.best.take(self.rows, logs[f"val_{self.recipe.data.score().name}"], shown)

    def fold(self) -> None:
        """Take the weights at an epoch's end into an average over epochs."""
        average = self.recipe.average
        if not isinstance(average, SWA):
            return
        executor, epochs = self.executor, self.recipe.training.epochs
        starts = executor.numbers.get("average.start", tf.fill([len(self.rows)], tf.cast(average.start, "float64")))
        wanted = tf.cast(self.epoch, "float64") >= starts * epochs
        executor.state = self.folded(executor.state, executor.numbers, wanted)

    def check_lookups(self) -> None:
        """Raise where an index is out of range, which XLA would not: by an evaluation of all data without it."""
        names = self.executor.traced.lookups.names
        if any(LABELS not in name for name in names):
            for split in self.template.splits[:2]:
                Loop(self.template.model, jit=False).evaluate(*split, verbose=0)
        self.checked = True

    def evaluated(self) -> MemberState:
        """Return the states by which the members that train are evaluated, in the order of `alive`."""
        rows = list(self.alive.values())
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), self.executor.shown())

    def stopping(self) -> list[int]:
        """Return the members whose patience is over."""
        return [] if self.best is None else self.best.over(list(self.alive), self.epoch)

    def stop(self, members: Collection[int]) -> None:
        """End the training of members; they leave the program when that saves more time than another one takes.

        Args:
            members: Places in the group of members that train.
        """
        if not members:
            return
        state = self.executor.shown()
        for member in members:
            self.final[member] = self.values_of(state, self.alive.pop(member), member)
        if self.alive and self.pays():
            self.pick(dict(self.alive))

    def pays(self) -> bool:
        """Return whether a program without the members that have stopped pays over the epochs that are left."""
        executor, left = self.executor, self.recipe.training.epochs - self.epoch
        saved = left * self.seconds * (1 - len(self.alive) / len(self.rows))
        return not executor.vectorize or saved > sum(executor.compiling.values())

    def pick(self, rows: Mapping[int, int]) -> None:
        """Put members into the rows of the program, in this order, each as the row that it is mapped to is now."""
        self.executor.pick(list(rows.values()))
        self.orders = [self.orders[row] for row in rows.values()]
        self.rows = list(rows)
        self.alive = {member: place for place, member in enumerate(rows) if member in self.alive}

    def values_of(self, state: MemberState, row: int, member: int) -> list[np.ndarray]:
        """Return the trained values of a member: those of its best epoch, where patience asks for them."""
        if self.best is not None:
            return self.best.values(member)
        return [leaf[row].numpy() for leaf in (*state.weights, *state.others)]

    def train(self) -> None:
        """Train all members to the end of the run."""
        while self.alive and self.epoch < self.recipe.training.epochs:
            self.run_epoch()
            self.stop(self.stopping())
        self.stop(list(self.alive))

    def runs(self, seconds: float) -> list[Run]:
        """Return the run of each member, scored on the test split.

        Args:
            seconds: The time that training took, of which each member has an equal share.
        """
        count, step = len(self.group.recipes), self.executor.step
        rows = [tf.constant(np.stack(rows)) for rows in zip(*(self.final[member] for member in range(count)))]
        zeros = lambda variables: [tf.zeros([count, *variable.shape], variable.dtype) for variable in variables]
        state = self.executor.state.but(
            weights=rows[: len(step.weights)],
            others=rows[len(step.weights) :],
            metrics=zeros(step.metrics),
            slots=zeros(step.slots),
            updates=tf.zeros([count], "int64"),
        )
        self.executor.numbers = {path: tf.constant(row) for path, row in numbers_of(self.group.recipes).items()}
        splits = self.template.splits
        test = placed(self.template.model, self.recipe, splits.test, "test")
        scores = self.executor.evaluate(test, state)
        share = seconds / count
        return [
            member_of(
                recipe,
                self.histories[member],
                {name: row[member] for name, row in scores.items()},
                self.final[member],
                splits,
                self.template.encoder,
                share,
            )
            for member, recipe in enumerate(self.group.recipes)
        ]
