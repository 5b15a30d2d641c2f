"""N replicas give the same model as one, an uneven last batch included; a process a replica count."""

import json
import pathlib

import numpy as np
import pytest

WORKER = str(pathlib.Path(__file__).with_name("replicas_worker.py"))


@pytest.fixture(scope="module")
def trained():
    return {}


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_equal_one(replicas: int, python, trained) -> None:
    for count in (1, replicas):
        if count not in trained:
            trained[count] = json.loads(python(WORKER, str(count)).stdout.splitlines()[-1])
    for case, (history, weights) in trained[1].items():
        many_history, many_weights = trained[replicas][case]
        for one, other in zip(weights, many_weights):
            np.testing.assert_allclose(other, one, atol=1e-6, err_msg=case)
        assert sorted(history) == sorted(many_history)
        for name, values in history.items():
            np.testing.assert_allclose(many_history[name], values, rtol=1e-5, err_msg=f"{case}: {name}")
