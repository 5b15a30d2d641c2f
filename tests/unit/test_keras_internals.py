"""Canaries: each private hook that kopt leans on still does what it did in Keras 3.15 and TensorFlow 2.21."""

import concurrent.futures

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from kopt import keras_internals as internals
from kopt import rules
from kopt.keras_internals.tuning import (
    DrawnHyperParameters,
    HookedOracle,
    HookedTuner,
    forgetting_gradients,
    infer_direction,
)
from kopt.knobs import Knob
from kopt.optimizers import Optimizer
from kopt.training import Loop


def test_owned_variables_lists_each_weight_with_its_layer(network) -> None:
    model = network()
    assert [variable.name for variable, _ in internals.owned_variables(model)] == ["kernel", "bias", "kernel", "bias"]
    assert internals.owned_variables(model)[0][1] == (model.layers[0],)


def test_the_place_of_a_regularizer_is_an_attribute_of_its_layer() -> None:
    attention, depthwise = keras.layers.MultiHeadAttention(1, 2), keras.layers.DepthwiseConv2D(2)
    attention.build((None, 3, 2), (None, 3, 2))
    inner = attention._layers[0]
    assert internals.regularizer_place((attention, inner), "kernel") == (attention, "_kernel_regularizer")
    assert internals.regularizer_place((depthwise,), "kernel") == (depthwise, "depthwise_regularizer")
    assert internals.regularizer_place((inner,), "recurrent_kernel") == (inner, "recurrent_regularizer")
    assert hasattr(attention, "_kernel_regularizer") and hasattr(depthwise, "depthwise_regularizer")


def test_a_metric_is_put_into_the_logs_of_a_built_model_and_taken_out(network, points) -> None:
    model, count = network(), keras.metrics.Sum(name="count")
    internals.add_metric(model, count)
    assert sorted(model.fit(*points, verbose=0).history) == ["count", "loss", "mae"]
    internals.remove_metric(model, keras.metrics.Sum)
    model.train_function = None
    assert sorted(model.fit(*points, verbose=0).history) == ["loss", "mae"]


def test_weight_penalties_are_those_of_weights_alone(points) -> None:
    layer = keras.layers.Dense(2, kernel_regularizer="l2", activity_regularizer="l1")
    model = keras.Sequential([keras.Input((10,)), layer])
    model(points[0])
    assert len(model.losses) == 2 and len(internals.weight_penalties(model)) == 1


def test_build_makes_weights_metrics_and_optimizer(network) -> None:
    model = network("adam", with_input=False)
    assert not model.built
    internals.build(model, (np.ones((3, 10), "float32"), np.ones((3, 1), "float32"), None))
    assert model.built and model.optimizer.built and len(model.optimizer.variables) == 10
    assert [metric.name for metric in model.metrics] == ["loss", "compile_metrics"]


def test_own_steps_and_metrics_are_seen(network) -> None:
    class Own(keras.Sequential):
        def train_step(self, data):
            return {"loss": 0.0}

        def test_step(self, data):
            return {"loss": 0.0}

    class Metrics(keras.Sequential):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            return {"a": 1.0}

    assert internals.has_own_train_step(Own()) and internals.has_own_test_step(Own())
    assert not internals.has_own_train_step(Metrics()) and internals.has_own_metrics(Metrics())
    model = network()
    assert not internals.has_own_metrics(model) and not internals.has_own_test_step(model)
    model.train_step = lambda data: {}
    assert internals.has_own_train_step(model)


def test_a_program_resets_metrics_that_are_keras_own(network, points) -> None:
    class Counting(keras.metrics.Mean):
        def reset_state(self):
            super().reset_state()
            self.resets = getattr(self, "resets", 0) + 1

    model = network()
    model.evaluate(*points, verbose=0)
    assert internals.metrics_reset_in_graph(model)
    internals.add_metric(model, Counting(name="counted"))
    assert not internals.metrics_reset_in_graph(model)


def test_models_have_keras_trainer_and_plain_layers_do_not(network) -> None:
    assert internals.is_trainer(network())
    assert not internals.is_trainer(keras.layers.Dense(1))


