"""Devices and machines: from a name to a tf.distribute strategy, and what its workers agree on."""

from kopt.distribute.devices import Chosen, choose, strategy
from kopt.distribute.workers import from_chief, is_chief, over_workers, text_from_chief, workers

__all__ = ["Chosen", "choose", "from_chief", "is_chief", "over_workers", "strategy", "text_from_chief", "workers"]
