"""Spaces: what may be drawn, and how it is drawn."""

from kopt.values.moved_names import moved_names

__getattr__ = moved_names(
    __name__,
    {
        "Choice": "kopt.tuning.space.space.Choice",
        "Range": "kopt.tuning.space.space.Range",
        "Space": "kopt.tuning.space.space.Space",
    },
)
