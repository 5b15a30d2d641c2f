"""The engine: where the data of an epoch live.

*Resident*: arrays lie on the device, a program gathers its batches in the graph. *Stream*: a tf.data iterator is
consumed inside the graph. Both give an epoch as stretches of steps, whose number is a runtime number, and
`program.Program` runs them.
"""

import logging
from typing import Any, Literal

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.checks import require
from kopt.distribute import workers
from kopt.training.sources import Resident, Source, Stream
from kopt.training.stretches import Arrays

log = logging.getLogger("kopt")

Engine = Literal["auto", "resident", "stream"]
Jit = Literal["auto"] | bool

BUDGET = 2**30  # bytes of arrays that may lie on the device


def source(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    engine: Engine,
    seed: int = 0,
    stretch: int | None,
    batch_size: Any = None,
    shuffle: Any = False,
    class_weight: Any = None,
    steps_per_epoch: int | None = None,
    buildable: bool = True,
    epochs: int = 1,
) -> Source:
    """Choose how an epoch's data come, and say why in the log.

    Args:
        model: The model that is to see them; it is built from them where it can be.
        x: Inputs, as for fit.
        y: Targets, as for fit.
        sample_weight: As for fit.
        engine: "auto" or what to use.
        seed: Of the order of examples.
        stretch: Steps a program call, or None for as many as is fast.
        batch_size: As for fit, or "full".
        shuffle: As for fit.
        class_weight: As for fit.
        steps_per_epoch: As for fit.
        epochs: How many epochs a stretch may hold.
        buildable: Whether Keras can build the model from its call, as it can where its steps are Keras' own.
    """
    full = batch_size == "full"
    how = {"shuffle": shuffle, "class_weight": class_weight, "batch_size": None if full else batch_size}
    adapter = internals.data_adapter(x, y, sample_weight, steps_per_epoch=steps_per_epoch, **how)
    arrays = None if shuffle == "batch" else arrays_of(adapter, batch_size, bool(shuffle), seed)
    known = internals.is_of_arrays(adapter)
    require(not full or known, "batch_size", "must be a number where the data are no arrays", batch_size)
    if arrays and buildable:
        internals.build(model, arrays.batch_spec(arrays.batch_size))
    why = refusal(model, arrays)
    require(engine != "resident" or not why, "engine", f"must be 'stream' here: {why}", engine)
    if engine != "stream" and not why:
        assert arrays is not None
        log.info("engine: resident, %d examples in batches of %d", arrays.examples, arrays.batch_size)
        return Resident(arrays, steps_per_epoch, stretch, epochs)
    log.info("engine: stream, %s", why or "asked for")
    if arrays:
        return streamed(arrays, adapter, steps_per_epoch, stretch)
    dataset = distributed(adapter.get_tf_dataset(), model.distribute_strategy)
    if buildable and isinstance(dataset, tf.data.Dataset):
        internals.build(model, dataset.element_spec)
    return Stream(dataset, adapter, adapter.num_batches, steps_per_epoch, stretch)


def arrays_of(adapter: Any, batch_size: Any, shuffle: bool, seed: int) -> Arrays | None:
    """The data as tensors, or None where they are no dense arrays of numbers."""
    data = internals.tensors(adapter) if internals.is_of_arrays(adapter) else None
    if data is None or any(leaf.dtype == tf.string for leaf in tf.nest.flatten(data) if leaf is not None):
        return None
    examples = next(leaf for leaf in tf.nest.flatten(data) if leaf is not None).shape[0]
    require(examples > 0, "x", "must not be empty", f"{examples} examples")
    return Arrays(data, examples if batch_size == "full" else batch_size or 32, shuffle, seed)


def refusal(model: Any, arrays: Arrays | None) -> str:
    """Why the data cannot be resident; empty where they can."""
    if arrays is None:
        return "the data are no dense arrays of numbers"
    if model.run_eagerly:
        return "the model runs eagerly"
    size = sum(leaf.dtype.size * leaf.shape.num_elements() for leaf in arrays.leaves)
    return f"{size} bytes are more than {BUDGET}" if size > BUDGET else ""


def streamed(arrays: Arrays, adapter: Any, steps_per_epoch: int | None, stretch: int | None) -> Stream:
    """A dataset over arrays in kopt's order."""
    variable = tf.Variable(arrays.order(0), trainable=False)

    def batch(number: Any) -> Any:
        rows = variable[number * arrays.batch_size : (number + 1) * arrays.batch_size]
        return tf.nest.map_structure(lambda leaf: None if leaf is None else tf.gather(leaf, rows), arrays.data)

    batches = tf.data.Dataset.range(arrays.batches).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    data = Stream(batches.prefetch(tf.data.AUTOTUNE), adapter, arrays.batches, steps_per_epoch, stretch)
    data.ordered = arrays, variable
    return data


def distributed(dataset: Any, strategy: Any) -> Any:
    """The dataset as it is, to be split batch by batch; TensorFlow's shards of it where its options ask for them."""
    if not isinstance(dataset, tf.data.Dataset):
        return dataset
    policies = tf.data.experimental.AutoShardPolicy
    policy = dataset.options().experimental_distribute.auto_shard_policy
    sharded = policy in (policies.FILE, policies.DATA, policies.HINT) and workers(strategy) > 1
    return strategy.experimental_distribute_dataset(dataset) if sharded else dataset
