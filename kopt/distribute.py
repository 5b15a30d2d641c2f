"""Which devices to train on: a name in, a tf.distribute strategy and the reason out."""

import functools
from typing import Any, NamedTuple

import tensorflow as tf

from kopt.checks import require, unknown

__all__ = ["Chosen", "choose", "strategy"]


class Chosen(NamedTuple):
    """A strategy, and what was found and chosen, as a sentence."""

    strategy: Any
    reason: str


def choose(devices: str = "auto") -> Chosen:
    """Choose a strategy and say why.

    Args:
        devices: "auto" (every GPU there is, else the CPU), "cpu", "gpu" (the first), "multi-gpu" (all), or a list of
            logical devices, "gpu:0,gpu:2"; "cpu:0,cpu:1" lets virtual CPU devices stand in for GPUs.

    Returns:
        The strategy (TensorFlow's default where one device suffices) and the reason.

    Raises:
        ValueError: When the name is unknown or a device is not there.

    Example:
        >>> choose("cpu").reason
        'cpu (asked for)'

    Source:
        TensorFlow guide, Distributed training with TensorFlow.
    """
    require(isinstance(devices, str), "devices", "must be a text", devices)
    devices = devices.lower()
    gpus = tf.config.list_logical_devices("GPU")
    found = f"found {len(gpus)} GPU{'' if len(gpus) == 1 else 's'}"
    if devices == "auto":
        name = "cpu" if not gpus else "gpu" if len(gpus) == 1 else "multi-gpu"
        return Chosen(choose(name).strategy, f"{name} ({found})")
    if devices == "cpu":
        # Without a GPU the default strategy is the CPU already, and has less in its way.
        return Chosen(
            tf.distribute.OneDeviceStrategy("CPU:0") if gpus else tf.distribute.get_strategy(), "cpu (asked for)"
        )
    if devices == "gpu":
        require(len(gpus) >= 1, "devices", f"must be there, and TensorFlow {found}", devices)
        return Chosen(tf.distribute.OneDeviceStrategy("GPU:0"), f"gpu (asked for, {found})")
    if devices == "multi-gpu":
        require(len(gpus) >= 2, "devices", f"must be there, and TensorFlow {found}", devices)
        return Chosen(mirrored(None), f"multi-gpu (asked for, {found})")
    return listed(devices)


def strategy(devices: str = "auto") -> Any:
    """Give the strategy that `choose` chooses.

    Args:
        devices: As for `choose`.

    Returns:
        A `tf.distribute.Strategy`; build and compile the model in its `scope()`.

    Raises:
        ValueError: When the name is unknown or a device is not there.

    Example:
        >>> strategy("cpu").num_replicas_in_sync
        1

    Source:
        TensorFlow guide, Distributed training with TensorFlow.
    """
    return choose(devices).strategy


def listed(devices: str) -> Chosen:
    there = {
        f"{device.device_type}:{device.name.rsplit(':', 1)[1]}".lower() for device in tf.config.list_logical_devices()
    }
    names = [name.strip().lower() for name in devices.split(",")]
    require(len(names) == len(set(names)), "devices", "must be different ones", devices)
    for name in names:
        if name not in there:
            raise unknown("devices", name, {"auto", "cpu", "gpu", "multi-gpu"} | there)
    reason = f"{','.join(names)} (asked for)"
    if len(names) == 1:
        return Chosen(tf.distribute.OneDeviceStrategy(names[0].upper()), reason)
    return Chosen(mirrored(tuple(name.upper() for name in names)), reason)


@functools.cache
def mirrored(devices: tuple[str, ...] | None) -> Any:
    """One strategy a set of devices: the collectives of two over the same devices take each other's turns."""
    return tf.distribute.MirroredStrategy(devices)
