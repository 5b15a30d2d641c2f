"""Verdicts on labelled curves, and who tells them."""

import importlib.util
import pathlib
import sys

import numpy as np
import pytest

from kopt.callbacks import Diagnosis, diagnose
from kopt.training import Loop

SCRIPT = pathlib.Path(__file__).parents[3] / "recipes" / "benchmarks" / "diagnosis.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("diagnosis", SCRIPT)
    sys.modules["diagnosis"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_precision_and_recall_on_curves_that_the_rules_were_not_set_on(benchmark) -> None:
    random = np.random.default_rng(11)
    labelled = [(label, benchmark.synthetic(label, random)) for label in benchmark.LABELS for _ in range(25)]
    said = [(label, {one.finding for one in diagnose(curves)} or {"healthy"}) for label, curves in labelled]
    for label in benchmark.LABELS:
        told = [truth == label for truth, found in said if label in found]
        right = [label in found for truth, found in said if truth == label]
        assert np.mean(right) >= 0.8 and np.mean(told) >= 0.7, label


def test_what_cannot_be_told_is_not(benchmark) -> None:
    assert diagnose({"loss": [1.0, 5.0, 0.1]}) == []
    (verdict,) = diagnose({"loss": [1.0, float("nan")]})
    assert verdict.finding == "divergence" and "the loss is nan at the end" in verdict.evidence


def test_bad_histories() -> None:
    with pytest.raises(ValueError, match=r"history must hold a loss, got \['accuracy'\]"):
        diagnose({"accuracy": [1.0]})
    with pytest.raises(ValueError, match="history must have as many validation losses as losses"):
        diagnose({"loss": [1.0] * 8, "val_loss": [1.0] * 4})


@pytest.mark.parametrize("loop", [False, True])
def test_the_callback_says_it_in_plain_words(loop: bool, network, points, capsys) -> None:
    model = network("sgd")
    model.optimizer.learning_rate = 1e-5
    diagnosis = Diagnosis()
    fit = Loop(model, jit=False).fit if loop else model.fit
    fit(*points, epochs=10, verbose=0, callbacks=[diagnosis])
    assert [verdict.finding for verdict in diagnosis.verdicts] == ["rate too low"]
    assert "rate too low: the loss falls as fast at the end as before" in capsys.readouterr().out


def test_validation_that_is_not_there_every_epoch_is_left_out(network, points) -> None:
    diagnosis = Diagnosis(verbose=0)
    how = {"epochs": 10, "verbose": 0, "validation_data": points, "validation_freq": 3}
    network("sgd").fit(*points, callbacks=[diagnosis], **how)
    assert len(diagnosis.curves["val_loss"]) == 3


def test_validation_every_few_epochs_is_judged_where_it_was() -> None:
    falling = [1 / epoch for epoch in range(1, 21)]
    rising = [0.9, 0.6, 0.5, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75]
    diagnosis = Diagnosis(verbose=0)
    diagnosis.on_train_begin()
    for epoch, loss in enumerate(falling):
        validated = {"val_loss": rising[epoch // 2]} if epoch % 2 else {}
        diagnosis.on_epoch_end(epoch, {"loss": loss} | validated)
    diagnosis.on_train_end()
    (verdict,) = diagnosis.verdicts
    assert verdict.finding == "over-fitting" and "after epoch 8" in verdict.evidence
    without = Diagnosis(verbose=0)
    without.on_epoch_end(0, {"val_loss": 1.0})
    without.on_train_end()
    assert without.verdicts == []


FLAT = [2.0, 1.0, 0.5, 0.3, 0.2, 0.15, *[0.13] * 12]


def test_no_decay_is_advised_where_the_rate_has_ended_at_0() -> None:
    steps = np.arange(1, len(FLAT) + 1)
    cosine = 0.005 * (1 + np.cos(np.pi * steps / len(FLAT)))
    for rates, decay in (([0.01] * len(FLAT), True), (cosine.tolist(), False)):
        (verdict,) = diagnose({"loss": FLAT, "learning_rate": rates})
        assert verdict.finding == "plateau"
        assert ("a decay" in verdict.advice) is decay and ("ended near 0" in verdict.advice) is not decay


def test_the_callback_reads_the_rate() -> None:
    diagnosis = Diagnosis(verbose=0)
    diagnosis.on_train_begin()
    for epoch, loss in enumerate(FLAT):
        diagnosis.on_epoch_end(epoch, {"loss": loss, "learning_rate": 0.01 * (1 - (epoch + 1) / len(FLAT))})
    diagnosis.on_train_end()
    assert "ended near 0" in diagnosis.verdicts[0].advice


def test_a_loss_that_nearly_halves_in_the_last_third_is_no_plateau() -> None:
    loss = [2.3, 0.8, 0.3, 0.15, 0.1, 0.08, 0.065, 0.055, 0.048, 0.0405, 0.037, 0.034, 0.031, 0.028, 0.026, 0.0241]
    assert diagnose({"loss": loss}) == []
