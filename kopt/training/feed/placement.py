"""The engine: where the data of an epoch live.

*Resident*: arrays lie on the device, a program gathers its batches in the graph. *Stream*: a tf.data iterator is
consumed inside the graph. Both give an epoch as stretches of steps, whose number is a runtime number, and
`program.Program` runs them.
"""

import logging
import os
from typing import Any, Literal

import keras
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.distribute import workers
from kopt.training.feed.batches import is_optional, rows
from kopt.training.feed.chunks import Arrays
from kopt.training.feed.class_weights import Weigh, weighing
from kopt.training.feed.sources import Resident, Source, Stream
from kopt.training.feed.validation import require_data, require_labels
from kopt.values.checks import require

log = logging.getLogger("kopt")

Engine = Literal["auto", "resident", "stream"]
Jit = Literal["auto"] | bool

SHARE = 1 / 4  # of the free memory, for arrays on the device
LARGEST_BATCH = 2**30  # programs count rows in 32 bits
GPU_BYTES = 2**30  # on a GPU, whose free memory TensorFlow does not tell


def source(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    engine: Engine,
    budget: int | None = None,
    seed: int = 0,
    stretch: int | None,
    batch_size: Any = None,
    shuffle: Any = False,
    class_weight: Any = None,
    steps_per_epoch: int | None = None,
    buildable: bool = True,
    epochs: int = 1,
    sharded: bool = True,
    name: str = "x",
    cut: str | None = None,
) -> Source:
    """Choose how an epoch's data come, and say why in the log.

    Args:
        model: The model that is to see them; it is built from them where it can be.
        x: Inputs, as for fit.
        y: Targets, as for fit.
        sample_weight: As for fit.
        engine: "auto" or what to use.
        budget: Bytes of arrays that may lie on the device; None for a quarter of the free memory.
        seed: Of the order of examples.
        stretch: Steps a program call, or None for as many as is fast.
        batch_size: As for fit, or "full".
        shuffle: As for fit.
        class_weight: As for fit.
        steps_per_epoch: As for fit.
        epochs: How many epochs a stretch may hold.
        sharded: Whether a worker may see the shard of a dataset that its options ask for, and not all of it.
        buildable: Whether Keras can build the model from its call, as it can where its steps are Keras' own.
        name: What the caller calls x.
        cut: What the caller calls steps_per_epoch; without a name, a dataset that has no end is taken too.
    """
    full, most = batch_size == "full", keras.config.max_steps_per_epoch()
    steps_per_epoch = min(steps_per_epoch or most, most) if most else steps_per_epoch
    how = {"shuffle": shuffle, "batch_size": None if full else batch_size, "steps_per_epoch": steps_per_epoch}
    adapter = adapted(x, y, sample_weight, name, cut, **how)
    weigh = weighing(class_weight, list(getattr(model, "output_names", ())))
    arrays = None if shuffle == "batch" else arrays_of(adapter, batch_size, bool(shuffle), seed, weigh)
    if engine == "resident" and isinstance(x, tf.data.Dataset):
        arrays = read(adapter, seed, weigh)
    known = internals.is_of_arrays(adapter)
    require(not full or known, "batch_size", "must be a number where the data are no arrays", batch_size)
    if arrays and buildable:
        internals.build(model, arrays.whole_batch)
        require_labels(model, keras.utils.unpack_x_y_sample_weight(arrays.data)[1])
    why = refusal(model, arrays, free_bytes() if budget is None else budget)
    require(engine != "resident" or not why, "engine", f"must be 'stream' here: {why}", engine)
    if engine != "stream" and not why:
        assert arrays is not None
        log.info("engine: resident, %d examples in batches of %d", arrays.examples, arrays.batch_size)
        return Resident(arrays, steps_per_epoch, stretch, epochs)
    log.info("engine: stream, %s", why or "asked for")
    if arrays:
        return streamed(arrays, adapter, steps_per_epoch, stretch)
    dataset = weighted(adapter.get_tf_dataset(), weigh)
    dataset = distributed(dataset, model.distribute_strategy) if sharded else dataset
    if buildable and isinstance(dataset, tf.data.Dataset):
        internals.build(model, dataset.element_spec)
    looked_at = internals.looks_at_data_first(model)
    return Stream(dataset, adapter, adapter.num_batches, steps_per_epoch, stretch, looked_at=looked_at)


