"""What time_to_model times: works as arrays, datasets, Python's batches, fits in a row and searches."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from works import WORKS, Work, classes, convnet, mlp

__all__ = ["TRAININGS", "Training", "iterate"]

Arguments = dict[str, Any]
slices = tf.data.Dataset.from_tensor_slices


def arrays(work: Work) -> Arguments:
    """Return the arguments of fit for arrays."""
    x, y = work.arrays()
    return {"x": x, "y": y, "batch_size": work.batch, "validation_data": work.validation()}


def table(work: Work) -> Arguments:
    """Return the arguments of fit for a dataset of rows in memory."""
    train = slices(work.arrays()).shuffle(len(work.arrays()[1])).batch(work.batch)
    return {"x": train, "validation_data": slices(work.validation()).batch(work.batch)}


def augmented(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return an image that is shifted, mirrored and made brighter or darker by chance."""
    height, width, channels = image.shape
    image = tf.image.resize_with_crop_or_pad(image, height + 4, width + 4)
    image = tf.image.random_flip_left_right(tf.image.random_crop(image, (height, width, channels)))
    return tf.image.random_brightness(tf.cast(image, tf.float32) / 255, 0.1), label


def images(work: Work) -> Arguments:
    """Return the arguments of fit for a dataset that augments images in parallel."""
    train = slices(work.arrays()).shuffle(len(work.arrays()[1])).map(augmented, tf.data.AUTOTUNE)
    held = slices(work.validation()).batch(work.batch).map(lambda x, y: (tf.cast(x, tf.float32) / 255, y))
    return {"x": train.batch(work.batch).prefetch(tf.data.AUTOTUNE), "validation_data": held.prefetch(tf.data.AUTOTUNE)}


class Rows(keras.utils.PyDataset):
    """Batches of rows in an order that is drawn anew after each epoch."""

    def __init__(self, work: Work):
        super().__init__()
        self.batch, (self.x, self.y) = work.batch, work.arrays()
        self.random = np.random.default_rng(0)
        self.order = self.random.permutation(len(self.y))

    def __len__(self) -> int:
        return -(-len(self.y) // self.batch)

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[place * self.batch : (place + 1) * self.batch]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self) -> None:
        self.order = self.random.permutation(len(self.y))


def sequence(work: Work) -> Arguments:
    """Return the arguments of fit for a PyDataset."""
    return {"x": Rows(work), "validation_data": work.validation(), "validation_batch_size": work.batch}


def batches(work: Work) -> Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Return a function whose iterator draws the batches of an epoch in Python."""
    x, y = work.arrays()
    random = np.random.default_rng(0)

    def draw() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = random.permutation(len(y))
        for first in range(0, len(y), work.batch):
            rows = order[first : first + work.batch]
            yield x[rows], y[rows]

    return draw


def generated(work: Work) -> Arguments:
    """Return the arguments of fit for a dataset from a Python generator: its length is found at its end."""
    x, y = work.arrays()
    signature = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in (x, y))
    train = tf.data.Dataset.from_generator(batches(work), output_signature=signature)
    return {"x": train, "validation_data": work.validation(), "validation_batch_size": work.batch}


def endless(work: Work) -> Arguments:
    """Return the arguments of fit for a Python generator without an end, of which an epoch takes a number of steps."""
    draw = batches(work)

    def stream() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            yield from draw()

    held = {"validation_data": work.validation(), "validation_batch_size": work.batch}
    return {"x": stream(), "steps_per_epoch": work.steps(), **held}


class Training(NamedTuple):
    """A training that is timed.

    `arguments` gives those of fit for a work; `python` says that the user's own Python draws the batches; `fits` gives
    the epochs of each fit in a row from the number asked for; `search` is "" for a training, else how a tuner trains
    its trials: "build" by a build function as it comes, "loop" by Loop in the hypermodel's fit.
    """

    work: Work
    arguments: Callable[[Work], Arguments] = arrays
    python: bool = False
    fits: Callable[[int], list[int]] = lambda epochs: [epochs]
    search: str = ""

    def is_array(self) -> bool:
        """Return whether fit is given arrays."""
        return self.arguments is arrays


def iterate(arguments: Arguments) -> None:
    """Draw the batches of an epoch of training as fit is given them, and do nothing with them."""
    source = arguments["x"]
    if isinstance(source, keras.utils.PyDataset):
        for place in range(len(source)):
            source[place]
        return source.on_epoch_end()
    for place, _ in enumerate(source, 1):
        if place == arguments.get("steps_per_epoch"):
            break
    return None


def rising(epochs: int) -> list[int]:
    """Return the epochs of three fits, 1, 20 and 100 when 100 are asked for."""
    return [1, max(1, epochs // 5), epochs]


def pictures(random: np.random.Generator) -> tuple[Any, Any]:
    """Return small color images of whole numbers, and one of ten classes."""
    images = random.integers(0, 256, (5120, 32, 32, 3)).astype("uint8")
    return images, random.integers(0, 10, len(images)).astype("int32")


TABLE = Work(64, "adam", 1e-3, "classes", classes(20000, 20), mlp(20, 64, 10))
IMAGES = Work(128, "adam", 1e-3, "classes", pictures, convnet(32, 32, 3))
DIGITS, DENSE = WORKS["digits MLP"], WORKS["MLP 784"]
TRAININGS = {
    **{name: Training(work) for name, work in WORKS.items()},
    "tf.data, table": Training(TABLE, table),
    "tf.data, images augmented": Training(IMAGES, images),
    "PyDataset": Training(DENSE, sequence, python=True),
    "generator of unknown length": Training(TABLE, generated, python=True),
    "endless generator": Training(TABLE, endless, python=True),
    "three fits in a row": Training(DIGITS, fits=rising),
    "ten trials, build function": Training(DIGITS, search="build"),
    "ten trials, Loop in fit": Training(DIGITS, search="loop"),
}
