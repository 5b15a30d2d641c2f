"""Values in Keras' serialization: Keras files hold values, and values hold what is registered with Keras."""

from typing import final

from keras import saving

from kopt.values.fields import Value
from kopt.values.serialization import Serialization, built
from kopt.values.types import Json

__all__ = ["KerasSerialization"]


@final
class KerasSerialization(Serialization):
    """Serialization by `keras.saving`; `import kopt` installs it.

    Example:
        >>> from kopt.schedules import Cosine
        >>> KerasSerialization().registered_name(Cosine)
        'kopt.schedules>Cosine'
    """

    def register(self, cls: type, package: str) -> None:
        """Register a class with Keras."""
        saving.register_keras_serializable(package=package)(cls)

    def registered_name(self, cls: type) -> str:
        """Return the name by which Keras knows a class."""
        return str(saving.get_registered_name(cls))

    def revive(self, form: Json) -> Json:
        """Build a value from its JSON form, by a class of values that is registered with Keras, and no other.

        Raises:
            ValueError: When the class is not registered, is none of values, or refuses the config.
        """
        name = form.get("registered_name") if isinstance(form, dict) else None
        found = saving.get_registered_object(name) if isinstance(name, str) else None
        return built(form, {str(name): found} if is_value(found) else {})


def is_value(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Value)
