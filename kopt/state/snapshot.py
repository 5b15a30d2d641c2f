"""Snapshot: THE list of what training changes, taken and put back in one place."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from kopt.keras_internals import global_seeds, optimizers_inside, optimizers_within, raw
from kopt.state.knob import Knob
from kopt.values.types import KerasModel, KerasOptimizer, Tensor, Variable

__all__ = ["GraphSnapshot", "Snapshot", "knob_variables", "training_optimizers", "training_variables"]


def training_variables(
    model: KerasModel, extra: Iterable[Variable] = (), without: Iterable[Variable] = ()
) -> list[Variable]:
    """Return the variables that a step of training may change, each once.

    These are the weights, the statistics of BatchNormalization, the states of seed generators (the model's and the
    global one of Keras), all that the optimizers have (moments, averages, counts, rates, loss scales, Knobs), the
    metrics' variables, and `extra`. Variables that are made later, as by a metric's first call, are in later lists.

    Args:
        model: A Keras model.
        extra: What else a step changes: what update hooks and augmentations hold, see `TrainStep.variables`.
        without: Variables to leave out; one that is in `extra` too is not.

    Returns:
        `tf.Variable`s, not Keras' wrappers.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), keras.layers.BatchNormalization()])
        >>> model.compile("sgd", "mse")
        >>> model.optimizer.build(model.trainable_variables)
        >>> names = " ".join(variable.name for variable in training_variables(model))
        >>> "moving_mean" in names and "iteration" in names
        True
    """
    optimizers = training_optimizers(model)
    optimized = [variable for optimizer in optimizers for variable in optimizer.variables]
    more = unique(extra)
    kept = [*model.variables, *optimized, *knobs_of(optimizers), *model.metrics_variables, *global_seeds(), *more]
    left = {id(variable) for variable in unique(without)} - {id(variable) for variable in more}
    return [variable for variable in unique(kept) if id(variable) not in left]


def training_optimizers(model: KerasModel) -> list[KerasOptimizer]:
    """Return the optimizers that a model and the models inside it hold, and those inside these optimizers, each once.

    Args:
        model: A Keras model.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), "mse")
        >>> [type(optimizer).__name__ for optimizer in training_optimizers(model)]
        ['LossScaleOptimizer', 'Adam']
    """
    held = optimizers_inside(model).values()
    return list({id(inner): inner for one in held for inner in optimizers_within(one)}.values())


def knob_variables(model: KerasModel) -> list[Variable]:
    """Return the variables of the Knobs that a model's optimizers hold: numbers that callbacks count and steer by.

    Args:
        model: A Keras model.

    Example:
        >>> import keras
        >>> from kopt.state.knob import held_knob
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> knob = held_knob(model.optimizer, "kopt_multiplier", 0.5)
        >>> [float(variable) for variable in knob_variables(model)]
        [0.5]
    """
    return unique(knobs_of(training_optimizers(model)))


def knobs_of(optimizers: Iterable[KerasOptimizer]) -> Iterator[Variable]:
    """Yield the variables of the Knobs that optimizers hold."""
    return (held.value for one in optimizers for held in vars(one).values() if isinstance(held, Knob))


def unique(variables: Iterable[Variable]) -> list[Variable]:
    """Return the TensorFlow variables of variables, each once."""
    return list({id(one): one for one in map(raw, variables)}.values())


class Snapshot:
    """Host copies of what training changes: taken at one moment, put back at another.

    Args:
        variables: What to copy, such as `training_variables(model)`.
        values: Their values at an earlier moment; the current ones when None.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> snapshot = Snapshot.take(model)
        >>> weights = model.get_weights()
        >>> model.set_weights([0 * weight for weight in weights])
        >>> snapshot.restore()
        >>> bool((model.get_weights()[0] == weights[0]).all())
        True
    """

    def __init__(self, variables: Sequence[Variable], values: Sequence[np.ndarray] | None = None):
        self.variables = list(variables)
        copies = (tf.identity(variable).numpy() for variable in self.variables)
        self.values: list[np.ndarray] = list(copies if values is None else values)

    @classmethod
    def take(cls, model: KerasModel, extra: Iterable[Variable] = (), without: Iterable[Variable] = ()) -> "Snapshot":
        """Copy what training changes.

        Args:
            model: A Keras model.
            extra: See `training_variables`; a variable in `extra` is copied even when `without` has it.
            without: Variables that are to stay as they are when the rest is put back.
        """
        return cls(training_variables(model, extra, without))

    def restore(self) -> None:
        """Put the copies back."""
        for variable, value in zip(self.variables, self.values, strict=True):
            variable.assign(value)


class GraphSnapshot:
    """The values of variables at one place of a program, to be put back at a later place of the same program.

    Args:
        variables: TensorFlow variables, such as `training_variables(model)`.

    Example:
        >>> variable = tf.Variable(1.0)
        >>> @tf.function
        ... def doubled_if(kept):
        ...     snapshot = GraphSnapshot([variable])
        ...     variable.assign(2 * variable)
        ...     snapshot.restore_unless(kept)
        >>> doubled_if(tf.constant(False))
        >>> float(variable)
        1.0
    """

    def __init__(self, variables: Sequence[Variable]):
        self.variables = list(variables)
        self.values: list[Tensor] = [variable.read_value() for variable in self.variables]

    def restore_unless(self, kept: Tensor) -> None:
        """Put the values back, unless a scalar of the program says that what came after them is kept."""
        for variable, old in zip(self.variables, self.values, strict=True):
            variable.assign(tf.where(kept, variable.read_value(), old), read_value=False)
