"""Rules: how gradients become updates.

A rule that is named in `__all__` of its file is public here.
"""

# Each file lists its public names.
# flake8: noqa: F403

from kopt.rules import adam, descent, wrapped_gradients, wrapped_updates
from kopt.rules.adam import *
from kopt.rules.base import Elementwise, Rule, registry
from kopt.rules.descent import *
from kopt.rules.wrapped_gradients import *
from kopt.rules.wrapped_updates import *
from kopt.rules.wrapping import Wrapper

__all__ = ["Elementwise", "Rule", "Wrapper", "registry"]
__all__ += adam.__all__
__all__ += descent.__all__
__all__ += wrapped_gradients.__all__
__all__ += wrapped_updates.__all__
