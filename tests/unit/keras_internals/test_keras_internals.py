"""Canaries: each private API that kopt uses still does what it did in Keras 3.15 and TensorFlow 2.21."""

import concurrent.futures
import copy
import random

import h5py
import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from kopt import keras_internals as internals
from kopt import rules
from kopt.keras_internals.resuming import (
    build_optimizers,
    called_last,
    optimized_places,
    random_states,
    seed_states,
    seeds_made,
    set_random_states,
)
from kopt.keras_internals.tuning import (
    DrawnHyperParameters,
    StudyOracle,
    TrialTuner,
    forgetting_gradients,
    infer_direction,
)
from kopt.optimizers import Optimizer
from kopt.state.knob import Knob
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


def test_what_a_layer_holds_saves_its_own_arrays(tmp_path) -> None:
    """They are under the layer's attribute in any of Keras' files, and a file without them leaves all as it is."""

    class Counted(internals.SavedState):
        def __init__(self):
            self.count, self.knob = 0.0, Knob(1.0)

        def save_own_variables(self, store):
            store["count"] = np.asarray(self.count)

        def load_own_variables(self, store):
            self.count = float(np.asarray(store["count"])) if "count" in store.keys() else -1.0

    model, other = (keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")]) for _ in range(2))
    other.save_weights(tmp_path / "bare.weights.h5")
    model.layers[0].held, other.layers[0].held = Counted(), Counted()
    model.layers[0].held.count = 3.0
    model.save_weights(tmp_path / "held.weights.h5")
    with h5py.File(tmp_path / "held.weights.h5") as file:
        assert list(file["layers/dense/held"]) == ["vars"]  # nothing inside it is looked into
    for name, count in (("held", 3.0), ("bare", -1.0)):
        other.load_weights(tmp_path / f"{name}.weights.h5")
        assert other.layers[0].held.count == count
    assert copy.copy(other.layers[0].held).count == -1.0


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


def test_an_adapter_says_what_its_data_are() -> None:
    x, y = np.ones((4, 1)), np.ones(4)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, place):
            return x[:2], y[:2]

    def adapted(data):
        return internals.data_adapter(data, None, None, shuffle=False)

    endless = [internals.is_endless(adapted(data)) for data in (dataset, dataset.repeat(), x, Batches(workers=2))]
    assert endless == [False, True, False, False]
    assert not internals.is_endless(adapted(dataset.repeat().filter(lambda *_: True)))
    assert internals.is_of_dataset(adapted(dataset)) and not internals.is_of_dataset(adapted(Batches()))
    assert internals.is_of_py_dataset(adapted(Batches())) and not internals.is_of_py_dataset(adapted(x))
    known = [internals.is_data(data) for data in (dataset, Batches(), (pair for pair in ()), x, [1.0], "text")]
    assert known == [True, True, True, False, False, False]
    assert internals.are_arrays({"a": x}, [y], None) and not internals.are_arrays([1.0], None, None)


def test_only_a_model_of_a_strategy_looks_at_the_data_first(network) -> None:
    with tf.distribute.OneDeviceStrategy("cpu:0").scope():
        inside = network()
    assert internals.looks_at_data_first(inside) and not internals.looks_at_data_first(network())


def test_sparse_targets_are_labels_and_how_many_classes_there_are() -> None:
    inputs = keras.Input((2,))
    outputs = {name: keras.layers.Dense(3, name=name)(inputs) for name in "ab"}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    specs = tf.TensorSpec([4, 2]), {"a": tf.TensorSpec([4, 3]), "b": tf.TensorSpec([4], "int64")}, None
    targets = {"a": tf.ones((4, 3)), "b": tf.constant([0, 1, 2, 9])}
    for made, given in ((outputs, targets), (list(outputs.values()), list(targets.values()))):
        model = keras.Model(inputs, made)
        model.compile("sgd", {"a": "mse", "b": loss})
        internals.build(model, (specs[0], specs[1] if made is outputs else list(specs[1].values()), None))
        ((labels, classes, ignored),) = internals.sparse_targets(model, given)
        assert labels.tolist() == [0, 1, 2, 9] and classes == 3 and ignored == -1


