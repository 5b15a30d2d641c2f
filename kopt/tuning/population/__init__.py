"""Populations: many trainings that differ in numbers and seeds as one program."""

from kopt.tuning.population.member_run import Member
from kopt.tuning.population.training import train

__all__ = ["Member", "train"]