def test_optimizers_that_clip_or_scale_or_are_a_users_own_may_hide_an_infinite_gradient() -> None:
    class Own(keras.optimizers.SGD):
        pass

    optimizers = keras.optimizers
    assert internals.keeps_infinity(optimizers.Adam()) and internals.keeps_infinity(Optimizer(rules.Adam()))
    hiding = [optimizers.SGD(clipnorm=1.0), optimizers.SGD(clipvalue=1.0), optimizers.SGD(global_clipnorm=1.0), Own()]
    for optimizer in [*hiding, optimizers.LossScaleOptimizer(optimizers.SGD())]:
        assert not internals.keeps_infinity(optimizer)


def test_an_unchecked_update_is_the_optimizers_own() -> None:
    weight, optimizer = keras.Variable([1.0]), keras.optimizers.SGD(0.5)
    optimizer.build([weight])
    internals.update_unchecked(optimizer, [tf.constant([1.0])], [weight])
    assert float(weight.numpy()[0]) == 0.5


def test_logs_become_numbers() -> None:
    assert internals.plain_logs({"a": tf.constant(1.5), "of b": {"b": np.float32(2)}}) == {"a": 1.5, "b": 2.0}


def test_a_model_without_the_training_argument_is_called_without() -> None:
    class Plain(keras.Model):
        def call(self, x):
            return x + 1

    assert float(internals.forward(Plain(), tf.zeros((1, 1)), training=True)[0, 0]) == 1


def test_an_adapter_says_whether_it_is_of_arrays(recwarn) -> None:
    x, y = np.ones((4, 2)), np.ones((4, 1))
    how = {"sample_weight": None, "batch_size": 2, "shuffle": True, "class_weight": None}
    adapter = internals.data_adapter(x, y, **how)
    found = [leaf.dtype.name for leaf in tf.nest.flatten(internals.tensors(adapter)) if leaf is not None]
    assert internals.is_of_arrays(adapter) and found == ["float32"] * 2
    dataset = internals.data_adapter(tf.data.Dataset.from_tensor_slices((x, y)).batch(2), None, **how)
    assert not internals.is_of_arrays(dataset) and dataset.num_batches == 2
    assert not internals.is_of_arrays(internals.data_adapter((pair for pair in [(x, y)]), None, **how))
    assert not recwarn.list
    with pytest.raises(ValueError, match="(?i)cardinality"):
        internals.data_adapter(x, y[:3], **how)


def test_a_weighted_adapter_holds_the_class_weights() -> None:
    how = {"sample_weight": None, "batch_size": 2, "shuffle": False, "class_weight": {0: 1.0, 1: 3.0}}
    data = internals.tensors(internals.data_adapter(np.ones((2, 1)), np.array([0, 1]), **how))
    np.testing.assert_array_equal(data[2], [1.0, 3.0])


def test_a_live_rate_is_called_at_each_update_and_saved_as_a_number() -> None:
    class Owner:
        runs_eagerly, steers = True, True

    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build([weight := keras.Variable(0.0)])
    variables = len(optimizer.variables)
    internals.install_rate(
        optimizer, lambda updates: 0.1 * (tf.cast(tf.convert_to_tensor(updates), "float32") + 1), Owner()
    )
    for expected in (-0.1, -0.3, -0.6):
        optimizer.apply([keras.ops.ones(())], [weight])
        assert float(weight.numpy()) == pytest.approx(expected)
    assert len(optimizer.variables) == variables
    assert optimizer.get_config()["learning_rate"] == pytest.approx(0.3)
    assert internals.installed_rate(optimizer) is optimizer._learning_rate


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("layer", [keras.layers.Dropout, keras.layers.SpatialDropout1D])
def test_dropout_reads_a_live_rate_and_saves_its_own(jit: bool, layer: type) -> None:
    dropout, rate = layer(0.3, seed=1), tf.Variable(0.0)
    internals.set_dropout(dropout, rate)
    drop = tf.function(lambda x: dropout(x, training=True), jit_compile=jit)
    for share in (0.0, 0.2, 0.8):
        rate.assign(share)
        dropped = drop(tf.ones((300, 2, 50))).numpy()
        assert np.mean(dropped == 0) == pytest.approx(share, abs=0.02)
        assert dropped.max() == pytest.approx(1 / (1 - share), rel=1e-5)
    assert layer.from_config(dropout.get_config()).rate == 0.3
    internals.set_dropout(dropout, None)
    assert type(dropout.rate) is float and dropout.rate == 0.3


