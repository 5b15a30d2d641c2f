"""Which devices a name stands for."""

import functools

import keras
import pytest
import tensorflow as tf

from kopt import distribute
from kopt.distribute.devices import mirrored

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


@pytest.mark.parametrize("by_keras", [False, True], ids=["kopt.fit", "model.fit"])
def test_one_mirrored_device_trains_as_the_plain_one_does(network, points, by_keras: bool) -> None:
    """Its optimizers reduce gradients by a merge_call, which must not be in the branch of a finite step."""
    from kopt.callbacks import SpikeGuard
    from kopt.training import fit

    histories = []
    for strategy in (tf.distribute.get_strategy(), mirrored(("CPU:0",), "auto")):
        with strategy.scope():
            model = network(keras.optimizers.Adam(0.01, global_clipnorm=0.1, use_ema=True, ema_overwrite_frequency=2))
        train = model.fit if by_keras else functools.partial(fit, model)
        arguments = {"epochs": 3, "shuffle": False, "verbose": 0, "callbacks": [SpikeGuard()]}
        histories.append(train(*points, **arguments).history["loss"])
    assert histories[1] == pytest.approx(histories[0], rel=1e-5)


def test_a_strategy_of_several_devices_is_made_once() -> None:
    """Two over the same devices in one process take each other's collectives."""
    assert mirrored(("CPU:0",), "auto") is mirrored(("CPU:0",), "auto")


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "{}",
        '{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": 3, "task": 1}',
    ],
)
def test_a_bad_cluster_is_refused(text: str, monkeypatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="^TF_CONFIG must"):
        distribute.choose("multi-worker")


def test_no_cluster_is_refused(monkeypatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="^devices must have TF_CONFIG or SLURM's step variables"):
        distribute.choose("multi-worker")


def test_how_replicas_add_up_is_chosen_by_name() -> None:
    with pytest.raises(ValueError, match="^collectives must be one of .*, got 'mpi'.$"):
        distribute.choose("cpu", collectives="mpi")
    with pytest.raises(ValueError, match="^collectives must be one of .* on one machine, got 'ring'.$"):
        mirrored(("CPU:0",), "ring")
    with pytest.raises(ValueError, match="^collectives must be one of .* between workers, got 'one-device'.$"):
        distribute.choose("multi-worker", collectives="one-device")
    strategy = mirrored(("CPU:0",), "hierarchical-copy")
    assert isinstance(strategy.extended._cross_device_ops, tf.distribute.HierarchicalCopyAllReduce)


def test_one_process_agrees_with_itself() -> None:
    strategy = tf.distribute.get_strategy()
    assert distribute.workers(strategy) == 1 and distribute.is_chief(strategy)
    assert distribute.over_workers(strategy, [1.5]) == [1.5] and distribute.text_from_chief(strategy, "ä") == "ä"