def test_a_built_optimizer_knows_its_weights(network) -> None:
    one, other = network("adam"), network(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
    assert not internals.unknown_weights(one.optimizer, other.trainable_weights)
    for model in (one, other):
        model.optimizer.build(model.trainable_weights)
    assert not internals.unknown_weights(other.optimizer, other.trainable_weights)
    assert internals.unknown_weights(other.optimizer, one.trainable_weights) == one.trainable_weights


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


def test_only_an_update_writes_a_live_rate_and_tells_that_it_is_one() -> None:
    class Owner:
        steers = True

    optimizer, other = keras.optimizers.SGD(0.5, gradient_accumulation_steps=2), keras.optimizers.SGD(0.5)
    optimizer.build([weight := keras.Variable(0.0)])
    rate = internals.install_rate(optimizer, lambda updates: tf.cast(updates, "float32") + 1.0, Owner())

    @tf.function
    def step():
        optimizer.apply([tf.ones(())], [weight])
        return tf.convert_to_tensor(optimizer.learning_rate)  # of the next update

    with internals.updates_seen([optimizer, other]) as seen:
        assert [float(step()) for _ in range(3)] == [1.0, 2.0, 2.0]
    assert float(rate) == 1.0 and float(optimizer.learning_rate) == 1.0  # the one that was used
    assert seen and all(one is optimizer for one in seen) and rate.used
    assert internals.applied_gradients(optimizer) == 3 and int(optimizer.iterations) == 1
    assert internals.applied_gradients(keras.optimizers.LossScaleOptimizer(optimizer)) == 3


def test_optimizers_are_found_by_their_attributes(network) -> None:
    model, mine, more = network(), keras.optimizers.SGD(), [keras.optimizers.Adam(), keras.optimizers.Adam()]
    model.mine, model.more, model.named, model._hidden = mine, more, {"a": [keras.optimizers.SGD()]}, mine
    assert list(internals.optimizers_of(model, False)) == ["optimizer"]
    assert list(internals.optimizers_of(model, True)) == ["optimizer", "mine", "more[0]", "more[1]", "named[a][0]"]
    assert internals.held_optimizers(model).keys() - internals.optimizers_of(model, True).keys() == {"_hidden"}
    assert internals.optimizers_of(model, False, "mine") == {"mine": mine}
    with pytest.raises(ValueError, match=r"^optimizer must be an optimizer of the model, of \['mine', "):
        internals.optimizers_of(model, False, "yours")
    with pytest.raises(ValueError, match="^model must be compiled, or have an optimizer as an attribute, got "):
        internals.optimizers_of(keras.Sequential([keras.layers.Dense(1)]), False)


def test_the_optimizers_within_another_are_found_with_all_their_variables(network) -> None:
    adam, sgd = keras.optimizers.Adam(), keras.optimizers.SGD()
    scaler = keras.optimizers.LossScaleOptimizer(adam)
    several = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(sgd, {".*bias": adam}))
    assert internals.optimizers_within(adam) == [adam] and internals.rated_optimizers(scaler) == [adam]
    assert internals.optimizers_within(scaler) == [scaler, adam]
    for model in (network(scaler), network(several)):
        model.optimizer.build(model.trainable_variables)
        inside = internals.optimizers_within(model.optimizer)[1:]
        known = {id(variable) for variable in model.optimizer.variables}
        assert inside and all(id(variable) in known for one in inside for variable in one.variables)
    assert internals.optimizers_within(several)[1:] == internals.rated_optimizers(several)
    assert {id(one) for one in internals.rated_optimizers(several)} == {id(adam), id(sgd)}


def test_functions_without_a_seed_draw_by_one_global_generator() -> None:
    keras.utils.clear_session()
    before = random.getstate()
    assert internals.global_seeds() == [] and random.getstate() == before  # to ask makes none
    keras.random.normal((1,))
    (seed,) = internals.global_seeds()
    start = seed.numpy()
    first = keras.random.normal((3,)).numpy()
    assert (seed.numpy() != start).any()
    seed.assign(start)
    np.testing.assert_array_equal(keras.random.normal((3,)), first)


def test_weights_are_there_where_all_layers_are_built() -> None:
    class WithoutCall(keras.Model):
        def __init__(self):
            super().__init__()
            self.body = keras.layers.Dense(1)

    model = WithoutCall()
    assert not internals.has_weights(model) and not internals.has_weights(keras.Sequential([keras.layers.Dense(1)]))
    model.body.build((None, 2))
    assert internals.has_weights(model) and not model.built


def test_epochs_without_improvement_are_counted_as_keras_counts(network, points) -> None:
    class Lowered(internals.PlateauCallback):
        def lower_rates(self, epoch):
            lowered.append(epoch)
            return True

    losses, how = [3.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0], {"monitor": "loss", "patience": 2, "cooldown": 1}
    lowered: list[int] = []
    ours, theirs = Lowered(**how), keras.callbacks.ReduceLROnPlateau(**how, factor=0.5)
    rates = []
    for one in (ours, theirs):
        one.set_model(network(keras.optimizers.SGD(1.0)))
    theirs.on_train_begin()
    for epoch, loss in enumerate(losses):
        ours.count(epoch, loss)
        theirs.on_epoch_end(epoch, {"loss": loss})
        rates.append(float(theirs.model.optimizer.learning_rate))
    assert lowered == [epoch for epoch in range(1, 7) if rates[epoch] < rates[epoch - 1]] and len(lowered) == 2


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
    with pytest.raises(ValueError, match="learning_rate must be a number in an optimizer whose rate is to be set"):
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
    class Attempts(TrialTuner):
        def attempt(self, trial, *args, **kwargs):
            self.oracle.update_trial(trial.trial_id, {"loss": 1.0})
            trial.status = "COMPLETED"

    class Two(StudyOracle, keras_tuner.oracles.RandomSearchOracle):
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