def test_a_list_optimizer_updates_all_parameters_in_one_call() -> None:
    class Sum(internals.ListOptimizer):
        def compute(self, gradients, parameters, state, rate, count):
            return [
                None if gradient is None else parameter - rate * gradient * tf.cast(count, "float32")
                for parameter, gradient in zip(parameters, gradients)
            ], []

    one, other = keras.Variable(0.0), keras.Variable(0.0)
    optimizer = Sum(learning_rate=0.1)
    optimizer.build([one, other])
    optimizer.apply([keras.ops.ones(()), keras.ops.ones(())], [one, other])
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([keras.ops.ones(()), None], [one, other])
    assert float(one.numpy()) == pytest.approx(-0.3) and float(other.numpy()) == pytest.approx(-0.1)


@pytest.mark.parametrize("ending", ["model.keras", "model.weights.h5"])
def test_a_knob_on_an_optimizer_is_saved_and_a_file_without_it_keeps_it(ending: str, network, tmp_path) -> None:
    with_knob, without = network("adam"), network("adam")
    for model in (with_knob, without):
        model.optimizer.build(model.trainable_variables)
    with_knob.optimizer.kopt_knob = Knob(0.25)
    for model, name in ((with_knob, "with"), (without, "without")):
        path = str(tmp_path / (name + ending))
        model.save(path) if ending == "model.keras" else model.save_weights(path)
    target = network("adam")
    target.optimizer.build(target.trainable_variables)
    target.optimizer.kopt_knob = Knob(0.5)
    if ending == "model.keras":
        assert keras.saving.load_model(tmp_path / f"with{ending}").optimizer.built
        return
    target.load_weights(tmp_path / f"without{ending}")
    assert float(target.optimizer.kopt_knob) == 0.5
    target.load_weights(tmp_path / f"with{ending}")
    assert float(target.optimizer.kopt_knob) == 0.25
    without.load_weights(tmp_path / f"with{ending}")


def test_decay_comes_before_each_update_of_the_chosen_variables() -> None:
    optimizer, chosen, other = keras.optimizers.SGD(1.0), keras.Variable(2.0), keras.Variable(2.0)
    optimizer.build([chosen, other])
    internals.decay_before_updates(optimizer, [chosen], lambda: 0.25)
    optimizer.apply([keras.ops.ones(()), keras.ops.ones(())], [chosen, other])
    assert float(chosen.numpy()) == 0.5 and float(other.numpy()) == 1.0


def test_a_wrapping_optimizer_has_the_inner_ones_numbers() -> None:
    optimizer = internals.WrappingOptimizer(keras.optimizers.Adam(0.5, loss_scale_factor=4.0), "around")
    optimizer.build([weight := keras.Variable(1.0)])
    optimizer.learning_rate = 0.25
    optimizer.apply([keras.ops.ones(())], [weight])
    assert float(optimizer.inner_optimizer.learning_rate) == 0.25 and int(optimizer.iterations) == 1
    assert float(optimizer.scale_loss(2.0)) == 8.0 and optimizer.variables == optimizer.inner_optimizer.variables
    keras.optimizers.LossScaleOptimizer(optimizer)
    assert optimizer.inner_optimizer.loss_scale_factor is None  # as Keras wants it of what it wraps


def whole_batch(count: int, everything: int) -> internals.Portion:
    return internals.Portion(tf.constant(count), tf.constant(everything), lambda value: value)


def test_the_loss_of_the_whole_as_a_portion_is_keras_own(network, points) -> None:
    model = network(regularizer=keras.regularizers.L2(0.1))
    x, y = points
    prediction, weights = model(x), tf.constant(np.linspace(0, 1, 100), "float32")
    expected = internals.compute_loss(model, x, y, prediction, weights, training=True)
    found = internals.portion_loss(model, whole_batch(100, 100), x, y, prediction, weights, training=True)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    assert [float(one) for one in internals.denominators(model, y, prediction, weights)] == [100.0]


def test_a_mask_of_predictions_and_of_losses_is_counted() -> None:
    model = keras.Sequential([keras.Input((3, 2)), keras.layers.Masking(), keras.layers.Dense(4)])
    loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=3)
    model.compile("sgd", loss)
    x = np.ones((2, 3, 2), "float32")
    x[0, 2] = 0
    y = np.array([[0, 3, 1], [1, 2, 3]])
    found = internals.denominators(model, y, model(x), None)
    assert [float(one) for one in found] == [3.0]


