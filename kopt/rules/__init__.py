"""Rules: how gradients become updates.

A rule that is named in `__all__` of its file is public here.
"""

# Each file lists its public names.
# flake8: noqa: F403

from kopt.rules import adam, descent, mechanic, rate_free, schedule_free
from kopt.rules.adam import *
from kopt.rules.base import Elementwise, Rule, registry
from kopt.rules.descent import *
from kopt.rules.mechanic import *
from kopt.rules.rate_free import *
from kopt.rules.schedule_free import *

__all__ = ["Elementwise", "Rule", "registry"]
__all__ += adam.__all__
__all__ += descent.__all__
__all__ += mechanic.__all__
__all__ += rate_free.__all__
__all__ += schedule_free.__all__
