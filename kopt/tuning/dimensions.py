"""Ready search dimensions for a hypermodel of one's own."""

from collections.abc import Sequence
from typing import Any

from kopt import regularizers
from kopt.checks import require, unknown
from kopt.fields import number_paths, replace
from kopt.regularizers import Regularizer
from kopt.tuning.space import Range

__all__ = ["regularizer"]


def regularizer(
    hp: Any,
    name: str = "regularizer",
    *,
    kinds: Sequence[str] = ("none", "l1", "l2", "l1_l2"),
    strength: Range = Range(1e-6, 1e-2, log=True),
) -> Regularizer | None:
    """Draw a regularizer: its kind, then each of its strengths, which has a name of its own for every kind.

    Args:
        hp: KerasTuner's hyperparameters.
        name: Of the choice; the strengths are "<name>.<kind>.<field>".
        kinds: Names in the registry, and "none" for no penalty; at least one.
        strength: From where to where the strengths go.

    Returns:
        The regularizer to `attach`, or None.

    Raises:
        ValueError: When a kind is unknown, or there is none.

    Example:
        >>> import keras_tuner
        >>> hp = keras_tuner.HyperParameters()
        >>> regularizer(hp, kinds=("l2", "orthogonal"))
        L2(1e-06)
        >>> sorted(hp.values)
        ['regularizer', 'regularizer.l2.strength']

    Source:
        Folklore.
    """
    require(len(kinds) >= 1, "kinds", "must name one regularizer or more", kinds)
    for kind in kinds:
        if kind != "none" and kind not in regularizers.registry:
            raise unknown("kinds", kind, ["none", *regularizers.registry])
    kind = hp.Choice(name, list(kinds))
    if kind == "none":
        return None
    value = regularizers.registry.make(kind)
    with hp.conditional_scope(name, [kind]):
        return replace(value, {path: drawn(hp, f"{name}.{kind}.{path}", strength) for path in number_paths(value)})


def drawn(hp: Any, name: str, allowed: Range) -> float:
    return hp.Float(name, allowed.low, allowed.high, sampling="log" if allowed.log else "linear")
