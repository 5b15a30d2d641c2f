"""Convolutional network."""

from dataclasses import KW_ONLY

import keras

from kopt.models.base import Model, registry
from kopt.values.checks import require
from kopt.values.fields import Number

__all__ = ["ConvNet"]

# With Keras' 0.99, running statistics need hundreds of updates; small data have few updates an epoch.
MOMENTUM = 0.9


@registry.register
class ConvNet(Model):
    """Stages of two 3 x 3 convolutions each, doubling in width and halving in size, then a dense layer.

    For small images. Each stage is (convolution, batch normalization, ReLU) twice and a 2 x 2 maximum.

    Args:
        inputs: (height, width, channels) of one image; None in a recipe, whose data give it.
        outputs: Number of classes, >= 2; None in a recipe, whose data give it.
        width: Number of channels of the first stage, >= 1.
        stages: Number of stages, >= 1; the image must be at least 2 ** stages wide and high.
        residual: Whether a 1 x 1 convolution of each stage's input is added to the output of its convolutions.
        dropout: The share of the last features dropped in training, in [0, 1).
        scale: Factor of the raw pixels.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> ConvNet((8, 8, 1), 10, width=8).build().output_shape
        (None, 10)

    Source:
        Simonyan and Zisserman, Very Deep Convolutional Networks, 2015; with Ioffe and Szegedy's batch normalization;
        He et al., Deep Residual Learning, 2016, for the residual stages.
    """

    suits = {("images", "classification"): {}}
    inputs: tuple[int, ...] | None = None
    outputs: int | None = None
    _: KW_ONLY
    width: int = 16
    stages: int = 2
    residual: bool = False
    dropout: Number = 0.3
    scale: Number = 1.0

    def check(self) -> None:
        require(self.outputs is None or self.outputs >= 2, "outputs", "must be >= 2", self.outputs)
        require(self.width >= 1, "width", "must be >= 1", self.width)
        require(self.stages >= 1, "stages", "must be >= 1", self.stages)
        if self.inputs is not None:
            image = len(self.inputs) == 3 and min(self.inputs) >= 1
            require(image, "inputs", "must be (height, width, channels)", self.inputs)
            large, rule = min(self.inputs[:2]) >= 2**self.stages, f"must be >= {2**self.stages} pixels each way"
            require(large, "inputs", rule, self.inputs)
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)", self.dropout)

    def build(self) -> keras.Model:
        self.require_sizes("inputs", "outputs")
        layers = keras.layers
        inputs = keras.Input(self.inputs)
        x = layers.Rescaling(self.scale)(inputs)
        for stage in range(self.stages):
            start = x
            for step in range(2):
                x = layers.Conv2D(self.width * 2**stage, 3, padding="same", use_bias=False)(x)
                x = layers.BatchNormalization(momentum=MOMENTUM)(x)
                if self.residual and step == 1:
                    x = x + layers.Conv2D(self.width * 2**stage, 1)(start)
                x = layers.ReLU()(x)
            x = layers.MaxPooling2D()(x)
        x = layers.Dropout(self.dropout)(layers.Flatten()(x))
        return keras.Model(inputs, layers.Dense(self.outputs)(x), name="convnet")
