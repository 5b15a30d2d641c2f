"""Rules: how gradients become updates.

A rule that is named in `__all__` of its file is public here.
"""

# Each file lists its public names.
# flake8: noqa: F403

from kopt.rules import (
    adam,
    adam_mini,
    ademamix,
    denominators,
    descent,
    eight_bit,
    factored,
    kron,
    layerwise,
    low_rank,
    mars,
    mechanic,
    memory,
    muon,
    nesterov,
    normalized,
    rate_free,
    rectified,
    routed,
    schedule_free,
    shampoo,
    signs,
    soap,
    wrapped_gradients,
    wrapped_updates,
)
from kopt.rules.adam import *
from kopt.rules.adam_mini import *
from kopt.rules.ademamix import *
from kopt.rules.base import Elementwise, Rule, registry
from kopt.rules.denominators import *
from kopt.rules.descent import *
from kopt.rules.eight_bit import *
from kopt.rules.factored import *
from kopt.rules.kron import *
from kopt.rules.layerwise import *
from kopt.rules.low_rank import *
from kopt.rules.mars import *
from kopt.rules.mechanic import *
from kopt.rules.memory import *
from kopt.rules.muon import *
from kopt.rules.nesterov import *
from kopt.rules.normalized import *
from kopt.rules.rate_free import *
from kopt.rules.rectified import *
from kopt.rules.routed import *
from kopt.rules.schedule_free import *
from kopt.rules.shampoo import *
from kopt.rules.signs import *
from kopt.rules.soap import *
from kopt.rules.wrapped_gradients import *
from kopt.rules.wrapped_updates import *
from kopt.rules.wrapping import Wrapper

__all__ = ["Elementwise", "Rule", "Wrapper", "registry"]
__all__ += adam.__all__
__all__ += adam_mini.__all__
__all__ += ademamix.__all__
__all__ += denominators.__all__
__all__ += descent.__all__
__all__ += eight_bit.__all__
__all__ += factored.__all__
__all__ += kron.__all__
__all__ += layerwise.__all__
__all__ += low_rank.__all__
__all__ += mars.__all__
__all__ += mechanic.__all__
__all__ += memory.__all__
__all__ += muon.__all__
__all__ += nesterov.__all__
__all__ += normalized.__all__
__all__ += rate_free.__all__
__all__ += rectified.__all__
__all__ += routed.__all__
__all__ += schedule_free.__all__
__all__ += shampoo.__all__
__all__ += signs.__all__
__all__ += soap.__all__
__all__ += wrapped_gradients.__all__
__all__ += wrapped_updates.__all__
