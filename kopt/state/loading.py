"""load_model: load a model as Keras does, with the Knobs and Slots of its optimizers."""

import contextlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import h5py
import keras

from kopt.keras_internals import held_optimizers, optimizers_within
from kopt.keras_internals.types import WeightsStore
from kopt.state.knob import PREFIX, held_knob
from kopt.state.slots import held_slots
from kopt.values.checks import require
from kopt.values.places import as_path
from kopt.values.texts import clipped
from kopt.values.types import Json, KerasModel, KerasOptimizer

__all__ = ["load_model"]

WEIGHTS = "model.weights.h5"
Place: TypeAlias = str | os.PathLike[str]
Group: TypeAlias = Mapping[str, WeightsStore]  # a group of an HDF5 file
PARTS = ("metadata.json", "config.json", WEIGHTS)  # of a .keras file
# Errors of damaged archives, and of JSON and weights in them.
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, LookupError, NotImplementedError, OSError)
UNREADABLE_TEXT = (RecursionError, ValueError)
UNPACKED = 20  # the largest ratio of unpacked to packed size at which a file's parts are checked


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, type | Callable[..., object]] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> KerasModel:
    """Load a model as Keras does, with the Knobs and Slots that its optimizers held: counters, averages.

    `keras.saving.load_model` returns the same model, but drops these, because a new optimizer holds none. A `.keras`
    file has them; a legacy `.h5` file has none.

    Args:
        filepath: A `.keras` file or folder, or a legacy `.h5` file.
        custom_objects: Name -> class or function, for those that are not registered with Keras.
        compile: Whether to compile the model as it was.
        safe_mode: Whether to refuse lambdas, which may run any code.

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
        why = damage(place)
        if why is None and isinstance(error, (ValueError, TypeError, ImportError, OSError)):
            raise  # Keras' own refusals: a class that is not registered, a lambda, no such file
        why = why or f"{type(error).__name__}: {clipped(error)}"
        raise ValueError(f"filepath must be of a whole model, got {str(filepath)!r} ({why}).") from error
    optimizers = held_optimizers(model)
    if optimizers:
        with stored_weights(place) as file:
            for name, optimizer in optimizers.items():
                restore_all(optimizer, own(file, name) if name in file else {})
    return model


@contextlib.contextmanager
def stored_weights(place: Place) -> Iterator[Group]:
    """Yield the weights in a `.keras` file or folder; an empty mapping for files of other kinds."""
    inside = os.path.join(place, WEIGHTS)
    if os.path.isfile(inside):
        with h5py.File(inside, "r") as file:
            yield file
    elif str(place).endswith(".keras") and zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive, h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r") as file:
            yield file
    else:
        yield {}


def restore_all(holder: KerasOptimizer, group: Group) -> None:
    """Restore the Knobs and Slots of an optimizer and of the optimizers that it wraps."""
    for inner in optimizers_within(holder):
        for name in (name for name in group if name.startswith(PREFIX)):
            restore(inner, name, own(own(group, name), "vars"))
        group = own(group, "inner_optimizer") if "inner_optimizer" in group else {}


def restore(holder: KerasOptimizer, name: str, store: Mapping[str, h5py.Dataset]) -> None:
    """Restore one Knob or Slots of an optimizer from a file."""
    arrays = [own(store, str(place)) for place in range(len(store))]
    if len(arrays) == 1 and arrays[0].shape == ():
        held_knob(holder, name, 0.0, arrays[0].dtype.name).set(arrays[0][()])
    else:
        held_slots(holder, name, arrays).load_own_variables(store)


def own(group: Group, name: str) -> Json:
    """Return a member of a group that is in the same file; refuse a link, and an array that is in another file."""
    of_file = isinstance(group, h5py.Group) and isinstance(group.get(name, getlink=True), h5py.HardLink)
    found = group[name] if of_file else None
    inside = isinstance(found, h5py.Group) or (isinstance(found, h5py.Dataset) and not found.external)
    inside = inside and not (isinstance(found, h5py.Dataset) and found.is_virtual)
    require(inside, "filepath", "must be of a model whose numbers are all in its file", name)
    return found


def damage(place: Place) -> str | None:
    """Return the damage of a file as a text; None when it is whole, or of a kind that is not checked."""
    if not os.path.isfile(place):
        return None
    if str(place).endswith((".h5", ".hdf5")):
        return None if opens(place) else "it is cut, or no HDF5 file"
    if not str(place).endswith(".keras"):
        return None
    try:
        with zipfile.ZipFile(place) as archive:
            return damaged_part(archive, os.path.getsize(place))
    except (*UNREADABLE, *UNREADABLE_TEXT) as error:
        return f"it is cut, or no zip archive: {error}"


def damaged_part(archive: zipfile.ZipFile, size: int) -> str | None:
    """Return a text that names the missing or damaged part of an archive; None when it is whole."""
    parts = archive.infolist()
    if sum(part.file_size for part in parts) > UNPACKED * size:
        return None
    lacking = [name for name in PARTS if name not in archive.namelist()]
    bad = lacking[0] if lacking else archive.testzip()
    if bad is None:
        json.loads(archive.read("config.json"))
        bad = None if opens(io.BytesIO(archive.read(WEIGHTS))) else WEIGHTS
    return None if bad is None else f"its part {bad} is not whole"


def opens(file: Place | io.BytesIO) -> bool:
    """Return whether HDF5 can open a file."""
    try:
        h5py.File(file, "r").close()
    except OSError:
        return False
    return True
