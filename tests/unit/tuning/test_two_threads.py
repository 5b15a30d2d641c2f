"""Searches in two threads of a process."""

import concurrent.futures
import pathlib

import keras
import pytest

from kopt import Recipe, Training, data, models
from kopt.tuning import HyperModel, Range, Tuner


def test_a_search_that_is_refused_in_another_thread_leaves_the_running_one_alone(tmp_path: pathlib.Path) -> None:
    model = models.MLP((8, 8, 1), 10, units=(4,), scale=1 / 16)
    recipe = Recipe("digits", data.Digits(examples=60), model=model, training=Training(epochs=1, batch_size=30))
    refused = list[str]()

    class Twice(HyperModel):
        def fit(self, hp: object, model: keras.Model, *args: object, **named: object) -> object:
            with concurrent.futures.ThreadPoolExecutor(1) as other, pytest.raises(ValueError) as error:
                other.submit(tuner.search, verbose=0).result()
            refused.append(str(error.value))
            return super().fit(hp, model, *args, **named)

    ranges = {"schedule.rate": Range(1e-3, 1e-1, log=True)}
    tuner = Tuner(Twice(recipe, ranges, jit=False), "val_loss", 2, sampler="random", directory=str(tmp_path))
    tuner.search(verbose=0)
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE", "COMPLETE"]
    assert refused and all("search() must be called by one thread of a process" in text for text in refused)
