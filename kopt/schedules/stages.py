"""Stages: schedules that take turns in the time of the run."""

from keras import ops

from kopt.schedules.base import Schedule, registry
from kopt.values.checks import require
from kopt.values.field_paths import with_field
from kopt.values.types import Scalar, Tensor

__all__ = ["Stages"]


@registry.register
class Stages(Schedule):
    """Schedules that take turns, all in the time of the run: what population based training finds.

    Stage i holds from times[i - 1] on, stage 0 before; an open duration ends with the run in each stage.

    Args:
        stages: The schedules, one or more.
        times: The times at which stages[1:] begin, increasing, > 0.

    Raises:
        ValueError: When there are too few or too many times, or they do not increase.

    Example:
        >>> from kopt.schedules import Constant, Linear
        >>> Stages((Linear(0.4, duration=4), Constant(0.05)), (2,)).table(4)
        array([0.4 , 0.3 , 0.05, 0.05], dtype=float32)

    Source:
        Jaderberg et al., Population Based Training of Neural Networks, 2017, section 4.
    """

    stages: tuple[Schedule, ...]
    times: tuple[float, ...] = ()

    def check(self) -> None:
        rule = f"must be one fewer than the {len(self.stages)} stages"
        require(len(self.times) == len(self.stages) - 1, "times", rule, self.times)
        rising = all(one < other for one, other in zip((0.0, *self.times), self.times))
        require(rising, "times", "must be increasing and > 0", self.times)

    @property
    def total(self) -> float | None:
        totals = [stage.total for stage in self.stages]
        return None if None in totals else max([*self.times, self.stages[-1].total or 0.0])

    def resolve(self, run: Scalar) -> Schedule:
        return with_field(self, "stages", tuple(stage.resolve(run) for stage in self.stages))

    def formula(self, t: Tensor) -> Tensor:
        value = self.stages[0].formula(t)
        for start, stage in zip(self.times, self.stages[1:]):
            value = ops.where(t >= start, stage.formula(t), value)
        return value
