"""The ending of a column's name that says how the model reads its texts; data and models both know it."""

__all__ = ["WORDS"]

WORDS = ".words"  # the texts of the column become a bag of words, and not one category each
