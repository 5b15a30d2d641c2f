"""Packages that samplers and pruners need, and how they are made without Optuna's notices."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import optuna

from kopt.values.checks import needs

__all__ = ["SCIPY", "Package", "quietly"]

P = ParamSpec("P")
Made = TypeVar("Made")


@dataclasses.dataclass(frozen=True)
class Package:
    """A package that a sampler or a pruner needs.

    Args:
        name: The module to import.
        extra: The extra of kopt that installs it.
        how: The command that installs it, where no extra can.

    Example:
        >>> Package("no_such_module").require("the sampler 'mine'")
        Traceback (most recent call last):
        ImportError: no_such_module must be installed for this, by: python -m pip install -e ".[tune]"
    """

    name: str
    extra: str = "tune"
    how: str | None = None

    def require(self, user: str) -> None:
        """Raise when the package is not installed.

        Raises:
            ImportError: When it is not; says the command that installs it.
        """
        try:
            needs(self.name, self.extra)
        except ImportError as error:
            if self.how is None:
                raise
            raise ImportError(f"{self.name} must be installed for {user}, by: {self.how}") from error


SCIPY = Package("scipy")


def quietly(make: Callable[P, Made], *args: P.args, **named: P.kwargs) -> Made:
    """Make a part of Optuna without its notice that it is experimental.

    Args:
        make: A class or a function.
        *args: Its positional arguments.
        **named: Its named arguments.

    Returns:
        The part.

    Example:
        >>> quietly(optuna.samplers.RandomSampler, seed=0)
        <optuna.samplers._random.RandomSampler object at ...>
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(*args, **named)
