"""The log has one line a run about where the data lie and whether XLA compiles the step; a search has one in all."""

import logging

import numpy as np
import pytest

import kopt
from kopt.training import find_rate, fit
from kopt.training.execute.choices import log_choices, one_line
from kopt.tuning import HyperModel, Range, Tuner


@pytest.fixture
def lines(caplog):
    """Return how many lines of a level were logged since the last call, that are about engines, XLA or compiling."""
    caplog.set_level(logging.DEBUG, "kopt")

    def count(level: int) -> int:
        about = [one for one in caplog.records if one.getMessage().startswith(("engine: ", "jit: ", "compiled "))]
        found = sum(one.levelno == level for one in about)
        if level == logging.INFO:
            caplog.clear()
        return found

    return count


def test_each_fit_has_one_line_and_details_are_for_debugging(network, points, lines, caplog) -> None:
    model, how = network(), {"batch_size": 50, "validation_data": points, "verbose": 1}
    fit(model, *points, epochs=2, **how)
    (line,) = [one.getMessage() for one in caplog.records if one.levelno == logging.INFO]
    assert line.startswith("engine: resident, 100 examples in batches of 50; jit: False, XLA takes about ")
    assert lines(logging.DEBUG) >= 4 and lines(logging.INFO) == 1
    fit(model, *points, epochs=1, **how)
    assert lines(logging.INFO) == 1
    model.evaluate(*points, verbose=0)
    kopt.Loop(model).evaluate(*points, verbose=0)
    kopt.Loop(model).predict(points[0], verbose=0)
    assert lines(logging.INFO) == 0


def test_a_step_that_runs_eagerly_has_its_line_too(network, points, lines, caplog) -> None:
    fit(network(run_eagerly=True), *points, batch_size=50, verbose=0)
    assert "engine: stream, the model runs eagerly" in caplog.messages
    assert lines(logging.INFO) == 1


def test_a_sweep_of_rates_has_one_line(network, points, lines) -> None:
    find_rate(network(), *points, steps=10)
    assert lines(logging.INFO) == 1


@pytest.fixture(scope="module")
def recipe() -> kopt.Recipe:
    model = kopt.models.MLP((8, 8, 1), 10, units=(4,), scale=1 / 16)
    return kopt.Recipe("digits", kopt.data.Digits(examples=60), model=model, training=kopt.Training(epochs=1))


def test_a_search_has_one_line_and_not_one_a_trial(recipe, lines, tmp_path) -> None:
    hypermodel = HyperModel(recipe, {"schedule.rate": Range(1e-4, 1e-1, log=True)})
    Tuner(hypermodel, "val_loss", max_trials=2, directory=tmp_path).search(verbose=0)
    assert lines(logging.INFO) == 1


def test_a_run_prints_one_line(recipe, tmp_path, capsys) -> None:
    kopt.run(recipe, folder=tmp_path)
    printed = capsys.readouterr().out
    assert printed.count("engine: ") == printed.count("jit: ") == 1 and "compiled in" not in printed


def test_blocks_within_blocks_have_one_line(lines) -> None:
    with one_line():
        log_choices("engine: a")
        with one_line():
            log_choices("engine: b")
    log_choices("engine: c")
    assert lines(logging.DEBUG) == 1 and lines(logging.INFO) == 2


def test_a_line_after_an_error_is_not_lost(lines) -> None:
    with pytest.raises(ValueError), one_line():
        log_choices("engine: a")
        raise ValueError(np.nan)
    log_choices("engine: b")
    assert lines(logging.INFO) == 2
