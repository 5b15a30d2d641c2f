"""Updates of Keras' optimizers that another function makes for a while, in one thread."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from kopt.keras_internals.types import PrivateOptimizer
from kopt.values.types import Tensor, Variable

Updating: TypeAlias = Callable[[Sequence[Tensor], Sequence[Variable], Tensor], None]

REPLACED: contextvars.ContextVar[Mapping[int, Updating] | None] = contextvars.ContextVar("replaced", default=None)


def is_observed(optimizer: PrivateOptimizer) -> bool:
    """Return whether `observe` was called with an optimizer."""
    return "_backend_apply_gradients" in vars(optimizer)


@contextlib.contextmanager
def replaced_updates(updates: Mapping[PrivateOptimizer, Updating]) -> Iterator[None]:
    """Let optimizers update by functions in place of their `_backend_update_step`, within and in this thread."""
    hooks: dict[PrivateOptimizer, Updating] = {}
    for one in updates:
        if not is_observed(one):  # which calls `replaceable` itself
            hooks[one] = functools.partial(replaceable, one, one._backend_update_step)
            one._backend_update_step = hooks[one]
    token = REPLACED.set({id(one): update for one, update in updates.items()})
    try:
        yield
    finally:
        REPLACED.reset(token)
        for one, hook in hooks.items():
            if vars(one).get("_backend_update_step") is hook:  # and not an observer's since
                del one._backend_update_step


def replaceable(
    optimizer: PrivateOptimizer,
    update: Updating,
    grads: Sequence[Tensor],
    trainable_variables: Sequence[Variable],
    learning_rate: Tensor,
) -> None:
    """Update by what `replaced_updates` has for an optimizer, or else by its own function."""
    (REPLACED.get() or {}).get(id(optimizer), update)(grads, trainable_variables, learning_rate)
