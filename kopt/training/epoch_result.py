"""The result of an epoch, and the moments of training at which a run can be stopped and resumed."""

from collections.abc import Mapping
from typing import NamedTuple

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
