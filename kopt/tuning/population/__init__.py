"""Populations: many trainings that differ in numbers and seeds as one program."""

from kopt.tuning.population.ensemble import ensemble
from kopt.tuning.population.evolving import Evolved, evolve
from kopt.tuning.population.member_run import Member
from kopt.tuning.population.pbt import PB2, PBT
from kopt.tuning.population.seeds import Repeated, repeat
from kopt.tuning.population.training import train

__all__ = ["PB2", "PBT", "Evolved", "Member", "Repeated", "ensemble", "evolve", "repeat", "train"]
