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
from kopt.tuning.population.executor import PopulationExecutor
from kopt.tuning.population.member import MemberState
from kopt.tuning.population.member_run import member_of
from kopt.tuning.population.members import Template, placed, starting_values
from kopt.tuning.population.programs import RATE
from kopt.tuning.population.structure import Group, numbers_of
from kopt.values.types import Tensor

log = logging.getLogger("kopt")

LABELS = "SparseSoftmaxCrossEntropyWithLogits"  # whose indices are checked before training


class Population:
    """The members of a group in training.

    Args:
        group: Recipes of one structure.
        template: What members share.
        vectorize: Whether the step is mapped over members; None for what is estimated to be faster.
        order_seed: The seed of the order of examples that all members have; each has that of its own seed when None.
        paths: The numbers that a program takes as arguments; those by which members differ when None. Populations of
            the same template and paths share their programs.
        size: The number of members of an earlier program, >= that of the group, which may serve this one too.
        planned: The number of members that its program is to train, other populations' with them; its own when None.

    Attributes:
        rows: The place in the group of the member in each row of the program. Some may have stopped, and the last
            one's may be there several times, to fill a program that is there for more members.
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
        order_seed: int | None = None,
        paths: Sequence[str] | None = None,
        size: int | None = None,
        planned: int | None = None,
    ):
        self.group, self.template, self.recipe = group, template, group.recipes[0]
        recipe, count = self.recipe, len(group.recipes)
        numbers = {path: tf.constant(row) for path, row in numbers_of(group.recipes, paths).items()}
        programs = template.programs_of(recipe, numbers)
        steps, trained = template.train.batches * recipe.training.epochs, max(count, size or 0, planned or 0)
        self.executor = PopulationExecutor(template.traced, programs, numbers, steps, trained, vectorize)
        self.own_order = order_seed is None and len({one.seed for one in group.recipes}) > 1
        self.order_seed = recipe.seed if order_seed is None else order_seed
        self.orders = [one.seed for one in group.recipes]
        self.rows = list(range(count))
        self.alive = dict(zip(self.rows, self.rows))
        self.histories: list[dict[str, list[float]]] = [{} for _ in group.recipes]
        self.final: dict[int, list[np.ndarray]] = {}
        self.epoch, self.checked = 0, False
        self.best = None if recipe.training.patience is None else BestEpochs(group.recipes)
        self.begin(starting_values(template, group.recipes, group.starts), size, order_seed is None)

    def begin(self, values: Sequence[Tensor], size: int | None, own_order: bool) -> None:
        """Begin with stacked values, in the program of so many members, or of fewer where compiling another one pays.

        Args:
            values: The starting values, a row a member.
            size: The number of members of that program.
            own_order: Whether that program has an order for each row.
        """
        executor, count = self.executor, len(self.executor.programs.step.weights)
        own = len(self.rows)
        if size is not None and size > own and executor.maps(self.template.train):
            fewer = halved(size, own)
            size = fewer if self.pays(fewer, size) else size
            self.rows = filled(self.rows, size)
            values = [tf.gather(row, self.rows) for row in values]
            executor.numbers = {path: tf.gather(row, self.rows) for path, row in executor.numbers.items()}
            self.orders, self.own_order = [self.orders[row] for row in self.rows], own_order
        executor.state = executor.programs.start(list(values[:count]), list(values[count:]), executor.numbers)
        self.size, self.anchors = len(self.rows), executor.state.anchors

    def run_epoch(self) -> None:
        """Train every member for an epoch, validate it, and add to its history."""
        self.compact()
        started, arrays, programs = time.perf_counter(), self.template.train, self.executor.programs
        made = len(programs.made)
        seeds = self.orders if self.own_order else [self.order_seed]
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
        seconds = (time.perf_counter() - started) / len(self.rows)
        if len(programs.made) == made:  # nothing was compiled
            programs.seconds = seconds
        logs = dict(sorted(logs.items())) | rates | {"seconds": np.full(len(self.rows), seconds)}
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
        executor.state = executor.programs.averaged(executor.state, executor.numbers, wanted)

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
        """End the training of members.

        Args:
            members: Places in the group of members that train.
        """
        if members:
            state = self.executor.shown()
            for member in members:
                self.final[member] = self.values_of(state, self.alive.pop(member), member)

    def compact(self) -> None:
        """Let members that have stopped leave the program, where that saves more time than another program takes.

        Programs are of the size at the start, a half of it, a quarter and so on: they serve later populations too.
        """
        size = len(self.alive)
        if self.executor.vectorize is not False:
            size = halved(len(self.rows), size)
        if size < len(self.rows) and self.pays(size, len(self.rows)):
            self.pick(dict(self.alive), size)

    def pays(self, fewer: int, size: int) -> bool:
        """Return whether a program of fewer members than `size` pays over the epochs that are left."""
        programs, left = self.executor.programs, self.recipe.training.epochs - self.epoch
        saved = left * programs.seconds * (size - fewer)
        return not self.executor.vectorize or fewer in programs.sizes or saved > sum(programs.compiling.values())

    def pick(self, rows: Mapping[int, int], size: int | None = None) -> None:
        """Put members into the rows of the program, in this order, each as the row that it is mapped to is now.

        Args:
            rows: The row of each member.
            size: The number of rows, which the last member fills; that of the members when None.
        """
        members = filled(list(rows), size or len(rows))
        self.executor.pick([rows[member] for member in members])
        self.orders = [self.orders[rows[member]] for member in members]
        self.rows = members
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
        members = filled(list(range(len(self.group.recipes))), self.size)
        state = self.ended(members)
        numbers = numbers_of(self.group.recipes, list(self.executor.numbers))
        self.executor.numbers = {path: tf.constant(row[members]) for path, row in numbers.items()}
        splits = self.template.splits
        test = placed(self.template.model, self.recipe, splits.test, "test")
        scores = self.executor.evaluate(test, state)
        share = seconds / len(self.group.recipes)
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

    def ended(self, members: Sequence[int]) -> MemberState:
        """Return the state by which members are scored: their trained values, their own anchors, and zeros."""
        state, count = self.executor.state, len(self.executor.programs.step.weights)
        rows = [tf.constant(np.stack(rows)) for rows in zip(*(self.final[member] for member in members))]
        anchors = state.anchors if len(self.rows) == self.size else self.anchors  # of members that have left too
        zeros = tf.nest.map_structure(lambda leaf: tf.zeros([self.size, *leaf.shape[1:]], leaf.dtype), state)
        return zeros.but(weights=rows[:count], others=rows[count:], anchors=anchors)


def filled(rows: Sequence[int], size: int) -> list[int]:
    """Return rows, and the last one again up to a size."""
    return [*rows, *[rows[-1]] * (size - len(rows))]


def halved(size: int, least: int) -> int:
    """Return a size, halved as long as it is not below `least`."""
    while size > 1 and -(-size // 2) >= least:
        size = -(-size // 2)
    return size
