"""N replicas give the same model as one, whatever is turned on; one process a replica count, all cells in it."""

import concurrent.futures
import importlib.util
import pathlib
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "recipes" / "benchmarks" / "replicas.py"


def load():
    spec = importlib.util.spec_from_file_location("replicas", SCRIPT)
    sys.modules["replicas"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


replicas = load()
every_cell = pytest.mark.parametrize("cell", replicas.TESTS, ids=lambda cell: cell.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the workers left, two at a time, for two cores."""
    place = str(tmp_path_factory.mktemp("replicas"))
    beside = concurrent.futures.ThreadPoolExecutor(2)
    four_then_stock = beside.submit(run, place, (4, "tests", False), (1, "in keras", True))
    one_then_two = beside.submit(run, place, (1, "tests", False), (2, "tests", False))
    assert [four_then_stock.result(), one_then_two.result()] == [[0, 0], [0, 0]]
    return place


def run(place: str, *workers: tuple[int, str, bool]) -> list[int]:
    return [replicas.start(count, cells, place, stock).wait() for count, cells, stock in workers]


@every_cell
@pytest.mark.parametrize("count", [2, 4])
def test_replicas_equal_one(cell, count: int, folder: str) -> None:
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
