"""What holds of every rule for a parameter whose gradients come later, and for one of half precision."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import RULES

from kopt.optimizers import Optimizer
from kopt.rules import Rule

NAMES = {"a/kernel": (3, 2), "a/bias": (2,), "b/kernel": (2, 3), "b/scale": (3,), "c/kernel": (3, 2)}
LATE = [name for name in NAMES if name.startswith("b")]


def rate_of(rule: Rule) -> float:
    """A rate at which a few updates are seen; a rule that finds its own has 1."""
    return 1.0 if rule.usual_rate >= 1 else 0.05


def variables(dtype: str = "float32") -> dict[str, keras.Variable]:
    found = {}
    for place, (name, shape) in enumerate(NAMES.items()):
        with keras.name_scope(name.partition("/")[0]):
            value = np.random.default_rng(place).normal(size=shape)
            found[name] = keras.Variable(value, name=name.partition("/")[2], dtype=dtype)
    return found


def apply(optimizer: Optimizer, given: dict[str, keras.Variable], names: list[str], seed: int) -> None:
    """One update with gradients of some variables; those of the others are None."""
    random = np.random.default_rng(seed)
    gradients = {name: tf.constant(random.normal(size=shape), given[name].dtype) for name, shape in NAMES.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gradients do not exist")
        optimizer.apply([gradients[name] if name in names else None for name in NAMES], list(given.values()))


def shares(optimizer: Optimizer) -> bool:
    """Whether a rule's numbers for one parameter depend on others: its state has numbers of no parameter."""
    pairs = zip(optimizer.state_variables, optimizer.state_places, strict=True)
    return any(place is None and "float" in variable.dtype for variable, place in pairs)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_parameter_begins_at_its_first_gradient(rule: Rule) -> None:
    """After three updates of the others it goes the way that it goes in a new optimizer, to the bits of a constant."""
    now, fresh = variables(), variables()
    optimizer, new = (Optimizer(rule, rate_of(rule)) for _ in range(2))
    for one, given in ((optimizer, now), (new, fresh)):
        one.build(list(given.values()))
    if shares(optimizer):
        pytest.skip("its parameters share numbers; tests/unit/optimizers/test_shared_state.py has those")
    start = {name: now[name].numpy() for name in LATE}
    for seed in range(3):
        apply(optimizer, now, [name for name in NAMES if name not in LATE], seed)
    for name in LATE:
        np.testing.assert_array_equal(now[name], start[name])
    for seed in range(3, 7):
        apply(optimizer, now, list(NAMES), seed)
        apply(new, fresh, list(NAMES), seed)
    for name in LATE:
        assert np.any(fresh[name] != start[name])
        tolerance = 1e-6 * rule.rounding
        np.testing.assert_allclose(now[name], fresh[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_half_precision_is_float32_that_is_rounded_after_each_update(rule: Rule) -> None:
    """Moments in bfloat16 would stand still: 0.999 is 1 there."""
    half, whole = variables("bfloat16"), variables()
    for name, one in half.items():
        whole[name].assign(keras.ops.cast(one, "float32"))
    optimizer, other = (Optimizer(rule, rate_of(rule)) for _ in range(2))
    for seed in range(4):
        apply(optimizer, half, list(NAMES), seed)
        random = np.random.default_rng(seed)
        rounded = [tf.cast(tf.constant(random.normal(size=shape), "bfloat16"), "float32") for shape in NAMES.values()]
        other.apply(rounded, list(whole.values()))
        for one in whole.values():
            one.assign(keras.ops.cast(keras.ops.cast(one, "bfloat16"), "float32"))
    for name, one in half.items():
        np.testing.assert_array_equal(keras.ops.cast(one, "float32"), whole[name], err_msg=name)
    for one, same in zip(optimizer.state_variables, other.state_variables, strict=True):
        assert one.dtype == same.dtype
        np.testing.assert_allclose(one, same, rtol=1e-6, atol=1e-7)
