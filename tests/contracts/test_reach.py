"""What reaches every rule and all its numbers: spaces, KerasTuner, a hypermodel, the command line; none is trained."""

import keras_tuner
import optuna
import pytest
from examples import RECIPE, RULES

import kopt
from kopt import tuning
from kopt.experiment.recipe import Command, command_line
from kopt.rules import Rule, registry
from kopt.tuning import Choice, HyperModel, Range, Space
from kopt.values import number_paths, read, replace
from kopt.values.registry import snake_case

FIRST = list({type(rule): rule for rule in reversed(RULES)}.values())  # the first example of each class
ALONE = replace(RECIPE, {"average": None})  # rules that average themselves refuse another average
every_rule = pytest.mark.parametrize("rule", FIRST)


def as_text(rule: Rule) -> str:
    """A rule as the command line takes it: its code with the names of the registry."""
    text = repr(rule)
    for kind in sorted(registry.values(), key=lambda kind: -len(kind.__name__)):
        text = text.replace(f"{kind.__name__}(", f"{snake_case(kind.__name__)}(")
    return text


def is_read(rule: Rule) -> bool:
    """Tell whether the command line reads the text of a rule: there is none for selectors."""
    try:
        return registry.parse(as_text(rule)) == rule
    except ValueError as error:
        assert "with plain numbers and texts" in str(error)
        return False


WRITTEN = [rule for rule in FIRST if is_read(rule)]


def ranges(rule: Rule) -> dict[str, Range]:
    """A range for each number, from 0.8 of it to itself, which the rule accepts."""
    return {
        path: Range(*ends)
        for path in number_paths(rule)
        if (ends := sorted((0.8 * read(rule, path), read(rule, path))))[0] != ends[1]
    }


@every_rule
def test_a_space_draws_all_numbers_of_a_recipes_rule(rule: Rule) -> None:
    recipe, found = replace(ALONE, {"rule": rule}), ranges(rule)
    if not found:
        return
    of_recipe = {f"rule.{path}": allowed for path, allowed in found.items()}
    space = Space(recipe, of_recipe)
    for source in (
        optuna.trial.FixedTrial({path: one.low for path, one in of_recipe.items()}),
        keras_tuner.HyperParameters(),
    ):
        drawn = space.fill(source).rule
        assert type(drawn) is type(rule) and {path: read(drawn, path) for path in found} == {
            path: pytest.approx(one.low) for path, one in found.items()
        }


def test_a_space_and_a_hypermodel_choose_among_all_rules() -> None:
    space = Space(ALONE, {"rule": Choice(tuple(FIRST))})
    hp = keras_tuner.HyperParameters()
    assert space.fill(hp).rule == FIRST[0]
    (choice,) = hp.space
    assert sorted(choice.values) == sorted(map(repr, FIRST))
    for rule in FIRST:
        hp.values["rule"] = repr(rule)
        assert space.fill(hp).rule == rule
    hp.values["rule"] = repr(FIRST[-1])
    assert HyperModel(ALONE, space.ranges).build(hp).optimizer.rule == FIRST[-1]


@pytest.mark.parametrize("rule", WRITTEN)
def test_a_hypermodel_of_ones_own_draws_all_numbers(rule: Rule) -> None:
    hp, found = keras_tuner.HyperParameters(), ranges(rule)
    drawn = tuning.optimizer(hp, kinds=(as_text(rule),), numbers=found).rule
    assert type(drawn) is type(rule)
    assert {path: read(drawn, path) for path in found} == {path: pytest.approx(one.low) for path, one in found.items()}


@pytest.mark.parametrize("rule", WRITTEN)
def test_the_command_line_takes_it_and_its_fields(rule: Rule) -> None:
    """A number by its option, for those that the path reaches without a nested rule."""
    text = as_text(rule)
    assert registry.parse(text) == rule
    assert command_line(Command(ALONE), quick={}, args=["--rule", text]).of.rule == rule
    found = {path: allowed for path, allowed in ranges(rule).items() if path.count(".") == 0}
    options = [word for path, one in found.items() for word in (f"--rule.{path.replace('_', '-')}", repr(one.low))]
    given = command_line(Command(ALONE), quick={}, args=[f"--rule={text}", *options]).of.rule
    assert given == replace(rule, {path: one.low for path, one in found.items()})


def test_the_text_of_most_rules_is_read() -> None:
    assert len(WRITTEN) >= 0.8 * len(FIRST)


def test_the_command_line_takes_the_name_of_each_rule_that_needs_no_argument() -> None:
    for name in map(snake_case, kopt.optimizers.__all__):
        if name in registry:
            assert command_line(Command(ALONE), quick={}, args=["--rule", name]).of.rule == registry.make(name)
