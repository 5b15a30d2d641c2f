"""Attaching regularizers to a model that is already built."""

import logging

from kopt import select
from kopt.keras_internals import retrace, weight_penalties
from kopt.regularizers.base import Regularizer, get
from kopt.regularizers.live import with_factors_of
from kopt.regularizers.penalty import put_into_logs
from kopt.regularizers.places import PenaltyPlace, places
from kopt.values.checks import require
from kopt.values.types import KerasModel

__all__ = ["attach", "detach"]

log = logging.getLogger("kopt")


def attach(
    model: KerasModel, regularizer: Regularizer | str, to: select.SelectorLike = select.kernels, *, report: bool = True
) -> list[str]:
    """Regularize the chosen weights of a built model, whether it is compiled or trained or not.

    loss = data loss + the sum of regularizer(weight) over the chosen weights, from the next step on. The regularizer is
    set on the weight and on its layer, so that the model's file keeps it. A log line names each regularizer that is
    replaced. A weight that several layers share counts once, and a frozen weight not until it trains again. The train
    and test functions are traced once more. A file holds L1, L2 and L1L2 as Keras' own, which Keras loads without kopt;
    GroupLasso, Orthogonal and TowardStart need `import kopt` before loading.

    Args:
        model: A built Keras model.
        regularizer: The regularizer, or a text as for `get`.
        to: The weights to regularize, by a selector or a pattern of paths; kernels by default, without biases, norms
            and embeddings.
        report: Whether the logs of fit and evaluate hold "penalty", the sum for the weights after the last update:
            val_loss - val_penalty is the loss on the data alone. It is a metric, so `evaluate` of a model compiled
            without metrics returns [loss, penalty] and not a number; with report=False it returns a number.

    Returns:
        The paths of the weights that are regularized.

    Raises:
        ValueError: When the model is not built, nothing is chosen, the penalty does not take the shape of a weight, or
            a layer cannot save the penalty.

    Example:
        >>> import keras
        >>> from kopt.regularizers import L2
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")])
        >>> attach(model, L2(0.1))
        ['dense/kernel']
        >>> detach(model)
        ['dense/kernel']

    Source:
        Keras takes regularizers only when layers are made; setting them later is silently ignored or lost on saving.
    """
    penalty = get(regularizer)
    require(isinstance(penalty, Regularizer), "regularizer", "must be a kopt regularizer or its text", regularizer)
    require(isinstance(report, bool), "report", "must be True or False", report)
    chosen = places(model, to)
    require_saved(chosen, to)
    new = [penalty.anchored(place.weights) for place in chosen]
    for place, one in zip(chosen, new):
        for weight in place.weights.values():
            one(weight)  # raises for a wrong shape before anything is set
    for place, one in zip(chosen, new):
        if place.regularizer is not None:
            log.info("attach: %r in place of %r on %s", penalty, place.regularizer, ", ".join(paths_of([place])))
        place.put(with_factors_of(place.regularizer, one))
    put_into_logs(model, report)
    retrace(model)
    return paths_of(chosen)


def detach(model: KerasModel, to: select.SelectorLike = select.everything) -> list[str]:
    """Remove regularizers from a model, those of `attach` and those of its layers' arguments.

    Args:
        model: A built Keras model.
        to: The weights; all by default.

    Returns:
        The paths of the weights that were regularized.

    Raises:
        ValueError: When the model is not built, or nothing is chosen.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(3, kernel_regularizer="l2", name="a")
        >>> detach(keras.Sequential([keras.Input((2,)), dense]))
        ['a/kernel']

    Source:
        The reverse of `attach`.
    """
    found = [place for place in places(model, to) if place.regularizer is not None]
    for place in found:
        place.put(None)
    if not weight_penalties(model):
        put_into_logs(model, False)
    retrace(model)
    return paths_of(found)


def require_saved(chosen: list[PenaltyPlace], to: select.SelectorLike) -> None:
    for place in chosen:
        rule = f"must leave out {', '.join(paths_of([place]))}: its layer saves no penalty"
        require(hasattr(place.layer, place.attribute), "to", rule, to)


def paths_of(found: list[PenaltyPlace]) -> list[str]:
    return [parameter.path for place in found for parameter in place.parameters]
