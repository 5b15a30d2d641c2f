"""Values in files: the form is fixed, users' classes are revived by Keras, and files of older versions are read."""

import json

import keras

from kopt.schedules import Cosine
from kopt.values import Number, Value, from_json, serialization, to_json

WARMED = {
    "module": "kopt.schedules.combine",
    "class_name": "Warmup",
    "config": {
        "of": {
            "module": "kopt.schedules.timed",
            "class_name": "Cosine",
            "config": {"rate": 0.1, "duration": None, "end": 0.0},
            "registered_name": "kopt.schedules>Cosine",
        },
        "warmup_duration": 5.0,
        "start": 0.0,
        "shape": "linear",
    },
    "registered_name": "kopt.schedules>Warmup",
}
# As kopt 0.1 wrote it, before the modules moved.
OLD_TRAINING = """{
  "module": "kopt.recipe",
  "class_name": "Training",
  "config": {"epochs": 5, "batch_size": "full", "micro_batches": 1, "precision": "float32", "patience": null},
  "registered_name": "kopt.recipes>Training"
}"""


@keras.saving.register_keras_serializable("tests")
class Users(Value):
    """A value of a user, who registers it with Keras alone."""

    size: Number
    inner: Value | None = None


def test_the_form_is_fixed_to_the_byte() -> None:
    assert to_json(Cosine(0.1).warmup(5)) == json.dumps(WARMED, indent=2)


def test_a_users_class_that_is_registered_with_keras_is_revived() -> None:
    value = Users(2, Users(3, Cosine(0.1)))
    assert from_json(to_json(value)) == value
    assert json.loads(to_json(value))["registered_name"] == "tests>Users"
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(value)) == value


def test_a_file_with_the_old_name_of_a_module_is_read_without_a_warning() -> None:
    from kopt.experiment.recipe import Training

    assert from_json(OLD_TRAINING) == Training(5, batch_size="full")


def test_classes_that_were_registered_before_keras_serialization_was_installed_are_passed_on() -> None:
    class Notes(serialization.Serialization):
        def __init__(self) -> None:
            self.noted: dict[type, str] = {}

        def register(self, cls: type, package: str) -> None:
            self.noted[cls] = package

        def registered_name(self, cls: type) -> str:
            return self.noted[cls]

        def revive(self, form: object) -> object:
            return form

    before, notes = serialization.current, Notes()
    try:
        serialization.install(notes)
        assert serialization.registered_name(Cosine) == "kopt.schedules"
    finally:
        serialization.install(before)
    assert type(before).__name__ == "KerasSerialization"
