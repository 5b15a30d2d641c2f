"""Memory is free after each trial."""

import contextlib
import gc
import pathlib

import keras
import pytest
from examples import RECIPE
from searches import X, Y

from kopt import fields
from kopt.tuning import HyperModel, Range, Tuner, tuner as tuner_module


def resident() -> float:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def search_and_count(folder: pathlib.Path, trials: int) -> list[tuple[int, float]]:
    """Objects that are alive and resident megabytes after each trial of models with a traced program."""

    def traced(hp):
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(hp.Int("units", 50, 500)), keras.layers.Dense(1)]
        )
        model.compile("sgd", "mse", jit_compile=False)
        return model

    found: list[tuple[int, float]] = []

    class Counting(Tuner):
        def pre_create_trial(self):
            keras.backend.clear_session()
            gc.collect()
            found.append((len(gc.get_objects()), resident()))

    Counting(traced, "loss", max_trials=trials, sampler="random", directory=folder).search(X, Y, verbose=0)
    return found


def test_memory_is_free_after_each_trial(tmp_path) -> None:
    """Nothing of a trial stays but its record; 100 trials are measured by recipes/benchmarks/tuner_memory.py."""
    found = search_and_count(tmp_path, 25)
    assert found[25][1] < 1.1 * found[10][1]
    assert found[25][0] - found[10][0] < 15 * 100


@pytest.mark.parametrize(("jit", "trials"), [(False, 12), (True, 6)])
def test_memory_is_free_after_each_trial_of_a_recipe(jit: bool, trials: int, tmp_path) -> None:
    """Without XLA, of which TensorFlow frees no program: the second is the counter-test."""
    found: list[float] = []

    class Counting(Tuner):
        def on_trial_end(self, trial):
            super().on_trial_end(trial)
            keras.backend.clear_session()
            gc.collect()
            found.append(resident())

    hypermodel = HyperModel(fields.replace(RECIPE, {"augment": None}), {"schedule.rate": Range(1e-3, 0.1)}, jit=jit)
    Counting(hypermodel, "loss", max_trials=trials, sampler="random", directory=tmp_path).search(verbose=0)
    growth = (found[-1] - found[1]) / (trials - 2)
    assert growth > 8 if jit else growth < 5


def test_memory_is_not_free_with_tensorflow_alone(tmp_path, monkeypatch) -> None:
    """The counter-test: each traced optimizer leaves its graph in TensorFlow's registry of gradients."""
    monkeypatch.setattr(tuner_module, "forgetting_gradients", contextlib.nullcontext)
    found = search_and_count(tmp_path, 6)
    assert found[6][0] - found[3][0] > 3 * 500
