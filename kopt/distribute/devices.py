"""Devices to train on: a tf.distribute strategy by its name, and the reason for the choice."""

import functools
from typing import NamedTuple

import tensorflow as tf

from kopt.distribute.cluster import described, multi_worker
from kopt.values.checks import require, unknown
from kopt.values.types import Strategy

__all__ = ["Chosen", "choose", "strategy"]


class Chosen(NamedTuple):
    """A strategy, and the devices that were found and chosen in words."""

    strategy: Strategy
    reason: str


# The ways to sum gradients over replicas, by name: between the GPUs of a machine, and between machines.
WITHIN = {
    "auto": None,
    "nccl": tf.distribute.NcclAllReduce,
    "hierarchical-copy": tf.distribute.HierarchicalCopyAllReduce,
    "one-device": tf.distribute.ReductionToOneDevice,
}
Implementation = tf.distribute.experimental.CommunicationImplementation
BETWEEN = {"auto": Implementation.AUTO, "nccl": Implementation.NCCL, "ring": Implementation.RING}


def choose(devices: str = "auto", *, collectives: str = "auto") -> Chosen:
    """Choose a strategy by the name of devices, and give the reason.

    Args:
        devices: "auto" (the workers that TF_CONFIG names, else every GPU, else the CPU), "cpu", "gpu" (the first one),
            "multi-gpu" (all GPUs of this machine), "multi-worker" (the cluster of TF_CONFIG or SLURM; choose it before
            TensorFlow runs an operation), or a list of logical devices, "gpu:0,gpu:2"; with "cpu:0,cpu:1" virtual CPU
            devices take the place of GPUs.
        collectives: The way to sum gradients. On one machine: "auto" (TensorFlow's choice), "nccl",
            "hierarchical-copy" or "one-device"; between machines: "auto", "nccl" or "ring".

    Returns:
        The strategy (TensorFlow's default strategy for one device) and the reason.

    Raises:
        ValueError: When a name is unknown, a device does not exist, or no cluster is described.
        RuntimeError: When "multi-worker" is chosen after TensorFlow has run an operation.

    Example:
        >>> choose("cpu").reason
        'cpu (asked for)'

    Source:
        TensorFlow guide, Distributed training with TensorFlow.
    """
    require(isinstance(devices, str), "devices", "must be a text", devices)
    known = isinstance(collectives, str) and collectives in WITHIN | BETWEEN
    require(known, "collectives", f"must be one of {sorted(WITHIN | BETWEEN)}", collectives)
    devices = devices.lower()
    # Workers must find each other before TensorFlow lists its devices.
    if devices == "multi-worker" or devices == "auto" and described() > 1:
        return clustered(collectives)
    gpus = tf.config.list_logical_devices("GPU")
    found = f"found {len(gpus)} GPU{'' if len(gpus) == 1 else 's'}"
    if devices == "auto":
        name = "cpu" if not gpus else "gpu" if len(gpus) == 1 else "multi-gpu"
        return Chosen(choose(name, collectives=collectives).strategy, f"{name} ({found})")
    if devices == "cpu":
        # Without a GPU the default strategy uses the CPU too, and costs less.
        cpu = tf.distribute.OneDeviceStrategy("CPU:0") if gpus else tf.distribute.get_strategy()
        return Chosen(cpu, "cpu (asked for)")
    if devices == "gpu":
        require(len(gpus) >= 1, "devices", f"must be there, and TensorFlow {found}", devices)
        return Chosen(tf.distribute.OneDeviceStrategy("GPU:0"), f"gpu (asked for, {found})")
    if devices == "multi-gpu":
        require(len(gpus) >= 2, "devices", f"must be there, and TensorFlow {found}", devices)
        return Chosen(mirrored(None, collectives), f"multi-gpu (asked for, {found})")
    return listed(devices, collectives)


def strategy(devices: str = "auto", *, collectives: str = "auto") -> Strategy:
    """Return the strategy that `choose` chooses.

    Args:
        devices: As for `choose`.
        collectives: As for `choose`.

    Returns:
        A `tf.distribute.Strategy`; build and compile the model in its `scope()`.

    Raises:
        ValueError: When a name is unknown, a device does not exist, or no cluster is described.

    Example:
        >>> strategy("cpu").num_replicas_in_sync
        1

    Source:
        TensorFlow guide, Distributed training with TensorFlow.
    """
    return choose(devices, collectives=collectives).strategy


def clustered(collectives: str) -> Chosen:
    require(collectives in BETWEEN, "collectives", f"must be one of {sorted(BETWEEN)} between workers", collectives)
    found, source = multi_worker(BETWEEN[collectives])
    resolver = found.cluster_resolver
    place = f"{resolver.task_type} {resolver.task_id}, {found.num_replicas_in_sync} replicas in all"
    return Chosen(found, f"multi-worker ({source}: {place})")


def listed(devices: str, collectives: str) -> Chosen:
    there = {
        f"{device.device_type}:{device.name.rsplit(':', 1)[1]}".lower() for device in tf.config.list_logical_devices()
    }
    names = [name.strip().lower() for name in devices.split(",")]
    require(len(names) == len(set(names)), "devices", "must be different ones", devices)
    for name in names:
        if name not in there:
            raise unknown("devices", name, {"auto", "cpu", "gpu", "multi-gpu", "multi-worker"} | there)
    reason = f"{','.join(names)} (asked for)"
    if len(names) == 1:
        return Chosen(tf.distribute.OneDeviceStrategy(names[0].upper()), reason)
    return Chosen(mirrored(tuple(name.upper() for name in names), collectives), reason)


@functools.cache
def mirrored(devices: tuple[str, ...] | None, collectives: str) -> Strategy:
    """Make the strategy of a set of devices, once: two over the same devices would disturb each other's collectives."""
    require(collectives in WITHIN, "collectives", f"must be one of {sorted(WITHIN)} on one machine", collectives)
    make = WITHIN[collectives]
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=make() if make else None)
