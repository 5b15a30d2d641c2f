"""Definitions: what the records of a search stand for, so that they stand for it whenever the search goes on."""

from collections.abc import Sequence
from typing import Any

import optuna

from kopt.checks import require
from kopt.tuning.draws import Dimension

__all__ = ["Definitions"]

OBJECTIVES = "objectives"


class Definitions:
    """A study's record of its objectives and of what each hyperparameter is drawn from.

    A value of a Choice may be recorded by its place in it, and all metrics of one direction look alike: with others,
    the trials before would be taken for what they are not. The ends of an interval may change.

    Args:
        study: The search's.

    Example:
        >>> import optuna
        >>> definitions = Definitions(optuna.create_study())
        >>> definitions.require_objectives(["val_loss"])
        >>> definitions.require_objectives(["loss"])
        Traceback (most recent call last):
        ValueError: objective must be ['val_loss'], as in the trials before, got ['loss'].
    """

    def __init__(self, study: optuna.Study):
        self.study = study
        self.known: dict[str, Any] = {}

    def require_objectives(self, names: Sequence[str]) -> None:
        """Refuse other objectives than those of the trials before.

        Raises:
            ValueError: When they are others.
        """
        before = self.recorded(OBJECTIVES, list(names))
        require(before == list(names), "objective", f"must be {before}, as in the trials before", list(names))

    def named(self, found: Dimension) -> Dimension:
        """Give a hyperparameter that is defined otherwise than in the trials before a name of its own."""
        options = found.grid or getattr(found.distribution, "choices", None)
        drawn = list(options) if options else type(found.distribution).__name__
        same = self.recorded(f"hyperparameter {found.name}", drawn) == drawn
        return found if same else Dimension(f"{found.name} of {drawn}", found.distribution, found.hp, found.grid)

    def recorded(self, name: str, value: Any) -> Any:
        """What is recorded; the value, which is recorded now, where nothing is."""
        if name not in self.known:
            found = self.study.user_attrs
            if name not in found:
                self.study.set_user_attr(name, value)
            self.known[name] = found.get(name, value)
        return self.known[name]
