"""N replicas give the same model as one, whatever is turned on; one process a replica count, all cells in it.

A cell has several features, for a training of two features on replicas differs from one on a device when either does:
`replicas.TESTS` says which do not stand together. `recipes/benchmarks/replicas.py` trains each feature alone.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

FORKS = pathlib.Path(__file__).parent / "forks.py"
SCRIPT = pathlib.Path(__file__).parents[2] / "recipes" / "benchmarks" / "replicas.py"


def load():
    spec = importlib.util.spec_from_file_location("replicas", SCRIPT)
    sys.modules["replicas"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


replicas = load()
ON = {2: replicas.TESTS, 4: replicas.ON_FOUR}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the workers left."""
    place = str(tmp_path_factory.mktemp("replicas"))
    jobs = [[count, cells] for count, cells in (("4", "on four"), ("2", "tests"), ("1", "tests"), ("1", "one feature"))]
    jobs += [["1", "stock", "--stock"]]
    jobs = [["--worker", count, "--cells", cells, "--folder", place, *stock] for count, cells, *stock in jobs]
    command = [sys.executable, FORKS, SCRIPT, json.dumps(jobs)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    assert subprocess.run(command, env=environment, timeout=500).returncode == 0
    return place


def test_each_feature_and_optimizer_is_in_a_cell_on_several_replicas() -> None:
    cells = {name for cell in replicas.TESTS for name in cell.feature.split(" + ")}
    assert cells | {"step: micro 4"} == set(replicas.FEATURES)  # of which "step: micro 4, mask" has the setting
    assert {cell.optimizer for cell in replicas.TESTS} == set(replicas.OPTIMIZERS)
    assert replicas.PARTED <= cells and {cell.optimizer for cell in replicas.ON_FOUR} >= set(replicas.OPTIMIZERS)
    with pytest.raises(ValueError, match="^features must set kind once, got 'mask [+] compute_loss'"):
        replicas.settings("mask + compute_loss")


@pytest.mark.parametrize(
    ("count", "cell"), [pytest.param(count, cell, id=f"{count}-{cell.name}") for count in ON for cell in ON[count]]
)
def test_replicas_equal_one(count: int, cell, folder: str) -> None:
    one, several = (replicas.results(cell, number, folder) for number in (1, count))
    assert replicas.distance(one, several) <= cell.tolerance
    np.testing.assert_allclose(several[0], one[0], rtol=max(1e-5, cell.tolerance), err_msg="the losses in the history")


@pytest.mark.parametrize("cell", replicas.IN_KERAS, ids=lambda cell: cell.name)
def test_one_device_is_stock_fit_to_the_bit(cell, folder: str) -> None:
    ours, stock = replicas.results(cell, 1, folder), replicas.results(cell, 1, folder, stock=True)
    assert replicas.distance(ours, stock) == 0


@pytest.mark.parametrize("feature", ["step: micro 4", "step: micro 4, mask", "step: micro 4, loss of a batch"])
def test_micro_batches_equal_the_whole_batch(feature: str, folder: str) -> None:
    parts, whole = (
        replicas.Cell("adamw", True, feature),
        replicas.Cell("adamw", True, feature[14:].strip(" ,") or "plain"),
    )
    found = replicas.distance(replicas.results(parts, 1, folder), replicas.results(whole, 1, folder, stock=True))
    assert found <= 1e-6


def test_the_cells_that_are_compared_do_train(folder: str) -> None:
    """The counter-test: features change the weights, so that equal ones say something."""
    plain = replicas.results(replicas.Cell("adamw", True, "plain"), 1, folder)
    for feature in ("l2", "sample weights", "clipnorm", "step: adaptive", "ema overwriting", "attached penalties"):
        assert replicas.distance(plain, replicas.results(replicas.Cell("adamw", True, feature), 1, folder)) > 1e-4
