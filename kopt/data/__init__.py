"""Data sets inside packages and data of the user's, each with splits, a checksum and a baseline."""

from kopt.data.base import Baseline, Data, Split, Splits, registry
from kopt.data.characters import Characters
from kopt.data.diamonds import Diamonds
from kopt.data.digits import MNIST, Digits
from kopt.data.electricity import Electricity
from kopt.data.movielens import Likes, Ratings
from kopt.data.reviews import ChineseReviews, Reviews
from kopt.data.summary import Summary, summary
from kopt.data.user_data import CSV, Arrays, arrays, csv
from kopt.values.moved_names import moved_names

__all__ = [
    "Arrays",
    "Baseline",
    "CSV",
    "Characters",
    "ChineseReviews",
    "Data",
    "Diamonds",
    "Digits",
    "Electricity",
    "Likes",
    "MNIST",
    "Ratings",
    "Reviews",
    "Split",
    "Splits",
    "Summary",
    "arrays",
    "csv",
    "registry",
    "summary",
]

__getattr__ = moved_names(__name__, {"Look": "Summary", "look": "summary"})
