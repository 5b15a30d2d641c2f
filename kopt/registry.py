"""Name -> class, for each family of values; tests iterate over these."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import keras

from kopt.checks import unknown

__all__ = ["Registry"]

Kind = TypeVar("Kind")


def snake_case(name: str) -> str:
    """Turn a class name into the name that users type: `OneCycle` -> `one_cycle`, `AdamW` -> `adamw`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z0-9])", "_", name).lower()


class Registry(Mapping[str, type[Kind]], Generic[Kind]):
    """The classes of one family by name; registering one also registers it with Keras serialization.

    Args:
        family: Plural name of the family; Keras files hold "kopt.<family>><class>".

    Example:
        >>> from kopt import schedules
        >>> schedules.registry["cosine"]
        <class 'kopt.schedules.timed.Cosine'>
        >>> schedules.registry.make("constant", rate=0.1)
        Constant(0.1)
    """

    def __init__(self, family: str):
        self.family = family
        self._classes: dict[str, type[Kind]] = {}

    def register(self, cls: type) -> Any:
        """Class decorator: file `cls` under its snake-case name, here and, if it has a config, with Keras."""
        self._classes[snake_case(cls.__name__)] = cls
        if not hasattr(cls, "get_config"):
            return cls
        return keras.saving.register_keras_serializable(package=f"kopt.{self.family}")(cls)

    def make(self, name: str, *args: Any, **fields: Any) -> Kind:
        """Build the class of that name.

        Raises:
            ValueError: When no class has that name; says the nearest.
        """
        if name not in self._classes:
            raise unknown(self.family.rstrip("s"), name, self._classes)
        return self._classes[name](*args, **fields)

    def __getitem__(self, name: str) -> type[Kind]:
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)
