"""Ready search dimensions for the user's hypermodel: regularizer, schedule, rule and optimizer."""

import inspect
from collections.abc import Mapping, Sequence

from kopt import regularizers, rules, schedules
from kopt.optimizers import Optimizer
from kopt.regularizers import Regularizer
from kopt.rules import Rule
from kopt.schedules import Schedule
from kopt.tuning.space.space import Range
from kopt.values.checks import require, unknown
from kopt.values.field_paths import number_paths, replace
from kopt.values.types import Argument, HyperParameters

__all__ = ["optimizer", "regularizer", "rule", "schedule"]


def regularizer(
    hp: HyperParameters,
    name: str = "regularizer",
    *,
    kinds: Sequence[str] = ("none", "l1", "l2", "l1_l2"),
    strength: Range = Range(1e-6, 1e-2, log=True),
) -> Regularizer | None:
    """Draw a regularizer: its kind, then each strength of this kind.

    Args:
        hp: KerasTuner's hyperparameters.
        name: The name of the choice; the strengths are "<name>.<kind>.<field>".
        kinds: Names in the registry, and "none" for no penalty; at least one.
        strength: The range of each strength.

    Returns:
        The regularizer to `attach`, or None.

    Raises:
        ValueError: When a kind is unknown, or `kinds` is empty.

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

    All kinds share the hyperparameters of the rate and of the warm-up, for the good values of kinds are close.

    Args:
        hp: KerasTuner's hyperparameters.
        name: The name of the choice; the others are "<name>.rate" and "<name>.warmup".
        kinds: Names, in the registry, of schedules that need only a rate and last to the end of the run; at least one.
        rate: The range of the (highest) rate.
        warmup: The range of the warm-up's duration, in the callback's unit; None for no warm-up.

    Returns:
        The schedule; its duration is open.

    Raises:
        ValueError: When a kind is unknown or needs more than a rate, or `kinds` is empty.

    Example:
        >>> import keras_tuner
        >>> schedule(keras_tuner.HyperParameters(), kinds=("cosine", "rex"), warmup=Range(1, 3))
        Cosine(0.0001).warmup(1)

    Source:
        Folklore.
    """
    simple = [kind for kind, found in schedules.registry.items() if needs_a_rate_only(found)]
    kind = drawn_kind(hp, name, kinds, simple)
    found: Schedule = schedules.registry.make(kind, drawn(hp, f"{name}.rate", rate))
    return found if warmup is None else found.warmup(drawn(hp, f"{name}.warmup", warmup))


def rule(
    hp: HyperParameters,
    name: str = "rule",
    *,
    kinds: Sequence[str] = ("momentum", "adam", "adamw"),
    memory: Range = Range(0.01, 0.3, log=True),
    weight_decay: Range = Range(1e-5, 1e-1, log=True),
    numbers: Mapping[str, Range] | None = None,
) -> Rule:
    """Draw an update rule: its kind, its memory of past gradients, its weight decay if it has one, and other numbers.

    Args:
        hp: KerasTuner's hyperparameters.
        name: The name of the choice; the others are "<name>.<kind>.<field>".
        kinds: Names in the registry of rules, or rules as code, such as "lookahead(adam())"; at least one.
        memory: The range of 1 - momentum, or of 1 - beta_1.
        weight_decay: The range of the weight decay.
        numbers: Path -> the range of that number, in each kind that has it; for numbers that the other arguments have
            ranges for too.

    Returns:
        The rule, for `optimizers.Optimizer`, `minimize` or a recipe.

    Raises:
        ValueError: When a kind is unknown, `kinds` is empty, or no kind has a number.

    Example:
        >>> import keras_tuner
        >>> rule(keras_tuner.HyperParameters(), kinds=("momentum", "gradient_descent"))
        Momentum(0.99)
        >>> rule(keras_tuner.HyperParameters(), kinds=("adam",), numbers={"beta_2": Range(0.9, 0.999)})
        Adam(0.99, beta_2=0.9)

    Source:
        Choi et al., On Empirical Comparisons of Optimizers for Deep Learning, 2019: tune all of a rule's numbers.
    """
    numbers = numbers or {}
    kind = drawn_kind(hp, name, kinds, [*rules.registry, *(one for one in kinds if "(" in one)])
    values: dict[str, Rule] = {one: rules.registry.parse(one) for one in kinds}
    known = {path for value in values.values() for path in number_paths(value)}
    for path in numbers:
        if path not in known:
            raise unknown("numbers", path, known)
    fields = number_paths(values[kind])
    with hp.conditional_scope(name, [kind]):
        changes: dict[str, float] = {
            field: 1.0 - drawn(hp, f"{name}.{kind}.1-{field}", memory)
            for field in ("momentum", "beta_1")
            if field in fields and field not in numbers
        }
        of_name = {"weight_decay": weight_decay} | dict(numbers)
        changes |= {
            path: drawn(hp, f"{name}.{kind}.{path}", allowed) for path, allowed in of_name.items() if path in fields
        }
    return replace(values[kind], changes)


def optimizer(
    hp: HyperParameters,
    name: str = "optimizer",
    *,
    rate: Range = Range(1e-4, 1e-1, log=True),
    **of_rule: Argument,
) -> Optimizer:
    """Draw an optimizer to compile a model with: a rule and a rate.

    Args:
        hp: KerasTuner's hyperparameters.
        name: The name of the rule's choice; the rate is "<name>.rate".
        rate: The range of the learning rate; `callbacks.LearningRate` replaces it.
        **of_rule: Other arguments of `rule`.

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
    """Draw one of some kinds, all of which must be known."""
    require(len(kinds) >= 1, "kinds", f"must name one {name} or more", kinds)
    for kind in kinds:
        if kind not in known:
            raise unknown("kinds", kind, known)
    return hp.Choice(name, list(kinds))


def needs_a_rate_only(kind: type) -> bool:
    """Return whether a schedule requires only a rate, so that its duration is open or infinite."""
    required = [
        one for one in inspect.signature(kind).parameters.values() if one.default is one.empty and one.name != "self"
    ]
    return [one.name for one in required] == ["rate"]


def drawn(hp: HyperParameters, name: str, allowed: Range) -> float:
    """Draw a number from a range."""
    return hp.Float(name, allowed.low, allowed.high, sampling="log" if allowed.log else "linear")
