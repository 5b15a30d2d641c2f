"""Routed: other rules for other parameters, chosen by selectors."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import keras

from kopt.rules.base import Rule, registry
from kopt.select import Parameter, Selector, SelectorLike, as_selectors
from kopt.values import serialization
from kopt.values.checks import require
from kopt.values.fields import Value
from kopt.values.types import Nest, Scalar, Tensor, Variable

__all__ = ["Route", "Routed"]


class Route(Value):
    """A rule and the parameters that it is for.

    Args:
        to: The parameters.
        rule: Their rule.

    Example:
        >>> from kopt import rules, select
        >>> Route(select.biases, rules.Momentum())
        Route(biases, rule=Momentum())
    """

    to: Selector
    rule: Rule


serialization.register(Route, "kopt.rules")


@registry.register
class Routed(Rule):
    """Other rules for other parameters.

    A parameter has the rule of the first selector that holds it, and `rest` when none does. All rules have one learning
    rate and one count of updates. Use it where one kind of parameters needs another rule, such as embeddings.

    The rule must be bound to variables, which know their names; `optimizers.Optimizer` does it. A selector by layers
    (paths, types, depths) must be bound to the model first: `select.path("head/*").bind(model)`. The numbers of the
    rules have paths with the place of the route: "routes.0.rule.momentum".

    Args:
        routes: A mapping from selectors to rules, in order; it is held as a tuple of `Route`s.
        rest: The rule for all other parameters.

    Raises:
        ValueError: When there is no route, two routes have one selector, or, at `bind`, a selector chooses nothing, or
            nothing that the routes before it leave, or depends on layers.

    Example:
        >>> from kopt import rules, select
        >>> rule = Routed({select.embeddings: rules.GradientDescent()}, rest=rules.Adam())
        >>> embedding, kernel = (keras.Variable([1.0], name=name) for name in ("embeddings", "kernel"))
        >>> bound, parameters = rule.bind([embedding, kernel]), [embedding.value, kernel.value]
        >>> updates, _ = bound.update([keras.ops.array([2.0])] * 2, bound.init(parameters), parameters, 0.1, 1)
        >>> [round(float(update[0]), 3) for update in updates]
        [-0.2, -0.1]

    Source:
        `multi_transform`, now `partition`, of optax.
    """

    routes: tuple[Route, ...]
    rest: Rule

    if TYPE_CHECKING:

        def __init__(self, routes: Mapping[SelectorLike, Rule] | tuple[Route, ...], rest: Rule) -> None: ...

    def __post_init__(self) -> None:
        if isinstance(self.routes, Mapping):
            routes = tuple(Route(to, rule) for to, rule in as_selectors(self.routes, "routes").items())
            object.__setattr__(self, "routes", routes)
        super().__post_init__()

    def check(self) -> None:
        require(len(self.routes) > 0, "routes", "must have a route", self.routes)
        different = len({route.to for route in self.routes}) == len(self.routes)
        require(different, "routes", "must have different selectors", self.routes)
        for rule in (*(route.rule for route in self.routes), self.rest):
            said = "must name its parameters by `to` in Routed, which shows it a part of the model's"
            require(not rule.needs_model, type(rule).__name__, said, rule)

    def __repr__(self) -> str:
        routes = ", ".join(f"{route.to!r}: {route.rule!r}" for route in self.routes)
        return f"Routed({{{routes}}}, rest={self.rest!r})"

    @property
    def usual_rate(self) -> float:  # type: ignore[override]
        """The learning rate to begin with: that of the rest."""
        return self.rest.usual_rate

    @property
    def has_evaluation_weights(self) -> bool:  # type: ignore[override]
        """Whether a rule evaluates other weights than those of training."""
        return any(rule.has_evaluation_weights for rule in self.rules())

    @property
    def counts_each(self) -> bool:  # type: ignore[override]
        """Whether all rules take a count for each parameter."""
        return all(rule.counts_each for rule in self.rules())

    @property
    def rounding(self) -> float:  # type: ignore[override]
        """How often larger errors of rounding become than those of a formula by element."""
        return max(rule.rounding for rule in self.rules())

    def rules(self) -> list[Rule]:
        """Return the rules of all routes, then that of the rest."""
        return [*(route.rule for route in self.routes), self.rest]

    def bind(self, variables: Sequence[Variable]) -> Rule:
        held = [[route.to.holds(known(variable)) for variable in variables] for route in self.routes]
        for route, found in zip(self.routes, held):
            require(any(found), "selector", "must choose something among the optimizer's variables", route.to)
        last = len(self.routes)
        places = tuple((*at_variable, True).index(True) for at_variable in zip(*held))
        for place, route in enumerate(self.routes):
            said = "must choose something that no route before it has"
            require(place in places, "selector", said, route.to)
        parts = [[variable for variable, at in zip(variables, places) if at == place] for place in range(last + 1)]
        routes = tuple(Route(route.to, route.rule.bind(part)) for route, part in zip(self.routes, parts))
        return BoundRouted(routes, self.rest.bind(parts[last]), places)

    def parts(self) -> "dict[str, Part]":
        """Return the rules with the positions of their parameters, by the names of their states."""
        raise ValueError(f"rule must be bound to variables, by .bind(variables), for its selectors, got {self!r}.")

    def init(self, parameters: Sequence[Tensor]) -> Nest:
        return {name: part.init(parameters) for name, part in self.parts().items()}

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        updates, states = list(gradients), {}
        for name, part in self.parts().items():
            states[name] = part.update_into(updates, gradients, state[name], parameters, rate=rate, count=count)
        return updates, states

    def evaluate(self, state: Nest, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        found = list(parameters)
        for name, part in self.parts().items():
            part.write(part.rule.evaluate, state[name], found)
        return found

    def restore(self, state: Nest, evaluated: Sequence[Tensor]) -> Sequence[Tensor]:
        found = list(evaluated)
        for name, part in self.parts().items():
            part.write(part.rule.restore, state[name], found)
        return found


class BoundRouted(Routed):
    """A `Routed` that knows the place of the route of each parameter; the rest's is behind the last one."""

    places: tuple[int, ...]

    if TYPE_CHECKING:

        def __init__(self, routes: tuple[Route, ...], rest: Rule, places: tuple[int, ...]) -> None: ...

    def parts(self) -> "dict[str, Part]":
        names = [*(f"route_{place}" for place in range(len(self.routes))), "rest"]
        return {
            name: Part(rule, tuple(position for position, at in enumerate(self.places) if at == place))
            for place, (name, rule) in enumerate(zip(names, self.rules()))
        }


