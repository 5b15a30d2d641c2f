"""Data sets that come inside packages, and one's own: splits, a checksum and a baseline each."""

from kopt.data.base import Baseline, Data, Split, Splits, registry
from kopt.data.characters import Characters
from kopt.data.diamonds import Diamonds
from kopt.data.digits import MNIST, Digits
from kopt.data.electricity import Electricity
from kopt.data.movielens import Likes, Ratings
from kopt.data.reviews import ChineseReviews, Reviews
from kopt.data.summary import Look, look
from kopt.data.user_data import CSV, Arrays, arrays, csv

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
    "Look",
    "MNIST",
    "Ratings",
    "Reviews",
    "Split",
    "Splits",
    "arrays",
    "csv",
    "look",
    "registry",
]
