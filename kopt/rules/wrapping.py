"""Wrapper: the abstract type of rules around another rule."""

from collections.abc import Sequence
from typing import Annotated, Self

import tyro

from kopt.rules.base import Rule
from kopt.values.field_paths import with_field
from kopt.values.types import Nest, Tensor, Variable

__all__ = ["Wrapper"]

# The command line leaves out the name `of` before the fields of the wrapped rule, as paths do.
Wrapped = Annotated[Rule, tyro.conf.arg(name="")]


class Wrapper(Rule):
    """A rule around any other one, which may be wrapped itself; paths leave out the field `of`.

    A member has names for its own fields that no rule has, so that the paths of both stay apart. One without a state of
    its own keeps the wrapped rule's state, as these methods do; another one keeps it beside its own, and says in
    `inner` where.

    Example:
        >>> from kopt.rules import Adam, Centralize, Lookahead
        >>> from kopt.values import paths
        >>> paths(Lookahead(Centralize(Adam())))
        {'beta_1': 0.9, 'beta_2': 0.999, 'epsilon': 1e-07, 'corrected': True, 'sync_every': 5, 'share': 0.5}
    """

    of: Wrapped

    @property
    def usual_rate(self) -> float:  # type: ignore[override]
        """The learning rate to begin with: that of the wrapped rule."""
        return self.of.usual_rate

    @property
    def needs_model(self) -> bool:  # type: ignore[override]
        """Whether the wrapped rule's `bind` takes the last kernel that it sees for the model's head."""
        return self.of.needs_model

    @property
    def counts_each(self) -> bool:  # type: ignore[override]
        """Whether the wrapped rule takes a count for each parameter."""
        return self.of.counts_each

    @property
    def has_evaluation_weights(self) -> bool:  # type: ignore[override]
        """Whether the wrapped rule evaluates other weights than those of training."""
        return self.of.has_evaluation_weights

    @property
    def rounding(self) -> float:  # type: ignore[override]
        """How often larger errors of rounding become than those of a formula by element."""
        return self.of.rounding

    def bind(self, variables: Sequence[Variable]) -> Self:
        return with_field(self, "of", self.of.bind(variables))

    def init(self, parameters: Sequence[Tensor]) -> Nest:
        return self.of.init(parameters)

    def inner(self, state: Nest) -> Nest:
        """Return the state of the wrapped rule."""
        return state

    def evaluate(self, state: Nest, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        return self.of.evaluate(self.inner(state), parameters)

    def restore(self, state: Nest, evaluated: Sequence[Tensor]) -> Sequence[Tensor]:
        return self.of.restore(self.inner(state), evaluated)
