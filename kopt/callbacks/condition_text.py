"""Conditions as text: "val_loss plateaus 3 and val_auc > 0.9"."""

import re
from collections.abc import Callable

from kopt.callbacks.condition import Compared, Condition, Plateaus
from kopt.values.checks import require

__all__ = ["parse_condition"]

TOKEN = re.compile(r"\s*(>=|<=|[()<>&|~]|[^\s()<>=&|~]+)")
WORDS = {"&": "and", "|": "or", "~": "not"}
SIGNS = (">", ">=", "<", "<=")
RESERVED = ("and", "or", "not", "plateaus", "by", "min", "max", "(", ")", *SIGNS)
RULE = "must read like 'val_loss plateaus 3 and val_auc > 0.9'"
DEEPEST = 50  # parentheses and negations within one another


def parse_condition(text: str) -> Condition:
    """Return the condition that a text says.

    A condition is METRIC > NUMBER (or >=, <, <=), or METRIC plateaus COUNT, then "by" NUMBER, then "min" or "max" if
    wanted: COUNT is the patience, "by" the least improvement that counts. Conditions are combined by `not`, which
    binds closest, `and`, `or` and parentheses; `~`, `&` and `|` stand for the words.

    Args:
        text: The text.

    Returns:
        The condition.

    Raises:
        ValueError: When the text does not read so.

    Example:
        >>> parse_condition("val_loss plateaus 3 by 0.01 and not val_auc <= 0.9")
        (metric('val_loss').plateaus(3, min_delta=0.01) & ~(metric('val_auc') <= 0.9))

    Source:
        Python's `and`, `or` and `not`.
    """
    return Reader(text).whole()


class Reader:
    """Reads a condition from its words, from left to right.

    Args:
        text: The text.
    """

    def __init__(self, text: str):
        require(isinstance(text, str), "condition", RULE, text)
        self.text, self.words, place = text, list[str](), 0
        while text[place:].strip():
            found = TOKEN.match(text, place)
            self.need(found is not None, text[place:].strip())
            assert found is not None
            self.words.append(WORDS.get(found[1], found[1]))
            place = found.end()
        self.depth = 0

    def need(self, condition: bool, found: str) -> None:
        """Raise ValueError that names the words at which the text reads otherwise."""
        require(condition, "condition", f"{RULE}, and not have {found!r} there", self.text)

    @property
    def next(self) -> str:
        """The next word; an empty text at the end."""
        return self.words[0] if self.words else ""

    def take(self) -> str:
        """Return the next word, and go on behind it."""
        self.need(bool(self.words), "its end")
        return self.words.pop(0)

    def whole(self) -> Condition:
        found = self.either()
        self.need(not self.words, self.next)
        return found

    def either(self) -> Condition:
        found = self.both()
        while self.next == "or":
            self.take()
            found |= self.both()
        return found

    def both(self) -> Condition:
        found = self.one()
        while self.next == "and":
            self.take()
            found &= self.one()
        return found

    def one(self) -> Condition:
        """Read a comparison, a plateau, a negation, or a condition in parentheses."""
        self.depth += 1
        self.need(self.depth <= DEEPEST, self.next)
        first = self.take()
        if first == "not":
            found = ~self.one()
        elif first == "(":
            found = self.either()
            self.need(self.next == ")", self.next or "its end")
            self.take()
        else:
            self.need(first not in RESERVED, first)
            found = self.about(first)
        self.depth -= 1
        return found

    def about(self, metric: str) -> Condition:
        """Read what is said about a metric."""
        sign = self.take()
        if sign in SIGNS:
            return Compared(metric, sign, self.number(float))  # type: ignore[arg-type]
        self.need(sign == "plateaus", sign)
        patience, min_delta = int(self.number(int)), 0.0
        if self.next == "by":
            self.take()
            min_delta = self.number(float)
        mode = self.take() if self.next in ("min", "max") else "auto"
        return Plateaus(metric, patience, min_delta, mode)  # type: ignore[arg-type]

    def number(self, kind: Callable[[str], float]) -> float:
        """Read a number."""
        word = self.take()
        digits = r"\d+" if kind is int else r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
        self.need(re.fullmatch(digits, word, re.ASCII) is not None, word)
        return kind(word)