def test_optimizers_are_built_for_what_they_updated(network) -> None:
    def two():
        model = network()
        model.others = {"first": keras.optimizers.Adam(), "second": keras.optimizers.SGD(momentum=0.9)}
        return model

    model = two()
    chosen = model.trainable_variables[1:3]
    model.others["first"].build(chosen)
    assert optimized_places(model) == {"others[first]": [1, 2]}
    again = two()
    build_optimizers(again, {"others[first]": [1, 2], "optimizer": None})
    built = [[one.shape for one in each.others["first"].variables] for each in (model, again)]
    assert built[0] == built[1]
    assert again.optimizer.built and not again.others["second"].built


def test_random_numbers_go_on_from_their_states() -> None:
    keras.utils.set_random_seed(1)

    def draw():
        return [random.random(), np.random.rand(), float(keras.random.uniform(())), float(tf.random.uniform(()))]

    draw()
    states = random_states()
    first = draw()
    assert draw() != first
    set_random_states(states)
    assert draw() == first


def test_seeds_are_found_in_models_and_beside_them() -> None:
    with seeds_made() as made:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5)])
        beside = keras.random.SeedGenerator(3)
    keras.random.SeedGenerator(4)
    states = seed_states(model, made)
    assert len(states) == 2 and states[1] is beside.state and states[0] is model.layers[0].seed_generator.state


def test_a_callback_is_called_last_and_knows_the_others(network) -> None:
    last, other = keras.callbacks.Callback(), keras.callbacks.Callback()
    with called_last(last):
        found = keras.callbacks.CallbackList([last, other], add_history=True, model=network())
        assert found.callbacks[-1] is last and last.beside == found.callbacks[:2] and last.beside[0] is other
    assert keras.callbacks.CallbackList([last, other], model=network()).callbacks[0] is last


# XLA


def test_operations_that_xla_can_compile_are_listed() -> None:
    names = internals.compilable_operations()
    assert {"MatMul", "StatelessRandomUniformV2", "While", "ResourceGather"} <= names
    assert not {"StringSplitV2", "PyFunc", "EagerPyFunc", "LookupTableFindV2", "IteratorGetNext", "PrintV2"} & names


def test_the_compiler_says_what_it_refuses_and_runs_nothing() -> None:
    count = tf.Variable(0.0)

    def step(x):
        count.assign_add(1.0)
        return tf.reshape(x, [2, -1])

    traced = tf.function(step).get_concrete_function(tf.TensorSpec([None]))
    tf.random.set_seed(1)
    expected = tf.random.uniform([])
    tf.random.set_seed(1)
    assert internals.compiler_refusal(traced, [tf.TensorSpec([4])]) == ""
    assert "requires a multiple of 2" in internals.compiler_refusal(traced, [tf.TensorSpec([3])])
    assert float(count) == 0 and float(tf.random.uniform([])) == float(expected)


def test_compile_notes_what_it_was_told_about_jit(network) -> None:
    assert [internals.asked_jit(network(jit_compile=told)) for told in ("auto", True, False)] == [None, True, False]
    model = network()
    model.compile("sgd", "mse", None, None, None, False, 1, False)
    assert internals.asked_jit(model) is False and model.compile.__name__ == "compile"


def test_what_keras_objects_to_jit_is_said(network) -> None:
    model = network()
    assert internals.jit_objection(model) == ""
    model.layers[0].supports_jit = False
    assert internals.jit_objection(model) == f"{model.layers[0].name} has supports_jit=False"


def test_a_predict_function_is_keras_own_and_leaves_what_is_there(network, points) -> None:
    model = network()
    model.predict_function = "mine"
    outputs = internals.make_predict_function(model)([(tf.constant(points[0]),)])
    np.testing.assert_allclose(outputs, model(points[0]), atol=1e-6)
    assert model.predict_function == "mine"


def test_random_algorithms_are_threefry_in_a_step_for_xla_alone() -> None:
    def algorithms(draw) -> set[str]:
        traced = tf.function(draw).get_concrete_function()
        return {op.type for op in traced.graph.get_operations() if op.type == "StatelessRandomGetKeyCounter"}

    draw = lambda: tf.random.stateless_normal([2], [1, 2])

    def fast():
        with internals.fast_random():
            return tf.cond(tf.random.stateless_uniform([], [3, 4]) < 0.5, draw, draw)

    assert algorithms(draw) and not algorithms(fast)


@pytest.mark.parametrize("built", [False, True])
def test_sizes_of_batches_do_not_count_in_the_loss_of_each_output(built: bool) -> None:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, [keras.layers.Identity(name="a")(inputs), keras.layers.Identity(name="b")(inputs)])
    model.compile(loss=["mae", "mae"])
    lose = lambda size: model.compute_loss(y=[tf.fill([size, 2], float(size))] * 2, y_pred=[tf.zeros([size, 2])] * 2)
    if built:
        lose(3)
        model.reset_metrics()
    with internals.sizes_unknown(model):
        lose(3)
        lose(1)
    assert float(model.get_metrics_result()["a_loss"]) == 2
    model.reset_metrics()
    lose(3)
    lose(1)
    assert float(model.get_metrics_result()["a_loss"]) == 2.5
