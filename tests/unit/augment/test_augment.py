"""What each augmentation does to numbers, and that a search reaches its fields."""

import numpy as np
import pytest
import tensorflow as tf

import kopt
from kopt import augment, data, models, schedules
from kopt.training import TrainStep
from kopt.tuning import Range, Space
from kopt.values.field_paths import paths, replace

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(1, 2, (400, 6, 5, 1)).astype("float32")


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """An image shifted by whole pixels, 0 where nothing was."""
    framed = np.pad(image, ((9, 9), (9, 9), (0, 0)))
    return framed[9 - down : 9 - down + image.shape[0], 9 - right : 9 - right + image.shape[1]]


def test_crops_are_shifts_by_whole_pixels_all_as_likely() -> None:
    found, _ = augment.Crop(1).make()(tf.constant(IMAGES), None)
    counts = np.zeros((3, 3), int)
    for image, crop in zip(IMAGES, np.asarray(found)):
        shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        which = [shift for shift in shifts if np.allclose(moved(image, *shift), crop)]
        assert len(which) == 1
        counts[which[0][0] + 1, which[0][1] + 1] += 1
    expected = len(IMAGES) / 9
    assert np.sum((counts - expected) ** 2 / expected) < 26.1  # chi squared, 8 degrees of freedom, p = 0.001


def test_mixed_images_and_shares_are_mixed_alike() -> None:
    y = np.arange(400) % 10
    x = np.broadcast_to(np.eye(10, dtype="float32")[y][:, :, None, None], (400, 10, 3, 1))
    mixed, shares = augment.MixUp(0.5).make()(tf.constant(x), tf.constant(y))
    np.testing.assert_allclose(np.asarray(mixed)[:, :, 0, 0], shares, atol=1e-6)
    np.testing.assert_allclose(np.sum(shares, 1), 1, atol=1e-6)
    assert np.mean(np.max(shares, 1) < 0.99) > 0.3


def test_jitter_and_token_dropout_have_their_size() -> None:
    noisy, _ = augment.Jitter(0.3).make()(tf.zeros((100, 200)), None)
    assert np.std(noisy) == pytest.approx(0.3, rel=0.02)
    tokens = RANDOM.integers(0, 50, (100, 200))
    dropped = np.asarray(augment.TokenDropout(0.2, token=99).make()(tf.constant(tokens), None)[0])
    words = tokens > 0
    assert np.mean(dropped[words] == 99) == pytest.approx(0.2, abs=0.01)
    kept = dropped != 99
    np.testing.assert_array_equal(dropped[kept], tokens[kept])
    np.testing.assert_array_equal(dropped[~words], 0)


def test_a_search_reaches_its_fields() -> None:
    recipe = kopt.Recipe(
        "digits",
        data.Digits(examples=60),
        augment=augment.Shift(0.1, 0.1).then(augment.Rotate(0.02)),
        model=models.MLP((8, 8, 1), 10),
        schedule=schedules.Cosine(0.01),
    )
    assert {"augment.height", "augment.width", "augment.second.turn"} <= set(paths(recipe))
    space = Space(recipe, {"augment.height": Range(0, 0.2), "augment.second.turn": Range(0, 0.1)})
    assert space.fill({"augment.height": 0.15, "augment.second.turn": 0.05}).augment == augment.Shift(0.15, 0.1).then(
        augment.Rotate(0.05)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augment.Crop(0), "padding must be >= 1, got 0."),
        (lambda: augment.Shift(1.5), "height must be in [0, 1], got 1.5."),
        (lambda: augment.Rotate(-0.1), "turn must be in [0, 1], got -0.1."),
        (lambda: augment.RandAugment(0), "operations must be >= 1, got 0."),
        (lambda: augment.MixUp(0), "alpha must be > 0, got 0.0."),
        (lambda: augment.Jitter(-1), "deviation must be >= 0, got -1.0."),
        (lambda: augment.TokenDropout(1), "share must be in [0, 1), got 1.0."),
        (lambda: augment.Crop(2).then(3), "second must be a Augmentation, got 3."),
        (lambda: augment.Crop(9).make()(tf.constant(IMAGES), None), "padding must be <= 5 for these images, got 9."),
    ],
)
def test_bad_arguments_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message


def test_a_step_takes_augmentations_alone(network) -> None:
    with pytest.raises(
        ValueError, match=r"^augment must be an augmentation, such as augment.Shift\(0.1\), got 'shift'"
    ):
        TrainStep(network(), augment="shift")


def test_replace_changes_the_second_one() -> None:
    both = augment.Crop(3).then(augment.MixUp(0.4))
    assert replace(both, {"second.alpha": 0.1, "padding": 1}) == augment.Crop(1).then(augment.MixUp(0.1))
