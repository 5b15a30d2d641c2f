"""Canaries: private APIs of fit behave as in Keras 3.15 and TensorFlow 2.21."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.training import Loop


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


def test_logs_become_numbers() -> None:
    assert internals.plain_logs({"a": tf.constant(1.5), "of b": {"b": np.float32(2)}}) == {"a": 1.5, "b": 2.0}


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


@pytest.mark.parametrize("loop", [False, True])
def test_the_loss_counts_the_examples_of_an_epoch(loop: bool, network, points) -> None:
    model = network()
    fit = Loop(model, jit=False).fit if loop else model.fit
    fit(*points, batch_size=30, epochs=2, verbose=0)
    assert float(internals.examples_counted(model).numpy()) == 100


def test_a_predict_function_is_keras_own_and_leaves_what_is_there(network, points) -> None:
    model = network()
    model.predict_function = "mine"
    outputs = internals.make_predict_function(model)([(tf.constant(points[0]),)])
    np.testing.assert_allclose(outputs, model(points[0]), atol=1e-6)
    assert model.predict_function == "mine"
