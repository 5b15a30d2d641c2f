"""Rules: how gradients become updates.

A rule that is named in `__all__` of its file is public here.
"""

# Each file lists its public names.
# flake8: noqa: F403

from kopt.rules import adam, descent, muon, routed, shampoo, soap
from kopt.rules.adam import *
from kopt.rules.base import Elementwise, Rule, registry
from kopt.rules.descent import *
from kopt.rules.muon import *
from kopt.rules.routed import *
from kopt.rules.shampoo import *
from kopt.rules.soap import *

__all__ = ["Elementwise", "Rule", "registry"]
__all__ += adam.__all__
__all__ += descent.__all__
__all__ += muon.__all__
__all__ += routed.__all__
__all__ += shampoo.__all__
__all__ += soap.__all__
