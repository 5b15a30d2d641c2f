"""What holds of every augmentation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import AUGMENTATIONS

from kopt import augment
from kopt.augment import Augmentation
from kopt.tasks.losses import CrossEntropy
from kopt.tasks.metrics import Accuracy
from kopt.training import Loop, TrainStep

every_augmentation = pytest.mark.parametrize("value", AUGMENTATIONS)


def batch(value: Augmentation) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = random.integers(0, 10, 30)
    if isinstance(value, augment.TokenDropout):
        return random.integers(0, 9, (30, 12)), y
    return random.uniform(1, 16, (30, 8, 8, 1)).astype("float32"), y


@every_augmentation
def test_it_changes_each_batch_anew_and_keeps_its_shape(value: Augmentation) -> None:
    change, (x, y) = value.make(), batch(value)
    (one, targets), (other, _) = change(tf.constant(x), tf.constant(y)), change(tf.constant(x), tf.constant(y))
    assert one.shape == x.shape and len(targets) == len(y)
    assert not np.array_equal(one, x) and not np.array_equal(one, other)


@every_augmentation
def test_the_seed_rules_it(value: Augmentation) -> None:
    x, y = batch(value)
    found = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        found.append(np.asarray(value.make()(tf.constant(x), tf.constant(y))[0]))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def losses(value: Augmentation, augmented: bool, jit: bool) -> tuple[list[float], float]:
    """The losses of two epochs and of an evaluation, at a rate of zero."""
    (x, y), augmentation = batch(value), value if augmented else None
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(10)]
    if isinstance(value, augment.TokenDropout):
        layers.insert(0, keras.layers.Embedding(9, 4))
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
    model.compile(keras.optimizers.SGD(0.0), CrossEntropy(), metrics=[Accuracy()])
    weights = len(model.variables)
    loop = Loop(model, jit=jit, step=TrainStep(model, augment=augmentation))
    trained = loop.fit(x, y, epochs=2, batch_size=10, verbose=0, shuffle=False).history["loss"]
    assert len(model.variables) == weights
    return trained, loop.evaluate(x, y, verbose=0)["loss"]


@pytest.fixture(scope="module")
def plain():
    """Return the losses without augmentation: once for images, once for tokens, and once in XLA."""
    found = {}

    def of(value: Augmentation, jit: bool) -> tuple[list[float], float]:
        key = isinstance(value, augment.TokenDropout), jit
        if key not in found:
            found[key] = losses(value, False, jit)
        return found[key]

    return of


@pytest.mark.parametrize(("value", "jit"), [*((value, False) for value in AUGMENTATIONS), (augment.Jitter(0.2), True)])
def test_in_training_alone(value: Augmentation, jit: bool, plain) -> None:
    """The step trains on other examples than evaluation sees, and the model and its files know nothing of it.

    In XLA for one that XLA takes: it has no warped images and no gamma distribution.
    """
    (trained, evaluated), (stock, expected) = losses(value, True, jit), plain(value, jit)
    assert evaluated == expected
    assert trained != stock and trained[0] != trained[1]
