"""Canaries: private APIs of KerasTuner behave as in Keras 3.15 and TensorFlow 2.21."""

import concurrent.futures

import keras
import keras_tuner
import numpy as np
from tensorflow.python.framework import ops

from kopt.keras_internals.tuning import (
    Blocks,
    DrawnHyperParameters,
    FilelessOracle,
    MultiObjective,
    TrialTuner,
    forgetting_gradients,
    infer_direction,
)


def test_a_hyperparameter_is_drawn_when_it_is_asked_for_by_kerastuners_own_methods() -> None:
    drawn: list[str] = []

    def draw(hp):
        drawn.append(hp.name)
        return hp.default

    hp = DrawnHyperParameters(draw, [keras_tuner.engine.hyperparameters.Int("given", 3, 4)])
    assert drawn == [] and hp.Int("given", 1, 2) == 3 and hp.get("given") == 3
    with hp.conditional_scope("given", [4]):
        assert hp.Int("inactive", 1, 2) is None
    hp.ensure_active_values()
    assert drawn == ["given"] and hp.values == {"given": 3}


def test_an_oracle_holds_several_objectives_in_one_that_has_their_directions() -> None:
    several = [keras_tuner.Objective("loss", "min"), keras_tuner.Objective("accuracy", "max")]
    found = FilelessOracle(several).objective
    assert isinstance(found, MultiObjective) and found.name_to_direction == {"loss": "min", "accuracy": "max"}
    assert not isinstance(FilelessOracle(several[0]).objective, MultiObjective)


def test_trials_go_through_attempt_and_leave_no_files(tmp_path) -> None:
    class Attempts(TrialTuner):
        def attempt(self, trial, *args, **kwargs):
            self.oracle.update_trial(trial.trial_id, {"loss": 1.0})
            trial.status = "COMPLETED"

    class Two(FilelessOracle, keras_tuner.oracles.RandomSearchOracle):
        pass

    oracle = Two("loss", max_trials=2, hyperparameters=keras_tuner.HyperParameters())
    oracle.hyperparameters.Int("x", 1, 100)
    oracle.verbose = 0

    def build(hp):
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("adam", "mse")
        return model

    tuner = Attempts(oracle, build, directory=tmp_path)
    tuner.search()
    assert [trial.score for trial in oracle.trials.values()] == [1.0, 1.0]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    model = tuner.fresh_model(keras_tuner.HyperParameters())
    model.fit(np.eye(3), np.ones(3), verbose=0)
    tuner.save_build("0", model, None)
    assert tuner.checkpoint_file("0").endswith("checkpoint.weights.h5")
    model.save_weights(tuner.checkpoint_file("0"))
    again = tuner.loaded("0", keras_tuner.HyperParameters(), symbolic=None)
    assert [one.numpy().tolist() for one in again.optimizer.variables] == [
        one.numpy().tolist() for one in model.optimizer.variables
    ]
    callback = keras.callbacks.TensorBoard(tmp_path / "logs")
    oracle.trials["0"].hyperparameters = keras_tuner.HyperParameters()
    copies = tuner.copied([callback], oracle.trials["0"], 1)
    assert copies[0] is not callback and str(copies[0].log_dir).endswith("0/execution1")


def test_gradients_that_traces_register_are_forgotten(network, points) -> None:
    registry = ops.gradient_registry
    before = set(registry.list())
    with forgetting_gradients():
        network("adam").fit(*points, verbose=0)
        assert any(name.startswith("CustomGradient-") for name in set(registry.list()) - before)
    assert set(registry.list()) == before
    assert infer_direction("val_accuracy") == "max" and infer_direction("val_niceness") is None


def test_gradients_that_another_thread_may_need_are_forgotten_when_it_ends() -> None:
    blocks, names = Blocks(), ["CustomGradient-mine", "CustomGradient-other"]
    there = lambda: [name for name in names if name in ops.gradient_registry.list()]
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        blocks.begin()
        ops.RegisterGradient(names[0])(lambda op, gradient: gradient)
        other.submit(blocks.begin).result()
        ops.RegisterGradient(names[1])(lambda op, gradient: gradient)
        blocks.end()
        assert there() == names
        other.submit(blocks.end).result()
    assert there() == [] and blocks.open == {}
