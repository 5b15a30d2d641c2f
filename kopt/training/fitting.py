"""fit: train a model by a Loop with its defaults."""

import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeAlias

import keras

from kopt.training.loop import Loop
from kopt.values.types import KerasModel

__all__ = ["fit"]

Arguments = ParamSpec("Arguments")
History: TypeAlias = keras.callbacks.History


def of_model(
    method: Callable[Concatenate[Loop, Arguments], History],
) -> Callable[Concatenate[KerasModel, Arguments], History]:
    """Return a function of a model that calls a method of a new Loop, with its arguments and their descriptions."""

    def fit(model: KerasModel, *args: Arguments.args, **arguments: Arguments.kwargs) -> History:
        """Train a compiled model by a `Loop` with its defaults.

        Args:
            model: A compiled Keras model.
            ARGUMENTS.

        Returns:
            The History.

        Raises:
            ValueError: When an argument is out of range.

        Example:
            >>> import keras, numpy as np
            >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
            >>> model.compile("sgd", "mse")
            >>> sorted(fit(model, np.eye(2), np.ones((2, 1)), epochs=3, verbose=0).history)
            ['loss']

        Source:
            `keras.Model.fit`.
        """
        return method(Loop(model), *args, **arguments)

    signature = inspect.signature(method)
    model, others = inspect.signature(fit).parameters["model"], list(signature.parameters.values())[1:]
    described = inspect.cleandoc(method.__doc__ or "").partition("Args:\n    ")[2].partition("\n\nReturns:")[0]
    fit.__doc__ = inspect.cleandoc(fit.__doc__ or "").replace("ARGUMENTS.", described)
    vars(fit).update(__signature__=signature.replace(parameters=[model, *others]))
    fit.__qualname__ = "fit"
    return fit


fit = of_model(Loop.fit)
