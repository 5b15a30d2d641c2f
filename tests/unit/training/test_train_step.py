"""TrainStep: micro-batches, skipped steps, losses of every kind, in fit and in Loop."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kopt.augment import Jitter
from kopt.state import training_variables
from kopt.training import Loop, TrainStep, clips, skipped
from kopt.training.steps import evaluate


def fitted(model, points, *, loop: bool, epochs: int = 3, **step):
    """Train by a step of its own, in Loop or as train_step in plain fit."""
    step = TrainStep(model, **step)
    if loop:
        fit = Loop(model, jit=False, step=step).fit
    else:
        model.train_step, fit = step, model.fit
    return fit(*points, epochs=epochs, shuffle=False, verbose=0).history


def difference(one, other) -> float:
    return max(float(np.abs(left - right).max()) for left, right in zip(one.get_weights(), other.get_weights()))


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("micro_batches", [3])
def test_micro_batches_equal_whole_ones(loop: bool, micro_batches: int, network, points) -> None:
    """Uneven parts, an uneven last batch, penalties, metrics and the history included."""
    whole, parts = (network("adam", regularizer=keras.regularizers.L2(0.05)) for _ in range(2))
    expected = whole.fit(*points, epochs=3, shuffle=False, verbose=0).history
    found = fitted(parts, points, loop=loop, micro_batches=micro_batches)
    assert difference(whole, parts) <= 1e-6
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight", "sum_over_batch_size"])
def test_every_reduction_in_parts(reduction: str, network, points) -> None:
    weights = np.random.default_rng(1).uniform(size=100)
    whole, parts = network(), network()
    for model in (whole, parts):
        model.compile(keras.optimizers.SGD(1e-3), keras.losses.MeanSquaredError(reduction=reduction))
    how = {"epochs": 2, "shuffle": False, "verbose": 0, "sample_weight": weights}
    expected = whole.fit(*points, **how).history
    found = Loop(parts, jit=False, step=TrainStep(parts, micro_batches=3)).fit(*points, **how).history
    assert difference(whole, parts) <= 1e-6
    if reduction != "sum":
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)


def test_more_parts_than_examples(network, points) -> None:
    whole, parts = network(), network()
    few = [part[:5] for part in points]
    whole.fit(*few, verbose=0)
    fitted(parts, few, loop=False, epochs=1, micro_batches=8)
    assert difference(whole, parts) <= 1e-6 and np.isfinite(parts.get_weights()[0]).all()


def test_micro_batches_with_masks_weights_and_several_outputs() -> None:
    draw = np.random.default_rng(0)
    tokens = draw.integers(1, 9, (50, 6)) * (np.arange(6) < draw.integers(1, 7, 50)[:, None])
    targets = {"tags": draw.integers(0, 3, (50, 6)), "sum": tokens.sum(axis=1, keepdims=True).astype("float32")}
    weights = {"tags": draw.uniform(size=(50, 6)), "sum": draw.uniform(size=50)}

    def build():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,), dtype="int32")
        x = layers.GRU(5, return_sequences=True)(layers.Embedding(9, 4, mask_zero=True)(inputs))
        outputs = {
            "tags": layers.Dense(3, name="tags")(x),
            "sum": layers.Dense(1, name="sum")(layers.GlobalAveragePooling1D()(x)),
        }
        model = keras.Model(inputs, outputs)
        losses = {"tags": keras.losses.SparseCategoricalCrossentropy(True, reduction="mean_with_sample_weight")}
        model.compile("sgd", losses | {"sum": "mae"}, loss_weights={"tags": 1.0, "sum": 0.1})
        return model

    whole, parts = build(), build()
    how = {"epochs": 2, "batch_size": 16, "shuffle": False, "verbose": 0, "sample_weight": weights}
    expected = whole.fit(tokens, targets, **how).history
    found = Loop(parts, jit=False, step=TrainStep(parts, micro_batches=3)).fit(tokens, targets, **how).history
    assert difference(whole, parts) <= 1e-6
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)


def test_what_a_models_own_compute_loss_adds_is_a_mean_over_examples(points) -> None:
    class Own(keras.Sequential):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return 0.5 * super().compute_loss(x, y, y_pred, sample_weight) + keras.ops.mean(keras.ops.abs(y_pred))

    def build():
        keras.utils.set_random_seed(0)
        model = Own([keras.Input((10,)), layers.Dense(4, kernel_regularizer="l2"), layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    whole, parts = build(), build()
    whole.fit(*points, epochs=2, shuffle=False, verbose=0)
    fitted(parts, points, loop=False, epochs=2, micro_batches=3)
    assert difference(whole, parts) <= 1e-6


@pytest.mark.parametrize("clip", [clips.GlobalNorm(0.1), clips.Norm(0.05), clips.ClipValue(0.01)])
@pytest.mark.parametrize("micro_batches", [4])
def test_its_clip_is_that_of_keras_optimizers(clip: clips.GradientClip, micro_batches: int, network, points) -> None:
    name = {"GlobalNorm": "global_clipnorm", "Norm": "clipnorm", "ClipValue": "clipvalue"}[type(clip).__name__]
    theirs = network(keras.optimizers.SGD(0.1, **{name: clip.limit}))
    ours = network(keras.optimizers.SGD(0.1))
    theirs.fit(*points, epochs=3, shuffle=False, verbose=0)
    fitted(ours, points, loop=True, clip=clip, micro_batches=micro_batches)
    assert difference(theirs, ours) <= 1e-6


@pytest.mark.parametrize("loop", [False, True])
def test_a_scaled_loss_is_clipped_as_an_unscaled_one(loop: bool, network, points) -> None:
    plain = network(keras.optimizers.SGD(0.1))
    scaled = network(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=1024.0))
    fixed = network(keras.optimizers.SGD(0.1, loss_scale_factor=64.0))
    for model in (plain, scaled, fixed):
        fitted(model, points, loop=loop, clip=clips.GlobalNorm(0.1))
    assert difference(plain, scaled) <= 1e-6 and difference(plain, fixed) <= 1e-6


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "scaled"])
def test_a_step_that_is_not_finite_is_skipped_and_counted(loop: bool, optimizer: str, network, points) -> None:
    """As if the batch had not been there: moments, averages and iterations too."""

    def build():
        inner = keras.optimizers.Adam(0.01, use_ema=True)
        return network(
            keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0) if optimizer == "scaled" else inner
        )

    broken, clean = build(), build()
    x, y = points[0][:96], points[1][:96]
    bad = x.copy()
    bad[40] = np.inf
    fitted(broken, (bad, y), loop=loop, epochs=2)
    kept = np.r_[0:32, 64:96]
    fitted(clean, (x[kept], y[kept]), loop=loop, epochs=2)
    assert difference(broken, clean) == 0
    assert float(skipped(broken)) == 2 and float(skipped(clean)) == 0
    assert int(broken.optimizer.iterations) == 4
    if optimizer == "scaled":
        assert float(broken.optimizer.dynamic_scale.numpy()) == 2.0


def test_the_count_of_skipped_steps_is_in_the_log(network, points, caplog) -> None:
    model, bad = network(), points[0].copy()
    bad[40] = np.nan
    with caplog.at_level("WARNING", "kopt"):
        Loop(model, jit=False).fit(bad, points[1], batch_size=25, epochs=1, shuffle=False, verbose=0)
    assert caplog.messages == ["epoch 1: 1 step was skipped, for its gradient was not finite"]
    assert np.isfinite(model.get_weights()[0]).all()


def test_ragged_and_dictionary_inputs_in_parts() -> None:
    rows = tf.ragged.constant([[1, 2], [3], [4, 5, 6], [7]], dtype="int32")
    model = keras.Sequential([layers.Embedding(9, 3), layers.Lambda(lambda x: tf.reduce_mean(x, axis=1))])
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensor_slices((rows, np.ones((4, 3), "float32"))).batch(4)
    batch = next(iter(data))
    assert np.isfinite(float(TrainStep(model, micro_batches=2)(batch)["loss"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"micro_batches": 0}, "micro_batches must be a whole number >= 1, got 0."),
        ({"micro_batches": True}, "micro_batches must be a whole number >= 1, got True."),
        ({"clip": 1.0}, "clip must be a clip, such as GlobalNorm(1.0), got 1.0."),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str, network) -> None:
    with pytest.raises(ValueError) as caught:
        TrainStep(network(), **arguments)
    assert str(caught.value) == message


def test_keras_accumulation_beside_micro_batches_is_refused(network, points) -> None:
    model = network(keras.optimizers.SGD(0.1, gradient_accumulation_steps=4))
    with pytest.raises(ValueError, match="^gradient_accumulation_steps must be None .* micro_batches=4.*, got 4"):
        fitted(model, points, loop=True, micro_batches=2)


def test_an_unchecked_call_updates_by_any_gradient(network, points) -> None:
    """In a program that looks at its end whether all is finite; a call of the step skips the same update."""
    checked, unchecked = network("adam"), network("adam")
    steps = TrainStep(checked), TrainStep(unchecked)
    broken = points[0][:4] * np.inf, points[1][:4]
    for data in (tuple(part[:4] for part in points), broken):
        tf.function(steps[0], autograph=False)(data)
        tf.function(steps[1].unchecked, autograph=False)(data)
        if data is not broken:
            assert steps[0].needs_no_check() and difference(checked, unchecked) == 0
    assert float(skipped(checked)) == 1 and np.isfinite(checked.get_weights()[0]).all()
    assert float(skipped(unchecked)) == 0 and not np.isfinite(unchecked.get_weights()[0]).all()


def test_an_epoch_that_is_run_again_with_checks_draws_the_same_augmentations(network, points) -> None:
    """What a step holds besides the model is put back too before the check of each gradient is traced."""
    x = np.array(points[0])
    x[-1] = np.inf
    once, again = network(keras.optimizers.SGD(0.01)), network(keras.optimizers.SGD(0.01))
    for model, clip in ((once, clips.GlobalNorm(1e6)), (again, None)):
        keras.utils.set_random_seed(0)
        step = TrainStep(model, augment=Jitter(0.5), clip=clip)
        assert step.needs_no_check() is (clip is None)
        Loop(model, jit=True, step=step, seed=0).fit(x, points[1], batch_size=20, epochs=2, verbose=0)
    assert float(skipped(once)) == float(skipped(again)) == 2 and difference(once, again) <= 1e-6


def test_a_step_lists_what_no_model_or_optimizer_holds(network) -> None:
    model = network()
    assert TrainStep(model).variables == []
    seeds = TrainStep(model, augment=Jitter(0.1).then(Jitter(0.2))).variables
    assert len(seeds) == 2 and not {id(one) for one in seeds} & {id(one) for one in training_variables(model)}


def test_classes_of_earlier_names_still_work() -> None:
    with pytest.warns(DeprecationWarning, match=r"clips.Clip is now kopt.training.clips.GradientClip"):
        assert clips.Clip is clips.GradientClip
    with pytest.warns(DeprecationWarning, match="TestStep is now kopt.training.steps.evaluate.EvaluateStep"):
        assert evaluate.TestStep is evaluate.EvaluateStep
