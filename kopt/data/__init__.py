"""Data sets that come inside packages: splits, a checksum and a baseline each."""

from kopt.data.base import Baseline, Data, Split, Splits, registry
from kopt.data.digits import Digits

__all__ = ["Baseline", "Data", "Digits", "Split", "Splits", "registry"]
