"""Rules: how gradients become updates.

A rule that is named in `__all__` of its file is public here.
"""

# Each file lists its public names.
# flake8: noqa: F403

from kopt.rules import adam, adam_mini, descent, eight_bit, factored, layerwise, low_rank, memory
from kopt.rules.adam import *
from kopt.rules.adam_mini import *
from kopt.rules.base import Elementwise, Rule, registry
from kopt.rules.descent import *
from kopt.rules.eight_bit import *
from kopt.rules.factored import *
from kopt.rules.layerwise import *
from kopt.rules.low_rank import *
from kopt.rules.memory import *

__all__ = ["Elementwise", "Rule", "registry"]
__all__ += adam.__all__
__all__ += adam_mini.__all__
__all__ += descent.__all__
__all__ += eight_bit.__all__
__all__ += factored.__all__
__all__ += layerwise.__all__
__all__ += low_rank.__all__
__all__ += memory.__all__
