"""Values in Keras' serialization: Keras files hold values, and values hold what is registered with Keras."""

from typing import final

from keras import saving

from kopt.values.serialization import Serialization
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
        """Build an object from its JSON form, by the classes that are registered with Keras."""
        return saving.deserialize_keras_object(form)
