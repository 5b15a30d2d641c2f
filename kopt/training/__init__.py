"""Training: the step, the order of examples, the engine, the loop, and bare minimization."""

from kopt.training import clips
from kopt.training.find_rate import RateCurve, find_rate
from kopt.training.loop import Loop, fit
from kopt.training.minimize import Minimum, minimize
from kopt.training.order import order
from kopt.training.progress import ProgressBar
from kopt.training.statistics import refresh_statistics
from kopt.training.train_step import TrainStep, skipped

__all__ = [
    "Loop",
    "Minimum",
    "ProgressBar",
    "RateCurve",
    "TrainStep",
    "clips",
    "find_rate",
    "fit",
    "minimize",
    "order",
    "refresh_statistics",
    "skipped",
]
