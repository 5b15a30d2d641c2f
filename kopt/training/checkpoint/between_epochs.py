"""Between epochs: what a checkpoint holds of a training whose batches are Keras' or a user's own, and puts back."""

from collections.abc import Mapping, Sequence

import kopt.keras_internals.resuming as randomness
from kopt import keras_internals as internals
from kopt.state import training_variables
from kopt.training.checkpoint.callback_states import restore_states, states_of
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.fingerprint import unlike
from kopt.training.checkpoint.saver import FORMAT, require_kind, versions_of
from kopt.training.checkpoint.state import described, differences, put_back, taken
from kopt.training.steps.update_hooks import working
from kopt.values.checks import require
from kopt.values.types import KerasCallback, KerasModel, Nest, Variable

__all__ = ["FIT", "content_between_epochs", "put_back_between_epochs"]

FIT = "model.fit"  # what such a checkpoint is of
ALL_BUT_KERAS = ("python", "numpy", "tensorflow")


def variables_between_epochs(model: KerasModel) -> list[Variable]:
    """Return the variables of training, without those of metrics, which begin anew with each epoch."""
    metrics = {id(internals.raw(one)) for one in model.metrics_variables}
    of_hooks = [variable for hook in working(model) for variable in hook.variables]
    return [one for one in training_variables(model, of_hooks) if id(one) not in metrics]


def content_between_epochs(
    model: KerasModel,
    callbacks: Sequence[KerasCallback],
    fingerprint: Mapping[str, str],
    epoch: int,
    *,
    stopped: bool = False,
    **more: Nest,
) -> Content:
    """Return what a checkpoint holds at the end of an epoch.

    Args:
        model: The model.
        callbacks: Those whose state is saved.
        fingerprint: What the training is of.
        epoch: The number of the next epoch.
        stopped: Whether training stopped with the epoch.
        **more: Other values, by name.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> content_between_epochs(model, [], {}, 3).values["moment"]
        [3, False]
    """
    variables = variables_between_epochs(model)
    values = {
        "format": FORMAT,
        "versions": versions_of(),
        "of": FIT,
        "moment": [epoch, stopped],
        "variables": described(variables),
        "optimized": randomness.optimized_places(model),
        "callbacks": states_of(callbacks),
        "fingerprint": dict(fingerprint),
        "random": randomness.random_states(),
    }
    return Content(taken(variables), values | more)


def put_back_between_epochs(
    saved: Content,
    model: KerasModel,
    callbacks: Sequence[KerasCallback],
    states: Sequence[Nest],
    fingerprint: Mapping[str, str],
    place: str,
) -> None:
    """Put a model, its optimizers, callbacks and all random generators back to the end of an epoch.

    Args:
        saved: What `content_between_epochs` returned.
        model: A model that was built in the same way, at the beginning of its training.
        callbacks: Those that are put back.
        states: Their states, among those of the checkpoint.
        fingerprint: What the training is of.
        place: The folder of the checkpoint, for errors.

    Raises:
        ValueError: When the checkpoint is of another model, optimizer or callbacks, or of another version of kopt.

    Example:
        >>> put_back_between_epochs(Content({}, {"format": 1, "of": "kopt.fit"}), None, [], [], {}, "runs")
        Traceback (most recent call last):
        ValueError: checkpoint must be one of model.fit, not of kopt.fit, got 'runs'.
    """
    require_kind(saved, FIT, place)
    values = saved.values
    unequal = unlike(values["fingerprint"], fingerprint)
    require(not unequal, "checkpoint", f"must be of this run: {unequal}", place)
    build_as_before(model, values["optimized"])
    randomness.set_random_states(values["random"], but=ALL_BUT_KERAS)  # makes Keras' global seed, which is a variable
    variables = variables_between_epochs(model)
    differ = differences(values["variables"], described(variables))
    require(not differ, "checkpoint", f"must be of this model: {differ}", place)
    restore_states(callbacks, states)
    put_back(variables, saved.arrays)
    randomness.set_random_states(values["random"])


def build_as_before(model: KerasModel, places: Mapping[str, Sequence[int] | None]) -> None:
    """Build the optimizers for the weights that each had; leave a model alone that does not have them."""
    most = max((place for chosen in places.values() for place in chosen or ()), default=-1)
    if model.built and most < len(model.variables):
        randomness.build_optimizers(model, places)
