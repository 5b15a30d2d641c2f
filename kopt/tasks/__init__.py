"""Tasks: the kind of the targets and outputs, with losses, metrics and the directions of metrics."""

from kopt.tasks.directions import better
from kopt.tasks.metrics import Direction
from kopt.tasks.task import PlainTask, Task, loss_of, score_of

__all__ = ["Direction", "PlainTask", "Task", "better", "loss_of", "score_of"]
