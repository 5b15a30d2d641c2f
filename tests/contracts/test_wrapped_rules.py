"""What holds of every rule within every wrapper: no rule is named here."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from examples import NEUTRAL, RULES
from test_rules import lists, run

from kopt.rules import Rule, registry
from kopt.rules.base import cast
from kopt.values import from_json, number_paths, paths, read, replace, to_json


def wraps(kind: type[Rule]) -> bool:
    """Tell whether a registered rule is one around another."""
    return any(one.name == "of" and one.default is dataclasses.MISSING for one in dataclasses.fields(kind))


WRAPPERS = {name: kind for name, kind in registry.items() if wraps(kind)}


def accepted(wrapper: type[Rule], rule: Rule) -> bool:
    """Tell whether a wrapper takes a rule; one may refuse those with evaluation weights, in a sentence about `of`."""
    try:
        wrapper(rule)
    except ValueError as error:
        assert str(error).startswith("of must be ")
        return False
    return True


PLAIN = list({type(rule): rule for rule in reversed(RULES) if not wraps(type(rule))}.values())  # one of each class
every_pair = pytest.mark.parametrize(
    ("name", "rule"),
    [(name, rule) for name, kind in WRAPPERS.items() for rule in PLAIN if accepted(kind, rule)],
    ids=lambda one: repr(one).strip("'"),
)


@every_pair
def test_each_field_of_both_has_a_path_of_its_own(name: str, rule: Rule) -> None:
    wrapped = WRAPPERS[name](rule)
    own = [one.name for one in dataclasses.fields(wrapped) if one.name != "of"]
    assert not set(own) & set(paths(rule))
    assert set(paths(rule)) <= set(paths(wrapped))
    for path in number_paths(rule):
        changed = replace(wrapped, {path: read(rule, path)})
        assert changed == wrapped and read(changed, path) == read(rule, path)
    assert from_json(to_json(wrapped)) == wrapped


@every_pair
def test_three_updates_are_finite_and_keep_structure_shapes_and_dtypes(name: str, rule: Rule) -> None:
    wrapped = WRAPPERS[name](rule)
    assert wrapped.usual_rate > 0
    parameters = [tf.Variable(one) for one in lists(0)]
    bound = wrapped.bind(parameters)
    parameters = [tf.convert_to_tensor(one) for one in parameters]
    state = bound.init(parameters)
    assert [one.shape for one in bound.evaluate(state, parameters)] == [one.shape for one in parameters]
    for count in range(1, 4):
        updates, after = bound.update(lists(count), state, parameters, 0.01, count)
        tf.nest.assert_same_structure(state, after)
        for old, new in zip(tf.nest.flatten([parameters, state]), tf.nest.flatten([updates, after])):
            assert old.shape == new.shape and old.dtype == new.dtype and np.all(np.isfinite(new))
        parameters, state = [old + new for old, new in zip(parameters, updates)], after


@pytest.mark.parametrize(
    ("name", "rule"),
    [(name, rule) for name in NEUTRAL for rule in PLAIN if accepted(WRAPPERS[name], rule)],
    ids=lambda one: repr(one).strip("'"),
)
def test_with_neutral_numbers_it_is_the_wrapped_rule(name: str, rule: Rule) -> None:
    rate = 1.0 if rule.usual_rate >= 1 else 0.05
    bound, wrapped = (one.bind([tf.Variable(value) for value in lists(0)]) for one in (rule, NEUTRAL[name](rule)))
    for one, other in zip(run(wrapped, 3, rate), run(bound, 3, rate)):
        np.testing.assert_array_equal(one, other)


class Seen(Rule):
    """A rule that is bound, and whose weights for evaluation are others."""

    bound: bool = False
    has_evaluation_weights = True

    def bind(self, variables):
        return Seen(True)

    def init(self, parameters):
        return {"sum": tf.zeros(()), "of": [{"last": tf.zeros_like(one)} for one in parameters]}

    def update(self, gradients, state, parameters, rate, count):
        assert self.bound
        updates = [-one * cast(rate, one) for one in gradients]
        return updates, {"sum": state["sum"] + 1, "of": [{"last": one} for one in updates]}

    def evaluate(self, state, parameters):
        assert self.bound
        return [one + cast(state["sum"], one) for one in parameters]

    def restore(self, state, evaluated):
        assert self.bound
        return [one - cast(state["sum"], one) for one in evaluated]


@pytest.mark.parametrize("name", [name for name, kind in WRAPPERS.items() if accepted(kind, Seen())])
def test_the_wrapped_rule_is_bound_and_has_its_weights_for_evaluation(name: str) -> None:
    """Also within two wrappers."""
    for wrapped in (WRAPPERS[name](Seen()), WRAPPERS[name](WRAPPERS[name](Seen()))):
        parameters = lists(0)
        bound = wrapped.bind(parameters)
        _, state = bound.update(lists(1), bound.init(parameters), parameters, 0.1, 1)
        shown = bound.evaluate(state, parameters)
        for one, other in zip(shown, parameters):
            np.testing.assert_array_equal(one, other + 1)
        for one, other in zip(bound.restore(state, shown), parameters):
            np.testing.assert_allclose(one, other, atol=1e-6)
        assert wrapped.has_evaluation_weights and not WRAPPERS[name](PLAIN[0]).has_evaluation_weights
