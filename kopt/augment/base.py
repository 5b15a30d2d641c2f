"""Augmentation: a value that makes the layers which change a training batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Annotated, Any

import tyro

from kopt.tasks.task import Task
from kopt.values.fields import Value
from kopt.values.registry import Registry

__all__ = ["Augmentation", "Then", "registry"]

registry: Registry[Augmentation] = Registry("augmentations")

Batch = Callable[[Any, Any], tuple[Any, Any]]


class Augmentation(Value):
    """How a training batch is changed before the model sees it; `TrainStep(model, augment=)` does so in the program.

    The random numbers are drawn anew for every example, from a Keras seed that `keras.utils.set_random_seed` rules.

    Example:
        >>> from kopt.augment import Crop, MixUp
        >>> Crop(3).then(MixUp(0.4))
        Crop(3).then(MixUp(0.4))
    """

    @abstractmethod
    def make(self) -> Batch:
        """Make the layers, and give the function from (x, y) to (x, y) that applies them to a batch.

        Returns:
            A function of tensors; what it gives has the same shapes, but for targets that are mixed.
        """

    def require_fit(self, task: Task, x: Any, outputs: int) -> None:
        """Refuse inputs or a task that it is not for, before anything is trained.

        Args:
            task: What the targets are.
            x: The training inputs as the network takes them.
            outputs: Of the network.

        Raises:
            ValueError: When it is not for such.
        """

    def then(self, second: Augmentation) -> Then:
        """Do this one, and another one to what it gives.

        Args:
            second: The other one.

        Returns:
            Both as one; its paths are this one's, and those of the other after "second.".
        """
        return Then(self, second=second)


@registry.register
class Then(Augmentation):
    """One augmentation and then another, as `first.then(second)` writes it.

    Args:
        of: The first.
        second: The second.

    Raises:
        ValueError: When one is no augmentation.

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

    def make(self) -> Batch:
        first, second = self.of.make(), self.second.make()
        return lambda x, y: second(*first(x, y))

    def require_fit(self, task: Task, x: Any, outputs: int) -> None:
        self.of.require_fit(task, x, outputs)
        self.second.require_fit(task, x, outputs)

    def __repr__(self) -> str:
        return f"{self.of!r}.then({self.second!r})"
