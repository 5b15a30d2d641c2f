"""Data sets inside packages and data of the user's, each with splits, a checksum and a baseline.

A registered data set in any file of this package is public here.
"""

import importlib
import pkgutil

from kopt.data.base import Baseline, Data, Split, Splits, registry
from kopt.data.characters import Characters
from kopt.data.datasets import Datasets, tfdata
from kopt.data.diamonds import Diamonds
from kopt.data.digits import MNIST, Digits
from kopt.data.electricity import Electricity
from kopt.data.files import Images, Texts, images, texts
from kopt.data.movielens import Likes, Ratings
from kopt.data.reviews import ChineseReviews, Reviews
from kopt.data.summary import Summary, summary
from kopt.data.tables import CSV, Frame, Parquet, csv, frame, parquet
from kopt.data.user_data import Arrays, arrays
from kopt.values.moved_names import moved_names

for one in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{one.name}")
globals().update({cls.__name__: cls for cls in registry.values()})

__all__ = [
    "Arrays",
    "Baseline",
    "CSV",
    "Characters",
    "ChineseReviews",
    "Data",
    "Datasets",
    "Diamonds",
    "Digits",
    "Electricity",
    "Frame",
    "Images",
    "Likes",
    "MNIST",
    "Parquet",
    "Ratings",
    "Reviews",
    "Split",
    "Splits",
    "Summary",
    "Texts",
    "arrays",
    "csv",
    "frame",
    "images",
    "parquet",
    "registry",
    "summary",
    "texts",
    "tfdata",
]

__getattr__ = moved_names(__name__, {"Look": "Summary", "look": "summary"})
