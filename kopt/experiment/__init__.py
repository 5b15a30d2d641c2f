"""Experiments: recipes, their command line, and runs."""

from kopt.experiment.recipe import Command, Recipe, Training, command_line, script_line

__all__ = ["Command", "Recipe", "Training", "command_line", "script_line"]
