"""What holds of every rule in Keras' compile and fit: no rule is named here, and one fit is of all rules at once.

Features stand together: what is right with several of them is right with each.

- xla: MultiOptimizer, use_ema and gradients of few rows, which the bare rule gets dense, with jit_compile=True.
- mirrored: MultiOptimizer and gradients of few rows without XLA, on two devices.
- scaled: LossScaleOptimizer around MultiOptimizer around Decayed by a selector, with accumulated gradients.
"""

import os
import pathlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
from towers import TRAINED, by_hand, fitted, network, towers

HERE = pathlib.Path(__file__).parent
every_rule = pytest.mark.parametrize("number", range(len(TRAINED)), ids=[repr(rule)[:60] for rule in TRAINED])


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> subprocess.Popen:
    """The process of two devices, which runs beside the other fits."""
    out = tmp_path_factory.mktemp("mirrored") / "weights.npz"
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", str(HERE / "towers.py"), "mirrored", str(out)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def found(mirrored: subprocess.Popen) -> dict[str, list[list[np.ndarray]]]:
    """Feature -> the weights of each rule's tower."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = {f"{one} by hand": weights for one, weights in by_hand(TRAINED).items()}
        done |= {one: fitted(TRAINED, one) for one in ("scaled", "xla")}
    _, said = mirrored.communicate(timeout=500)
    assert mirrored.returncode == 0, said
    with np.load(mirrored.args[-1]) as arrays:
        count = len(done["xla"][0])
        done["mirrored"] = [[arrays[f"{tower}.{place}"] for place in range(count)] for tower in range(len(TRAINED))]
    return done


def distance(ones: list[np.ndarray], others: list[np.ndarray]) -> float:
    """The largest distance of a number, relative to the mean size of its tensor."""
    return max(float(np.abs(one - other).max() / np.abs(other).mean()) for one, other in zip(ones, others, strict=True))


@every_rule
@pytest.mark.parametrize("feature", ["xla", "mirrored", "scaled"])
def test_a_fit_is_the_bare_rule_whatever_is_turned_on(feature: str, number: int, found) -> None:
    by_hand = found[f"{feature} by hand"][number]
    assert distance(found[feature][number], by_hand) <= TOLERANCE * TRAINED[number].rounding


TOLERANCE = 1e-4


def test_the_weights_that_are_compared_do_move_and_features_matter(found) -> None:
    """The counter-test: equal ones say something. A rule may stand still at first, as a rectified one does."""
    start = [weight.numpy() for weight in towers(network(TRAINED[:1]), TRAINED[:1])[0]]
    still = []
    for rule, averaged, scaled in zip(TRAINED, found["xla"], found["scaled"]):
        assert distance(scaled, start) > 10 * TOLERANCE and distance(averaged, scaled) > 10 * TOLERANCE
        still += [rule] * all(np.array_equal(one, other) for one, other in zip(averaged, start))
    assert len(still) <= len(TRAINED) // 10
