"""What callbacks receive of an epoch from `Loop`, beside logs."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Times(NamedTuple):
    """The duration of the training part of an epoch, and how long the program waited for data, in seconds."""

    steps: int
    seconds: float
    waited: float


class Received(NamedTuple):
    """The results of an epoch that `Loop` passes to callbacks, and that logs do not hold.

    Attributes:
        values: The values of the watched variables by name; None when the user's step returns no dictionary.
        times: The times of the epoch.
    """

    values: Mapping[str, np.ndarray] | None
    times: Times