def adapted(x: Any, y: Any, sample_weight: Any, name: str, cut: str | None, **how: Any) -> Any:
    """Return Keras' adapter of data that are neither empty nor, where they must be cut, without an end."""
    require_data(name, x, y, sample_weight)
    adapter = internals.data_adapter(x, y, sample_weight, **how)
    endless = cut is not None and not how["steps_per_epoch"] and internals.is_endless(adapter)
    require(not endless, cut or name, "must be given for a dataset that has no end", None)
    require(adapter.num_batches != 0, name, "must not be empty", "0 examples")
    return adapter


def arrays_of(adapter: Any, batch_size: Any, shuffle: bool, seed: int, weigh: Weigh | None) -> Arrays | None:
    """The data as tensors, or None where they are no dense arrays of numbers."""
    data = internals.tensors(adapter) if internals.is_of_arrays(adapter) else None
    if data is None or any(leaf.dtype == tf.string for leaf in tf.nest.flatten(data) if leaf is not None):
        return None
    examples = next(leaf for leaf in tf.nest.flatten(data) if leaf is not None).shape[0]
    size = examples if batch_size == "full" else min(batch_size or adapter.batch_size, LARGEST_BATCH)
    return Arrays(weigh(data) if weigh else data, size, shuffle, seed)


def weighted(dataset: Any, weigh: Weigh | None) -> Any:
    """Return a dataset's batches with the weights of their classes."""
    if weigh is None:
        return dataset
    whole = isinstance(dataset, tf.data.Dataset)
    require(whole, "class_weight", "must be None where a strategy has distributed the dataset", type(dataset).__name__)
    several = isinstance(dataset.element_spec, tuple)
    return dataset.map((lambda *data: weigh(data)) if several else weigh).prefetch(tf.data.AUTOTUNE)


def read(adapter: Any, seed: int, weigh: Weigh | None) -> Arrays | None:
    """A dataset's elements as arrays in its order, where it has an end and its batches are of one size but the last."""
    known = adapter.num_batches is not None
    require(known, "engine", "must be 'stream' here: the data have no end that is known", "resident")
    batches = list(adapter.get_tf_dataset())
    sizes = [int(rows(batch)) for batch in batches]
    even = all(size == sizes[0] for size in sizes[:-1]) and sizes[-1] <= sizes[0]
    require(even, "engine", "must be 'stream' here: the dataset's batches are of different sizes", "resident")
    whole = tf.nest.map_structure(lambda *leaves: None if is_optional(leaves[0]) else tf.concat(leaves, 0), *batches)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(whole)
    return arrays_of(internals.data_adapter(x, y, sample_weight, shuffle=False), sizes[0], False, seed, weigh)


def free_bytes() -> int:
    """How much of the device arrays may take where nobody says."""
    if tf.config.list_logical_devices("GPU"):
        return GPU_BYTES
    return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * SHARE)


def refusal(model: Any, arrays: Arrays | None, budget: int) -> str:
    """Why the data cannot be resident; empty where they can."""
    if arrays is None:
        return "the data are no dense arrays of numbers"
    if model.run_eagerly:
        return "the model runs eagerly"
    size = sum(leaf.dtype.size * leaf.shape.num_elements() for leaf in arrays.leaves)
    return f"{size} bytes are more than {budget}" if size > budget else ""


def streamed(arrays: Arrays, adapter: Any, steps_per_epoch: int | None, stretch: int | None) -> Stream:
    """A dataset over arrays in kopt's order."""
    variable = tf.Variable(arrays.order(0), trainable=False)

    def batch(number: Any) -> Any:
        rows = variable[number * arrays.batch_size : (number + 1) * arrays.batch_size]
        return tf.nest.map_structure(lambda leaf: None if leaf is None else tf.gather(leaf, rows), arrays.data)

    batches = tf.data.Dataset.range(arrays.batches).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset, ordered = batches.prefetch(tf.data.AUTOTUNE), (arrays, variable)
    return Stream(dataset, adapter, arrays.batches, steps_per_epoch, stretch, ordered=ordered)


def distributed(dataset: Any, strategy: Any) -> Any:
    """The dataset as it is, to be split batch by batch; TensorFlow's shards of it where its options ask for them."""
    if not isinstance(dataset, tf.data.Dataset):
        return dataset
    policies = tf.data.experimental.AutoShardPolicy
    policy = dataset.options().experimental_distribute.auto_shard_policy
    sharded = policy in (policies.FILE, policies.DATA, policies.HINT) and workers(strategy) > 1
    return strategy.experimental_distribute_dataset(dataset) if sharded else dataset
