"""The work of a base class around the methods of its subclasses."""

import functools
from collections.abc import Callable
from typing import TypeVar

Own = TypeVar("Own")


def nothing(owner: object) -> None:
    """Do nothing."""


def around(
    method: Callable[..., None], before: Callable[[Own], None], after: Callable[[Own], None]
) -> Callable[..., None]:
    """Return a method with other work before and after it.

    Args:
        method: The method, as it stands in a class.
        before: The work before it, given the object.
        after: The work after it.
    """

    @functools.wraps(method)
    def whole(self: Own, *arguments: object, **named: object) -> None:
        before(self)
        method(self, *arguments, **named)
        after(self)

    return whole
