"""load_model: Keras' own, with the live numbers and arrays that an optimizer held."""

import contextlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import keras

from kopt.keras_internals import held_optimizers
from kopt.state.knob import PREFIX, held_knob
from kopt.state.slots import held_slots
from kopt.values.places import as_path

__all__ = ["load_model"]

WEIGHTS = "model.weights.h5"
PARTS = ("metadata.json", "config.json", WEIGHTS)  # of a .keras file
UNPACKED = 20  # times its size, that a file's parts may have to be looked at


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Any:
    """Load a model as Keras does, and the Knobs and Slots that its optimizer held: counters, averages.

    `keras.saving.load_model` gives the same model, but a fresh optimizer has no place for them and Keras drops them. A
    `.keras` file has them; a legacy `.h5` file has none.

    Args:
        filepath: A `.keras` file or folder, or a legacy `.h5` file.
        custom_objects: Name -> class or function, of what is not registered.
        compile: Whether to compile the model as it was.
        safe_mode: Whether to refuse lambdas, which can do anything.

    Returns:
        The model.

    Raises:
        ValueError: When there is no such file, or it is damaged.

    Example:
        >>> import keras, tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> model.optimizer.build(model.trainable_variables)
        >>> held_knob(model.optimizer, "kopt_multiplier", 0.5).set(0.25)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.keras")
        ...     float(load_model(f"{folder}/model.keras").optimizer.kopt_multiplier)
        0.25

    Source:
        `keras.saving.load_model`.
    """
    place = as_path(filepath, "filepath") if str(filepath).startswith("~") else filepath
    try:
        model = keras.saving.load_model(place, custom_objects, compile=compile, safe_mode=safe_mode)
    except Exception as error:
        if why := damage(place):
            raise ValueError(f"filepath must be of a whole model, got {str(filepath)!r} ({why}).") from error
        raise
    optimizers = held_optimizers(model)
    if optimizers:
        with stored_weights(place) as file:
            for name, optimizer in optimizers.items():
                restore_all(optimizer, file.get(name, {}))
    return model


@contextlib.contextmanager
def stored_weights(place: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the weights in a `.keras` file or folder; nothing in files of other kinds."""
    inside = os.path.join(place, WEIGHTS)
    if os.path.isfile(inside):
        with h5py.File(inside, "r") as file:
            yield file
    elif str(place).endswith(".keras") and zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive, h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r") as file:
            yield file
    else:
        yield {}


def restore_all(holder: Any, group: Mapping[str, Any]) -> None:
    """Restore the Knobs and Slots of an optimizer and of the optimizers inside it."""
    while holder is not None:
        for name in (name for name in group if name.startswith(PREFIX)):
            restore(holder, name, group[name]["vars"])
        holder, group = getattr(holder, "inner_optimizer", None), group.get("inner_optimizer", {})


def restore(holder: Any, name: str, store: Any) -> None:
    """Restore one Knob or Slots of an optimizer from a file."""
    arrays = [store[str(place)] for place in range(len(store))]
    if len(arrays) == 1 and arrays[0].shape == ():
        held_knob(holder, name, 0.0, arrays[0].dtype.name).set(arrays[0][()])
    else:
        held_slots(holder, name, arrays).load_own_variables(store)


def damage(place: Any) -> str | None:
    """Return what is wrong with a file; None when it is whole, or of a kind that is not checked."""
    if not os.path.isfile(place):
        return None
    if str(place).endswith((".h5", ".hdf5")):
        return None if opens(place) else "it is cut, or no HDF5 file"
    if not str(place).endswith(".keras"):
        return None
    try:
        with zipfile.ZipFile(place) as archive:
            return damaged_part(archive, os.path.getsize(place))
    except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, NotImplementedError, OSError, ValueError) as error:
        return f"it is cut, or no zip archive: {error}"


def damaged_part(archive: zipfile.ZipFile, size: int) -> str | None:
    """Return the part of an archive that is not there, or not what was written."""
    parts = archive.infolist()
    if sum(part.file_size for part in parts) > UNPACKED * size:
        return None
    lacking = [name for name in PARTS if name not in archive.namelist()]
    bad = lacking[0] if lacking else archive.testzip()
    if bad is None:
        json.loads(archive.read("config.json"))
        bad = None if opens(io.BytesIO(archive.read(WEIGHTS))) else WEIGHTS
    return None if bad is None else f"its part {bad} is not whole"


def opens(file: Any) -> bool:
    """Return whether HDF5 can open a file."""
    try:
        h5py.File(file, "r").close()
    except OSError:
        return False
    return True
