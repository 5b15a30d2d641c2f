"""Experiments: recipes, their command line, and runs."""

from kopt.values import parts

if not parts.late(__name__):
    from kopt.experiment.recipe import Command, Recipe, Training, command_line, script_line

__all__ = ["Command", "Recipe", "Training", "command_line", "script_line"]
