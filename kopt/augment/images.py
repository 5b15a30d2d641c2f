"""Augmentation of images, by Keras' own layers."""

from abc import abstractmethod

from keras import layers, ops, random

from kopt.augment.base import Augmentation, Change, registry
from kopt.tasks.task import Task
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import ArrayLike, KerasLayer, Tensor

__all__ = ["Crop", "MixUp", "RandAugment", "Rotate", "Shift"]


class OfImages(Augmentation):
    """An augmentation of images."""

    def require_fit(self, task: Task, x: ArrayLike, outputs: int) -> None:
        self.require_images(x)

    def require_images(self, x: ArrayLike) -> None:
        """Raise ValueError for anything but a batch of images; Keras would take some of it for one image."""
        rule = "must be given images of shape (n, height, width, channels)"
        require(len(x.shape) == 4, type(self).__name__, rule, tuple(x.shape))


class Image(OfImages):
    """An augmentation of images by one layer of Keras."""

    @abstractmethod
    def layer(self) -> KerasLayer:
        """Return a new layer."""

    def make(self) -> Change:
        layer = self.layer()

        def change(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            self.require_images(x)
            return layer(x, training=True), y

        return change


@registry.register
class Crop(OfImages):
    """A random crop of each image with a black frame around it, to the size of the image: a shift by whole pixels.

    Each image has its own shift, and all shifts are equally likely. (Keras' RandomCrop draws one for the whole batch.)

    Args:
        padding: The width of the frame in pixels, >= 1; at most the height and the width of an image.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> moved, _ = Crop(1).make()(ops.ones((2, 8, 8, 1)), None)
        >>> moved.shape
        TensorShape([2, 8, 8, 1])

    Source:
        He et al., Deep Residual Learning, 2016, section 4.2.
    """

    padding: int = 2

    def check(self) -> None:
        require(self.padding >= 1, "padding", "must be >= 1", self.padding)

    def make(self) -> Change:
        generator, most = random.SeedGenerator(), self.padding

        def crop(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            self.require_images(x)
            size = min(x.shape[1:3])
            require(most <= size, "padding", f"must be <= {size} for these images", most)
            moves = ops.cast(random.randint((2, ops.shape(x)[0]), -most, most + 1, seed=generator), "float32")
            one, none = ops.ones_like(moves[0]), ops.zeros_like(moves[0])
            matrices = ops.stack([one, none, moves[0], none, one, moves[1], none, none], 1)
            return ops.image.affine_transform(x, matrices, interpolation="nearest", fill_mode="constant"), y

        return crop


@registry.register
class Shift(Image):
    """A shift by up to a share of the height and of the width; the rest is black.

    Args:
        height: The largest shift as a share of the height, in [0, 1].
        width: The largest shift as a share of the width, in [0, 1].

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> Shift(0.1, 0.1).layer().name.startswith("random_translation")
        True

    Source:
        `keras.layers.RandomTranslation`.
    """

    height: Number = 0.1
    width: Number = 0.1

    def check(self) -> None:
        require(0 <= self.height <= 1, "height", "must be in [0, 1]", self.height)
        require(0 <= self.width <= 1, "width", "must be in [0, 1]", self.width)

    def layer(self) -> KerasLayer:
        return layers.RandomTranslation(self.height, self.width, "constant")


@registry.register
class Rotate(Image):
    """A rotation by up to a share of a full turn in either direction; the rest is black.

    Args:
        turn: The largest rotation as a share of 360 degrees, in [0, 1].

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> Rotate(0.05).layer().name.startswith("random_rotation")
        True

    Source:
        `keras.layers.RandomRotation`.
    """

    turn: Number = 0.05

    def check(self) -> None:
        require(0 <= self.turn <= 1, "turn", "must be in [0, 1]", self.turn)

    def layer(self) -> KerasLayer:
        return layers.RandomRotation(self.turn, "constant")


@registry.register
class RandAugment(Image):
    """Random ones of sixteen operations: contrast, brightness, sharpness, shear, rotation and others.

    Args:
        operations: The number of operations on a batch, >= 1.
        factor: The strength of the operations, in [0, 1].
        top: The value of white: the numbers of an image are in [0, top].

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> RandAugment(2, 0.3).layer().name.startswith("rand_augment")
        True

    Source:
        Cubuk et al., RandAugment, 2020; `keras.layers.RandAugment`.
    """

    operations: int = 2
    factor: Number = 0.5
    top: Number = 255.0

    def check(self) -> None:
        require(self.operations >= 1, "operations", "must be >= 1", self.operations)
        require(0 <= self.factor <= 1, "factor", "must be in [0, 1]", self.factor)
        require(self.top > 0, "top", "must be > 0", self.top)

    def layer(self) -> KerasLayer:
        return layers.RandAugment((0, self.top), self.operations, self.factor)


@registry.register
class MixUp(OfImages):
    """A mixture of each image with another one of its batch, and of their classes by the same share.

    image <- s * image + (1 - s) * other image; target <- s * target + (1 - s) * other target; s ~ Beta(alpha, alpha).
    Class numbers become shares of `classes` classes, which `losses.CrossEntropy` and `metrics.Accuracy` take.

    Args:
        alpha: The parameter of the Beta distribution, > 0; near 0 most mixtures are nearly one image.
        classes: The number of classes, >= 2.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> _, shares = MixUp(0.2, classes=3).make()(ops.ones((4, 8, 8, 1)), ops.convert_to_tensor([0, 1, 2, 0]))
        >>> shares.shape
        TensorShape([4, 3])

    Source:
        Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018; `keras.layers.MixUp`.
    """

    alpha: Number = 0.2
    classes: int = 10

    def check(self) -> None:
        require(self.alpha > 0, "alpha", "must be > 0", self.alpha)
        require(self.classes >= 2, "classes", "must be >= 2", self.classes)

    def require_fit(self, task: Task, x: ArrayLike, outputs: int) -> None:
        super().require_fit(task, x, outputs)
        require(task == "classification", "MixUp", "must be for classification", task)
        require(self.classes == outputs, "classes", f"must be {outputs}, as the model's outputs", self.classes)

    def make(self) -> Change:
        layer = layers.MixUp(self.alpha)

        def mix(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            self.require_images(x)
            require(len(y.shape) == 1, "MixUp", "must be given class numbers, (n,)", tuple(y.shape))
            mixed = layer({"images": x, "labels": ops.one_hot(ops.cast(y, "int32"), self.classes)}, training=True)
            return mixed["images"], mixed["labels"]

        return mix