class Part(NamedTuple):
    """A rule, and the positions of its parameters in the list of all."""

    rule: Rule
    positions: tuple[int, ...]

    def init(self, parameters: Sequence[Tensor]) -> Nest:
        """Return the state of the rule, in lists with a place for each of all parameters."""
        if not self.positions:
            return {}
        return spread(self.rule.init(among(parameters, self.positions)), self.positions, len(parameters))

    def update_into(
        self,
        updates: list[Tensor],
        gradients: Sequence[Tensor],
        state: Nest,
        parameters: Sequence[Tensor],
        *,
        rate: Scalar,
        count: Scalar,
    ) -> Nest:
        """Write the updates of the rule's parameters at their positions; return the next state."""
        if not self.positions:
            return {}
        given, before = (among(values, self.positions) for values in (gradients, parameters))
        own = among(count, self.positions) if isinstance(count, list) else count
        found, inner = self.rule.update(given, gathered(state, self.positions), before, rate, own)
        replace_at(updates, self.positions, found)
        return spread(inner, self.positions, len(parameters))

    def write(self, convert: Callable[[Nest, Sequence[Tensor]], Sequence[Tensor]], state: Nest, values: Nest) -> None:
        """Replace the values of the rule's parameters by what `evaluate` or `restore` of the rule makes of them."""
        if self.positions:
            inner = gathered(state, self.positions)
            replace_at(values, self.positions, convert(inner, among(values, self.positions)))


class NameOnly(NamedTuple):
    """What selectors read of a variable that is not Keras'."""

    name: str
    path: str


def known(variable: Variable) -> Parameter:
    """Return what an optimizer knows of a variable: no layers."""
    if isinstance(variable, keras.Variable):
        return Parameter(variable, variable.path)
    name = variable.name.partition(":")[0]
    return Parameter(NameOnly(name.rpartition("/")[2], name), name)


def among(values: Sequence[Tensor], positions: Iterable[int]) -> list[Tensor]:
    """Return the values at some positions."""
    return [values[position] for position in positions]


def replace_at(values: list[Tensor], positions: Iterable[int], new: Sequence[Tensor]) -> None:
    """Put new values at some positions."""
    for position, value in zip(positions, new, strict=True):
        values[position] = value


def gathered(state: Nest, positions: Sequence[int]) -> Nest:
    """Return the state of a rule for some of the parameters; its lists have a place for each of these."""
    if isinstance(state, dict):
        return {name: gathered(inner, positions) for name, inner in state.items()}
    return among(state, positions) if isinstance(state, (list, tuple)) else state


def spread(state: Nest, positions: Sequence[int], size: int) -> Nest:
    """Undo `gathered`: the lists have a place for each of all parameters, empty where the rule is not theirs."""
    if isinstance(state, dict):
        return {name: spread(inner, positions, size) for name, inner in state.items()}
    if not isinstance(state, (list, tuple)):
        return state
    found: list[Nest] = [{} for _ in range(size)]
    replace_at(found, positions, state)
    return found
