"""Starting values as a function of the seed: the canary of what Keras draws when it builds a model."""

import keras
import numpy as np

from kopt.keras_internals import starts_recorded


def build() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            keras.layers.Embedding(9, 4),
            keras.layers.GRU(3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(2, kernel_initializer="he_normal", bias_initializer=keras.initializers.Constant(0.5)),
        ]
    )


def test_they_are_those_of_builds_from_each_seed() -> None:
    keras.utils.set_random_seed(0)
    with starts_recorded() as starts:
        model = build()
    assert len(starts.seeds) >= 5
    found = starts.of_seeds(model.variables, [0, 7, 3])
    for row, seed in enumerate((0, 7, 3)):
        keras.utils.set_random_seed(seed)
        for values, variable in zip(found, build().variables):
            np.testing.assert_array_equal(values[row], variable, err_msg=variable.path)