def test_losses_that_layers_add_are_kept_by_thread() -> None:
    layer = keras.layers.ActivityRegularization(l2=1.0)
    model = keras.Sequential([keras.Input((2,)), layer])
    internals.separate_losses(model)
    model(np.ones((1, 2)))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(model, np.zeros((1, 2))).result()
        assert float(pool.submit(lambda: model.losses[0]).result()) == 0.0
    assert float(model.losses[0]) == 2.0


def test_what_an_update_by_reduced_gradients_leans_on(network, points) -> None:
    """Names in Keras' optimizers; what they do is tested by tests/equal/test_replicas.py."""
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=2)
    for name in ("_all_reduce_sum_gradients", "_overwrite_model_variables_with_average_value", "_apply_weight_decay"):
        assert callable(getattr(optimizer, name))
    scaler = keras.optimizers.LossScaleOptimizer(optimizer)
    assert callable(scaler._stateful_handle_finite_grads) and callable(scaler._stateful_handle_non_finite_grads)
    optimizer.build([weight := keras.Variable(1.0)])
    skips: list[int] = []
    internals.update(optimizer, [keras.ops.ones(())], [weight], tf.constant(False), lambda: skips.append(1))
    assert float(weight.numpy()) == 1.0 and skips == [1]
    internals.update(optimizer, [keras.ops.ones(())], [weight], tf.constant(True), lambda: skips.append(1))
    assert float(weight.numpy()) == pytest.approx(0.9) and skips == [1]
    assert internals.scale_of(keras.optimizers.SGD(loss_scale_factor=8.0)) == 8.0
    assert internals.scale_of(keras.optimizers.SGD()) == 1.0


@pytest.mark.parametrize("loop", [False, True])
def test_the_loss_counts_the_examples_of_an_epoch(loop: bool, network, points) -> None:
    model = network()
    fit = Loop(model, jit=False).fit if loop else model.fit
    fit(*points, batch_size=30, epochs=2, verbose=0)
    assert float(internals.examples_counted(model).numpy()) == 100


def test_the_variable_of_a_rate_is_what_the_optimizer_uses() -> None:
    optimizer = keras.optimizers.SGD(0.5)
    internals.rate_variable(optimizer).assign(0.25)
    weight = keras.Variable([1.0])
    optimizer.apply([keras.ops.ones(1)], [weight])
    assert float(weight.numpy()[0]) == 0.75 and float(optimizer.learning_rate) == 0.25
    scheduled = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5))
    with pytest.raises(ValueError, match="learning_rate must be a number in an optimizer to be swept"):
        internals.rate_variable(scheduled)


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


def test_trials_go_through_attempt_and_leave_no_files(tmp_path) -> None:
    class Attempts(HookedTuner):
        def attempt(self, trial, *args, **kwargs):
            self.oracle.update_trial(trial.trial_id, {"loss": 1.0})
            trial.status = "COMPLETED"

    class Two(HookedOracle, keras_tuner.oracles.RandomSearchOracle):
        pass

    oracle = Two("loss", max_trials=2, hyperparameters=keras_tuner.HyperParameters())
    oracle.hyperparameters.Int("x", 1, 100)
    oracle.verbose = 0
    tuner = Attempts(oracle, lambda hp: keras.Sequential([keras.layers.Dense(1)]), directory=tmp_path)
    tuner.search()
    assert [trial.score for trial in oracle.trials.values()] == [1.0, 1.0]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    model = tuner.fresh_model(keras_tuner.HyperParameters())
    model.build((None, 3))
    model.compile("sgd", "mse")
    tuner.save_build("0", model)
    again = tuner.fresh_model(keras_tuner.HyperParameters())
    again.compile("sgd", "mse")
    tuner.build_again("0", again)
    assert again.built and again.optimizer.built and tuner.checkpoint_file("0").endswith("checkpoint.weights.h5")
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


def test_losses_of_layers_are_measured_beside_those_that_are_there() -> None:
    """Keras collects a stateless scope's losses by the layers that added them, and leaves the others."""

    class Adding(keras.layers.Layer):
        def call(self, x):
            self.add_loss(keras.ops.sum(x))
            return x

    model = keras.Sequential([keras.Input((2,)), Adding(), keras.layers.Dense(1, kernel_regularizer="l2")])
    x = tf.ones((3, 2))
    model(x)
    assert internals.kinds_of_added(model, x, training=True) == ["sum"]
    assert float(model.losses[0]) == 6.0 and len(model.losses) == 2
