"""Canaries: private APIs of models behave as in Keras 3.15 and TensorFlow 2.21."""

import copy

import h5py
import keras
import numpy as np

from kopt import keras_internals as internals
from kopt.state.knob import Knob


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


def test_models_have_keras_trainer_and_plain_layers_do_not(network) -> None:
    assert internals.is_trainer(network())
    assert not internals.is_trainer(keras.layers.Dense(1))


def test_weights_are_there_where_all_layers_are_built() -> None:
    class WithoutCall(keras.Model):
        def __init__(self):
            super().__init__()
            self.body = keras.layers.Dense(1)

    model = WithoutCall()
    assert not internals.has_weights(model) and not internals.has_weights(keras.Sequential([keras.layers.Dense(1)]))
    model.body.build((None, 2))
    assert internals.has_weights(model) and not model.built
