"""Nothing of a trial stays but its record: what a search leaves is counted in objects, never in megabytes.

recipes/benchmarks/tuner_memory.py has the megabytes.
"""

import gc
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import pytest
from examples import RECIPE
from searches import X, Y
from tensorflow.python.eager.polymorphic_function.concrete_function import ConcreteFunction
from tensorflow.python.framework import ops
from tensorflow.python.framework.func_graph import FuncGraph

from kopt.tuning import HyperModel, Range, Tuner
from kopt.values import replace

KINDS = (FuncGraph, ConcreteFunction, keras.Model)


def alive() -> dict[str, int]:
    """The graphs, programs and models that are alive, and the gradients that TensorFlow has registered."""
    keras.backend.clear_session()
    gc.collect()
    objects = gc.get_objects()
    counts = {kind.__name__: sum(isinstance(one, kind) for one in objects) for kind in KINDS}
    return counts | {"objects": len(objects), "gradients": len(ops.gradient_registry.list())}


def search_and_count(hypermodel: Any, folder: pathlib.Path, trials: int, *data: Any) -> list[dict[str, int]]:
    """What is alive before each trial but the first, and after the last."""
    found: list[dict[str, int]] = []

    class Counting(Tuner):
        def on_trial_begin(self, trial: Any) -> None:
            found.append(alive())
            super().on_trial_begin(trial)

    tuner = Counting(hypermodel, "loss", max_trials=trials, sampler="random", directory=folder)
    tuner.search(*data, verbose=0)
    return [*found[1:], alive()]


def traced(hp: Any) -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(hp.Int("units", 50, 500)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    return model


def searched(jit: bool) -> Callable[[], Any]:
    recipe = replace(RECIPE, {"augment": None})
    return lambda: HyperModel(recipe, {"schedule.rate": Range(1e-3, 0.1)}, jit=jit)


@pytest.mark.parametrize(
    ("make", "trials", "data"),
    [(lambda: traced, 4, (X, Y)), (searched(False), 4, ()), (searched(True), 3, ())],
    ids=["model", "recipe", "recipe with XLA"],
)
def test_a_trial_leaves_no_model_graph_or_program(make: Callable[[], Any], trials: int, data: tuple, tmp_path) -> None:
    """With XLA, TensorFlow itself keeps compiled programs, outside of Python: the benchmark measures them."""
    found = search_and_count(make(), tmp_path, trials, *data)
    first, last = found[1], found[-1]
    for kind in (*(kind.__name__ for kind in KINDS), "gradients"):
        assert last[kind] <= first[kind], (kind, found)
    assert last["objects"] - first["objects"] < (trials - 2) * 100  # the trial's record in the study


def test_a_model_that_is_held_is_counted(tmp_path) -> None:
    """The counter-test: the count sees what a trial leaves."""
    held = []

    def leaving(hp: Any) -> keras.Model:
        held.append(traced(hp))
        return held[-1]

    found = search_and_count(leaving, tmp_path, 3, X, Y)
    assert found[-1]["Model"] - found[0]["Model"] >= 2 and found[-1]["FuncGraph"] > found[0]["FuncGraph"]
