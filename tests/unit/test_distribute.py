"""Which devices a name stands for."""

import pytest
import tensorflow as tf

from kopt import distribute

needs_no_gpu = pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")


@needs_no_gpu
def test_auto_without_a_gpu_is_the_cpu() -> None:
    assert distribute.choose("auto").reason == "cpu (found 0 GPUs)"
    assert distribute.strategy() is tf.distribute.get_strategy()


@needs_no_gpu
@pytest.mark.parametrize("devices", ["gpu", "multi-gpu"])
def test_a_gpu_that_is_not_there_is_an_error(devices: str) -> None:
    with pytest.raises(ValueError) as caught:
        distribute.choose(devices)
    assert str(caught.value) == f"devices must be there, and TensorFlow found 0 GPUs, got {devices!r}."


def test_an_unknown_name_says_the_nearest() -> None:
    with pytest.raises(ValueError, match="^devices must be one of auto, cpu, .*, got 'gpus' .did you mean"):
        distribute.choose("gpus")
    with pytest.raises(ValueError, match="^devices must be one of auto, cpu, .*, got 'cpu:99'"):
        distribute.choose("cpu:0,cpu:99")


@pytest.mark.parametrize(
    ("devices", "message"),
    [(["cpu:0"], "devices must be a text, got ['cpu:0']."), ("cpu:0,cpu:0", "devices must be different ones, got")],
)
def test_bad_lists_are_refused(devices, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        distribute.choose(devices)
    assert str(caught.value).startswith(message)


def test_listed_devices() -> None:
    assert isinstance(distribute.strategy("cpu:0"), tf.distribute.OneDeviceStrategy)


@pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="needs a GPU")
def test_a_gpu_trains_as_the_cpu_does(network, points) -> None:
    from kopt.training import fit

    losses = []
    for devices in ("cpu", "gpu"):
        with distribute.strategy(devices).scope():
            model = network("adam")
        losses.append(fit(model, *points, epochs=3, shuffle=False, verbose=0).history["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_strategy_of_several_devices_is_made_once() -> None:
    """Two over the same devices in one process take each other's collectives."""
    assert distribute.mirrored(("CPU:0",)) is distribute.mirrored(("CPU:0",))
