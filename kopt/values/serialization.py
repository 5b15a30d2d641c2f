"""Serialization: how files name the classes of values, and how a value is built back from its JSON form.

This file needs no framework. `import kopt` installs the serialization of `kopt.keras_internals.serialization`, with
which kopt finds classes that are registered with Keras, and Keras finds those that are registered here.
"""

import abc
from collections.abc import Mapping
from typing import final

from kopt.values.checks import require
from kopt.values.types import Json

__all__ = ["PlainSerialization", "Serialization", "built", "install", "register", "registered_name", "revive"]


class Serialization(abc.ABC):
    """A way to name classes in files and to find them again.

    Example:
        >>> isinstance(PlainSerialization(), Serialization)
        True
    """

    @abc.abstractmethod
    def register(self, cls: type, package: str) -> None:
        """Take note of a class that has been registered."""

    @abc.abstractmethod
    def registered_name(self, cls: type) -> str:
        """Return the name of a class in files: "<package>><class>", or its own name when it is not registered."""

    @abc.abstractmethod
    def revive(self, form: Json) -> Json:
        """Build a value from its JSON form: a dict of module, class_name, config and registered_name.

        Raises:
            ValueError: When the class is not registered, or refuses the config.
        """


@final
class PlainSerialization(Serialization):
    """Serialization without Keras: finds the classes that `register` has registered, and no others.

    Example:
        >>> from kopt.schedules import Constant
        >>> PlainSerialization().registered_name(Constant)
        'kopt.schedules>Constant'
        >>> PlainSerialization().revive({"registered_name": "kopt.schedules>Constant", "config": {"rate": 0.1}})
        Constant(0.1)
    """

    def register(self, cls: type, package: str) -> None:
        """Do nothing: plain serialization reads `packages`."""

    def registered_name(self, cls: type) -> str:
        """Return the name of a class in files."""
        return f"{packages[cls]}>{cls.__name__}" if cls in packages else cls.__name__

    def revive(self, form: Json) -> Json:
        """Build a value from its JSON form.

        Raises:
            ValueError: When the class is not registered.
        """
        return built(form, {self.registered_name(cls): cls for cls in packages})


def built(form: Json, classes: Mapping[str, Json]) -> Json:
    """Build a value from its JSON form, by no other class than the given ones; no module is imported.

    Args:
        form: A dict with a registered_name and a config; its module and class_name are for people.
        classes: Registered name -> class.

    Returns:
        The value.

    Raises:
        ValueError: When the form is none, its class is not among the given ones, or the class refuses the config.

    Example:
        >>> from kopt.schedules import Constant
        >>> built({"registered_name": "constant", "config": {"rate": 0.1}}, {"constant": Constant})
        Constant(0.1)
    """
    whole = isinstance(form, dict) and isinstance(form.get("config"), dict)
    require(whole, "value", "must be a dict with a config", form)
    name = form.get("registered_name")
    require(isinstance(name, str) and name in classes, "value", "must be of a registered class", form)
    return classes[name].from_config(form["config"])


packages: dict[type, str] = {}  # registered class -> its package
current: Serialization = PlainSerialization()


def install(serialization: Serialization) -> None:
    """Use another serialization from now on, for the classes that are already registered too.

    Args:
        serialization: The serialization.

    Example:
        >>> install(current)
    """
    global current
    for cls, package in packages.items():
        serialization.register(cls, package)
    current = serialization


def register(cls: type, package: str) -> None:
    """Register a class, so that files name it by its package in place of its module.

    Args:
        cls: A class with `get_config` and `from_config`.
        package: The package, "kopt.schedules".

    Example:
        >>> from kopt.schedules import Cosine
        >>> packages[Cosine]
        'kopt.schedules'
    """
    packages[cls] = package
    current.register(cls, package)


def registered_name(cls: type) -> str:
    """Return the name of a class in files.

    Args:
        cls: Any class.

    Returns:
        "<package>><class>", or the name of the class when it is not registered.

    Example:
        >>> from kopt.schedules import Cosine
        >>> registered_name(Cosine)
        'kopt.schedules>Cosine'
    """
    return current.registered_name(cls)


def revive(form: Json) -> Json:
    """Build a value from its JSON form, by a registered class and no other.

    Args:
        form: A dict of module, class_name, config and registered_name; the registered name finds the class, so files
            from before a module was moved can be read. No module is imported.

    Returns:
        The value.

    Raises:
        ValueError: When the class is not registered, or refuses the config.

    Example:
        >>> revive({"class_name": "Constant", "registered_name": "kopt.schedules>Constant", "config": {"rate": 0.1}})
        Constant(0.1)
    """
    return current.revive(form)
