"""Canaries: private APIs of live numbers of layers and optimizers behave as in Keras 3.15 and TensorFlow 2.21."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import keras_internals as internals


def test_the_model_at_work_is_that_of_the_calls_under_way() -> None:
    """In Keras' fit, where the optimizer is built; nobody's where it is built by hand."""
    found = []

    class Asking(keras.optimizers.SGD):
        def build(self, variables):
            found.append(internals.model_at_work(self))
            super().build(variables)

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.LossScaleOptimizer(Asking()), "mse")
    model.fit(np.ones((1, 1)), np.ones((1, 1)), verbose=0)
    assert len(found) > 0 and all(one is model for one in found)

    def by_hand() -> None:
        Asking().build([keras.Variable(1.0)])

    found.clear()
    by_hand()
    assert found == [None]


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


def test_the_variable_of_a_rate_is_what_the_optimizer_uses() -> None:
    optimizer = keras.optimizers.SGD(0.5)
    internals.rate_variable(optimizer).assign(0.25)
    weight = keras.Variable([1.0])
    optimizer.apply([keras.ops.ones(1)], [weight])
    assert float(weight.numpy()[0]) == 0.75 and float(optimizer.learning_rate) == 0.25
    scheduled = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5))
    with pytest.raises(ValueError, match="learning_rate must be a number in an optimizer whose rate is to be set"):
        internals.rate_variable(scheduled)
