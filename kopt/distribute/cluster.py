"""The training cluster of this process, from TF_CONFIG or from SLURM."""

import functools
import json
import os

import tensorflow as tf

from kopt.values.checks import require
from kopt.values.types import Strategy

__all__ = ["described", "multi_worker"]


def described() -> int:
    """Return the number of workers that TF_CONFIG names.

    Returns:
        The number; 0 without a TF_CONFIG.

    Raises:
        ValueError: When TF_CONFIG names no workers, or does not name this process.

    Example:
        >>> described()
        0
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 0
    rule = 'must be JSON such as {"cluster": {"worker": ["host:port"]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        there = int(task["index"]) < len(cluster[task["type"]])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"TF_CONFIG {rule}, got {text}.") from None
    require(there, "TF_CONFIG", "must have its own task among the cluster's", text)
    return sum(len(cluster.get(kind, ())) for kind in ("chief", "worker"))


@functools.cache
def multi_worker(implementation: tf.distribute.experimental.CommunicationImplementation) -> tuple[Strategy, str]:
    """Make the strategy over all workers; TensorFlow allows one a process, so later calls return the first one.

    Args:
        implementation: A `tf.distribute.experimental.CommunicationImplementation`.

    Returns:
        The strategy, and the source of the cluster: "TF_CONFIG" or "SLURM".

    Raises:
        ValueError: When neither TF_CONFIG nor SLURM describes a cluster.
        RuntimeError: When TensorFlow has run an operation in this process before.

    Example:
        >>> multi_worker(tf.distribute.experimental.CommunicationImplementation.AUTO)
        Traceback (most recent call last):
        ValueError: devices must have TF_CONFIG or SLURM's step variables (srun) in the environment, ...
    """
    resolver: tf.distribute.cluster_resolver.ClusterResolver
    if described():
        resolver, source = tf.distribute.cluster_resolver.TFConfigClusterResolver(), "TF_CONFIG"
    else:
        slurm = "SLURM_STEP_NUM_TASKS" in os.environ
        rule = "must have TF_CONFIG or SLURM's step variables (srun) in the environment, or `kopt launch` around it"
        require(slurm, "devices", rule, "multi-worker")
        # TensorFlow's resolver divides by the number of GPUs: without any, pretend that each task has one.
        tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
        stand_ins = {"gpus_per_node": tasks, "gpus_per_task": 1, "auto_set_gpu": False}
        on_gpus = bool(tf.config.list_physical_devices("GPU"))
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(**({} if on_gpus else stand_ins))
        source = "SLURM"
    options = tf.distribute.experimental.CommunicationOptions(implementation=implementation)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver, communication_options=options)
    return strategy, source
