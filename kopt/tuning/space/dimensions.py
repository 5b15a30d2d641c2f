"""Ready search dimensions for a hypermodel of one's own."""

import inspect
from collections.abc import Sequence
from typing import Any

from kopt import regularizers, rules, schedules
from kopt.optimizers import Optimizer
from kopt.regularizers import Regularizer
from kopt.rules import Rule
from kopt.schedules import Schedule
from kopt.tuning.space.space import Range
from kopt.values.checks import require, unknown
from kopt.values.field_paths import number_paths, replace
from kopt.values.types import HyperParameters

__all__ = ["optimizer", "regularizer", "rule", "schedule"]


def regularizer(
    hp: HyperParameters,
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
    kind = drawn_kind(hp, name, kinds, ["none", *regularizers.registry])
    if kind == "none":
        return None
    value = regularizers.registry.make(kind)
    with hp.conditional_scope(name, [kind]):
        return replace(value, {path: drawn(hp, f"{name}.{kind}.{path}", strength) for path in number_paths(value)})


def schedule(
    hp: HyperParameters,
    name: str = "schedule",
    *,
    kinds: Sequence[str] = ("constant", "linear", "cosine", "one_cycle"),
    rate: Range = Range(1e-4, 1e-1, log=True),
    warmup: Range | None = None,
) -> Schedule:
    """Draw a learning-rate schedule for `callbacks.LearningRate`: its kind, the rate, and a warm-up.

    The rate and the warm-up are one hyperparameter for all kinds, for good ones are near each other.

    Args:
        hp: KerasTuner's hyperparameters.
        name: Of the choice; the others are "<name>.rate" and "<name>.warmup".
        kinds: Names in the registry of schedules that need a rate only, and last to the end of the run; at least one.
        rate: From where to where the (highest) rate goes.
        warmup: From where to where the duration of a warm-up goes, in the callback's unit; None for none.

    Returns:
        The schedule; its duration is open.

    Raises:
        ValueError: When a kind is unknown, needs more than a rate, or there is none.

    Example:
        >>> import keras_tuner
        >>> schedule(keras_tuner.HyperParameters(), kinds=("cosine", "rex"), warmup=Range(1, 3))
        Cosine(0.0001).warmup(1)

    Source:
        Folklore.
    """
    simple = [kind for kind, found in schedules.registry.items() if needs_a_rate_only(found)]
    kind = drawn_kind(hp, name, kinds, simple)
    found: Any = schedules.registry.make(kind, drawn(hp, f"{name}.rate", rate))
    return found if warmup is None else found.warmup(drawn(hp, f"{name}.warmup", warmup))


def rule(
    hp: HyperParameters,
    name: str = "rule",
    *,
    kinds: Sequence[str] = ("momentum", "adam", "adamw"),
    memory: Range = Range(0.01, 0.3, log=True),
    weight_decay: Range = Range(1e-5, 1e-1, log=True),
) -> Rule:
    """Draw an update rule: its kind, how soon it forgets, and its weight decay where it has one.

    Args:
        hp: KerasTuner's hyperparameters.
        name: Of the choice; the others are "<name>.<kind>.<field>".
        kinds: Names in the registry of rules; at least one.
        memory: From where to where 1 - momentum, or 1 - beta_1, goes.
        weight_decay: From where to where the weight decay goes.

    Returns:
        The rule, for `optimizers.Optimizer`, `minimize` or a recipe.

    Raises:
        ValueError: When a kind is unknown, or there is none.

    Example:
        >>> import keras_tuner
        >>> rule(keras_tuner.HyperParameters(), kinds=("momentum", "gradient_descent"))
        Momentum(0.99)

    Source:
        Choi et al., On Empirical Comparisons of Optimizers for Deep Learning, 2019: tune all of a rule's numbers.
    """
    kind = drawn_kind(hp, name, kinds, list(rules.registry))
    value: Any = rules.registry.make(kind)
    fields = number_paths(value)
    with hp.conditional_scope(name, [kind]):
        changes: dict[str, float] = {
            field: 1.0 - drawn(hp, f"{name}.{kind}.1-{field}", memory)
            for field in ("momentum", "beta_1")
            if field in fields
        }
        if "weight_decay" in fields:
            changes["weight_decay"] = drawn(hp, f"{name}.{kind}.weight_decay", weight_decay)
    return replace(value, changes)


def optimizer(
    hp: HyperParameters,
    name: str = "optimizer",
    *,
    rate: Range = Range(1e-4, 1e-1, log=True),
    **of_rule: Any,
) -> Optimizer:
    """Draw an optimizer to compile a model with: a rule and a rate.

    Args:
        hp: KerasTuner's hyperparameters.
        name: Of the rule's choice; the rate is "<name>.rate".
        rate: From where to where the learning rate goes; `callbacks.LearningRate` replaces it.
        **of_rule: Arguments of `rule`.

    Returns:
        The optimizer.

    Raises:
        ValueError: As for `rule`.

    Example:
        >>> import keras_tuner
        >>> hp = keras_tuner.HyperParameters()
        >>> optimizer(hp, kinds=("adam",)).rule
        Adam(0.99)
        >>> sorted(hp.values)
        ['optimizer', 'optimizer.adam.1-beta_1', 'optimizer.rate']

    Source:
        Folklore.
    """
    return Optimizer(rule(hp, name, **of_rule), learning_rate=drawn(hp, f"{name}.rate", rate))


def drawn_kind(hp: HyperParameters, name: str, kinds: Sequence[str], known: Sequence[str]) -> str:
    require(len(kinds) >= 1, "kinds", f"must name one {name} or more", kinds)
    for kind in kinds:
        if kind not in known:
            raise unknown("kinds", kind, known)
    return hp.Choice(name, list(kinds))


def needs_a_rate_only(kind: type) -> bool:
    """Whether a schedule needs no more than a rate, and is open or endless."""
    required = [
        one for one in inspect.signature(kind).parameters.values() if one.default is one.empty and one.name != "self"
    ]
    return [one.name for one in required] == ["rate"]


def drawn(hp: HyperParameters, name: str, allowed: Range) -> float:
    return hp.Float(name, allowed.low, allowed.high, sampling="log" if allowed.log else "linear")
