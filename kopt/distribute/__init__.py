"""Devices and machines: a tf.distribute strategy by its name, and messages between its workers."""

from kopt.values import parts

if not parts.late(__name__):
    from kopt.distribute.devices import Chosen, choose, strategy
    from kopt.distribute.workers import from_chief, is_chief, over_workers, rank, text_from_chief, workers

__all__ = [
    "Chosen",
    "choose",
    "from_chief",
    "is_chief",
    "over_workers",
    "rank",
    "strategy",
    "text_from_chief",
    "workers",
]
