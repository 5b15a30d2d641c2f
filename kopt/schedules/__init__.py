"""Schedules: the learning rate, or any other number, as a function of time.

A schedule that is named in `__all__` of its file is public here.
"""

# Each file lists its public names.
# flake8: noqa: F403

from kopt.schedules import combine, cycles, decay, stages, steps, timed
from kopt.schedules.base import Schedule, registry
from kopt.schedules.combine import *
from kopt.schedules.cycles import *
from kopt.schedules.decay import *
from kopt.schedules.stages import *
from kopt.schedules.steps import *
from kopt.schedules.timed import *

__all__ = ["Schedule", "registry"]
__all__ += combine.__all__
__all__ += cycles.__all__
__all__ += decay.__all__
__all__ += stages.__all__
__all__ += steps.__all__
__all__ += timed.__all__
