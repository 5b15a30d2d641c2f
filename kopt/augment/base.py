"""Augmentation: a value that makes a function which changes training batches at random."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Annotated, TypeAlias

import tyro

from kopt.tasks.task import Task
from kopt.values.fields import Value
from kopt.values.registry import Registry
from kopt.values.types import ArrayLike, Tensor

__all__ = ["Augmentation", "Then", "registry"]

registry: Registry[Augmentation] = Registry("augmentations")

Change: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (x, y) -> (x, y)


class Augmentation(Value):
    """A random change of training batches; `TrainStep(model, augment=)` applies it in the training program.

    Every example has its own random numbers, from a Keras seed that `keras.utils.set_random_seed` sets.

    Example:
        >>> from kopt.augment import Crop, MixUp
        >>> Crop(3).then(MixUp(0.4))
        Crop(3).then(MixUp(0.4))
    """

    in_fit = "kopt.training.TrainStep(model, augment={})"

    @abstractmethod
    def make(self) -> Change:
        """Make the layers, and return the function that applies them to a batch.

        Returns:
            A function from tensors (x, y) to (x, y) of the same shapes; only mixed targets have another shape.
        """

    def require_fit(self, task: Task, x: ArrayLike, outputs: int) -> None:
        """Raise ValueError, before training, for a task or inputs that the augmentation cannot change.

        Args:
            task: The task of the targets.
            x: The training inputs as the network takes them.
            outputs: The number of outputs of the network.

        Raises:
            ValueError: When the task or the inputs are of the wrong kind.
        """

    def then(self, second: Augmentation) -> Then:
        """Return an augmentation that applies this one, then another one.

        Args:
            second: The other augmentation.

        Returns:
            Both as one; it has the paths of this one, and those of the other one after "second.".
        """
        return Then(self, second=second)


@registry.register
class Then(Augmentation):
    """One augmentation, then another one, as `first.then(second)` builds it.

    Args:
        of: The first augmentation.
        second: The second augmentation.

    Raises:
        ValueError: When one is not an augmentation.

    Example:
        >>> from kopt.augment import Rotate, Shift
        >>> from kopt.values.field_paths import paths
        >>> list(paths(Shift(0.1).then(Rotate(0.05))))
        ['height', 'width', 'second', 'second.turn']

    Source:
        Folklore.
    """

    of: Annotated[Augmentation, tyro.conf.arg(name="")]
    _: KW_ONLY
    second: Augmentation

    def make(self) -> Change:
        first, second = self.of.make(), self.second.make()
        return lambda x, y: second(*first(x, y))

    def require_fit(self, task: Task, x: ArrayLike, outputs: int) -> None:
        self.of.require_fit(task, x, outputs)
        self.second.require_fit(task, x, outputs)

    def __repr__(self) -> str:
        return f"{self.of!r}.then({self.second!r})"
