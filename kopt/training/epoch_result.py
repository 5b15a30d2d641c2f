"""The result of an epoch, and the moments of training at which a run can be stopped and resumed."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from kopt.training.callback import Times
from kopt.values.types import Nest


class EpochResult(NamedTuple):
    """The result of an epoch: its logs, the values of what is watched, and the times of its training part.

    While the epoch goes on, the logs are those of the last program call.
    """

    logs: Nest = {}
    values: Mapping[str, Nest] = {}
    times: Times = Times(0, 0.0, 0.0)


class Moment(NamedTuple):
    """A moment between two program calls.

    Attributes:
        epoch: The number of the epoch that goes on, or else of the next one.
        amid: Whether the epoch goes on.
        stopped: Whether training stopped with the epoch before.
        result: The result of the epoch so far, or of the epoch before.
    """

    epoch: int
    amid: bool = False
    stopped: bool = False
    result: EpochResult = EpochResult()

    def plain(self) -> Nest:
        """Return the moment as plain values, for a file: the tensors of a stream's logs as NumPy's."""
        logs, values, times = self.result
        nest = self.epoch, self.amid, self.stopped, [dict(logs), dict(values), tuple(times)]
        return tf.nest.map_structure(lambda leaf: leaf.numpy() if tf.is_tensor(leaf) else leaf, nest)

    @classmethod
    def of(cls, plain: Nest) -> "Moment":
        """Return the moment that `plain` was called of.

        Args:
            plain: What it returned.
        """
        epoch, amid, stopped, (logs, values, times) = plain
        return cls(epoch, amid, stopped, EpochResult(logs, values, Times(*times)))
