"""Tasks: what targets and outputs are, and with them the losses and the metrics."""

from kopt.tasks.task import PlainTask, Task, better, loss_of, score_of

__all__ = ["PlainTask", "Task", "better", "loss_of", "score_of"]
