"""What benchmarks ask of the options of their command lines."""

from collections.abc import Collection, Iterable

from kopt.values.checks import require

__all__ = ["require_among"]


def require_among(argument: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise ValueError when an argument has a name that is not known."""
    for name in names:
        require(name in known, argument, f"must be among {', '.join(known)}", name)
