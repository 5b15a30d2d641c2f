"""Training: the loop, the step on one batch, the order of examples, and bare minimization."""

from kopt.values import parts

if not parts.late(__name__):
    from kopt.training.feed.order import order
    from kopt.training.fitting import fit
    from kopt.training.loop import Loop
    from kopt.training.progress import ProgressBar
    from kopt.training.steps import clips, sharpness
    from kopt.training.steps.train import TrainStep, skipped
    from kopt.training.tools.find_rate import RateCurve, find_rate
    from kopt.training.tools.minimize import Minimum, minimize
    from kopt.training.tools.statistics import refresh_statistics

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
    "sharpness",
    "skipped",
]
