"""Placement: DataSpec says what the data are, `place` decides where they live.

*Resident*: arrays lie on the device, a program gathers its batches in the graph. *Stream*: a tf.data iterator is
consumed inside the graph. Both are sources of chunks, which executors run.
"""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import keras
import tensorflow as tf

from kopt import keras_internals as internals
from kopt.distribute import workers
from kopt.training.feed.batches import is_optional, rows
from kopt.training.feed.chunks import LARGEST_BATCH, Arrays
from kopt.training.feed.class_weights import ClassWeight, Weigh, weighing
from kopt.training.feed.residents import ResidentSource, room_of
from kopt.training.feed.slices import arrays_of_slices
from kopt.training.feed.sources import Source
from kopt.training.feed.streams import StreamSource
from kopt.training.feed.validation import require_data, require_labels
from kopt.values.checks import require
from kopt.values.memory import available_bytes
from kopt.values.types import Batch, DataAdapter, Dataset, KerasModel, Nest, Phase, Strategy, Tensor

log = logging.getLogger("kopt")

Engine = Literal["auto", "resident", "stream"]
Jit = Literal["auto"] | bool
BatchSize = int | Literal["full"] | None
Shuffle = bool | Literal["batch"]

SHARE = 1 / 4  # of the free memory, for arrays on the device
GPU_BYTES = 2**30  # on a GPU, whose free memory TensorFlow does not show


@dataclass(frozen=True, eq=False)
class DataSpec:
    """The data of fit, evaluate or predict, and how they are to be cut into batches, epochs and chunks.

    Attributes:
        x: Inputs, as for fit.
        y: Targets, as for fit.
        sample_weight: As for fit.
        batch_size: As for fit, or "full".
        shuffle: As for fit.
        class_weight: As for fit.
        steps_per_epoch: As for fit.
        seed: The seed of the order of examples.
        engine: "auto", or the one to use.
        budget: Bytes of arrays that may lie on the device; None for a quarter of the free memory.
        chunk_steps: Steps a chunk, or None for as many as is fast.
        epochs: The number of epochs that are planned.
        epochs_per_chunk: The most epochs that a chunk may hold.
        buildable: Whether Keras can build the model from its call, as it can where the model's steps are Keras' own.
        phase: What the data are for. A worker may see only the shard of a dataset that its options ask for, but in
            predictions.
        name: The caller's name for x, in errors.
        steps_name: The caller's name for steps_per_epoch, in errors; None where a dataset without an end is allowed.
    """

    x: Nest
    y: Nest = None
    sample_weight: Nest = None
    _: KW_ONLY
    batch_size: BatchSize = None
    shuffle: Shuffle = False
    class_weight: ClassWeight = None
    steps_per_epoch: int | None = None
    seed: int = 0
    engine: Engine = "auto"
    budget: int | None = None
    chunk_steps: int | None = None
    epochs: int = 1
    epochs_per_chunk: int = 1
    buildable: bool = True
    phase: Phase = "train"
    name: str = "x"
    steps_name: str | None = None

    def cut(self, name: str, steps: int | None) -> "DataSpec":
        """Return the spec with epochs that are cut after so many steps, by the argument of this name."""
        return dataclasses.replace(self, steps_per_epoch=steps, steps_name=name)

    def planned(self, epochs: int, epochs_per_chunk: int = 1) -> "DataSpec":
        """Return the spec for so many epochs, of which a chunk may hold some."""
        return dataclasses.replace(self, epochs=max(0, epochs), epochs_per_chunk=epochs_per_chunk)

    @property
    def steps(self) -> int | None:
        """Steps after which an epoch is cut, by the caller or by Keras' debugging limit; None for no cut."""
        most = keras.config.max_steps_per_epoch()
        return min(self.steps_per_epoch or most, most) if most else self.steps_per_epoch

    def adapter(self) -> DataAdapter:
        """Return Keras' adapter; raise ValueError when the data are empty, or have no end and no cut."""
        require_data(self.name, self.x, self.y, self.sample_weight)
        size = None if self.batch_size == "full" else self.batch_size
        data, shuffle = (self.x, self.y, self.sample_weight), self.shuffle
        adapter = internals.data_adapter(*data, shuffle=shuffle, batch_size=size, steps_per_epoch=self.steps)
        endless = self.steps_name is not None and not self.steps and internals.is_endless(adapter)
        require(not endless, self.steps_name or self.name, "must be given for a dataset that has no end", None)
        require(adapter.num_batches != 0, self.name, "must not be empty", "0 examples")
        return adapter


def place(model: KerasModel, spec: DataSpec) -> Source:
    """Return the source of the data's chunks, resident or a stream; its `engine` says which, and why.

    Args:
        model: The model that is to see the data; it is built from them where it can be.
        spec: The data.

    Raises:
        ValueError: When the data are empty, have no end or bad labels, or cannot be resident where that is asked for.
    """
    adapter, weigh = spec.adapter(), weighing(spec.class_weight, output_names(model))
    arrays = arrays_for(spec, adapter, weigh, alone=workers(model.distribute_strategy) == 1)
    known = spec.batch_size != "full" or internals.is_of_arrays(adapter)
    require(known, "batch_size", "must be a number where the data are no arrays", spec.batch_size)
    if arrays and spec.buildable:
        internals.build(model, arrays.whole_batch)
        require_labels(model, keras.utils.unpack_x_y_sample_weight(arrays.data)[1])
    why = refusal(model, arrays, free_bytes() if spec.budget is None else spec.budget)
    require(spec.engine != "resident" or not why, "engine", f"must be 'stream' here: {why}", spec.engine)
    if arrays and spec.engine != "stream" and not why:
        source: Source = ResidentSource(
            arrays,
            spec.steps,
            spec.chunk_steps,
            epochs=spec.epochs,
            epochs_per_chunk=spec.epochs_per_chunk,
            room=room_of(arrays) if spec.phase == "train" else 1,
        )
        source.engine = f"resident, {arrays.examples} examples in batches of {arrays.batch_size}"
    else:
        source = stream_of(model, spec, adapter, arrays, weigh)
        source.engine = f"stream, {why or 'asked for'}"
    log.debug("engine: %s", source.engine)
    return source


def stream_of(
    model: KerasModel, spec: DataSpec, adapter: DataAdapter, arrays: Arrays | None, weigh: Weigh | None
) -> StreamSource:
    """Return the data as a stream: arrays in kopt's order, a dataset in its own."""
    if arrays and not internals.is_of_dataset(adapter):
        return streamed(arrays, adapter, spec)
    dataset = weighted(adapter.get_tf_dataset(), weigh)
    dataset = distributed(dataset, model.distribute_strategy) if spec.phase != "predict" else dataset
    if spec.buildable and isinstance(dataset, tf.data.Dataset):
        internals.build(model, dataset.element_spec)
    return StreamSource(
        dataset,
        adapter,
        adapter.num_batches,
        spec.steps,
        spec.chunk_steps,
        epochs=spec.epochs,
        looked_at=internals.looks_at_data_first(model),
    )


def output_names(model: KerasModel) -> Sequence[str]:
    """Return the names of a model's outputs; none of a subclassed model, which has no such attribute."""
    return list(getattr(model, "output_names", ()))


def arrays_for(spec: DataSpec, adapter: DataAdapter, weigh: Weigh | None, *, alone: bool) -> Arrays | None:
    """Return the data as tensors, or None when they must be a stream; a cluster's workers are not alone."""
    if isinstance(spec.x, tf.data.Dataset):
        if spec.engine == "resident":
            return read(adapter, spec.seed, weigh)
        wanted = alone and spec.engine == "auto"
        return arrays_of_slices(spec.x, weigh, spec.phase) if wanted else None
    if spec.shuffle == "batch":
        return None
    return arrays_of(adapter, spec.batch_size, bool(spec.shuffle), spec.seed, weigh)


def arrays_of(
    adapter: DataAdapter, batch_size: BatchSize, shuffle: bool, seed: int, weigh: Weigh | None
) -> Arrays | None:
    """Return the data as tensors, or None when they are no dense arrays of numbers."""
    data = internals.tensors(adapter) if internals.is_of_arrays(adapter) else None
    if data is None or any(leaf.dtype == tf.string for leaf in tf.nest.flatten(data) if leaf is not None):
        return None
    examples = next(leaf for leaf in tf.nest.flatten(data) if leaf is not None).shape[0]
    size = examples if batch_size == "full" else min(batch_size or adapter.batch_size, LARGEST_BATCH)
    return Arrays(weigh(data) if weigh else data, size, shuffle, seed)


def weighted(dataset: Dataset, weigh: Weigh | None) -> Dataset:
    """Return a dataset's batches with the weights of their classes."""
    if weigh is None:
        return dataset
    whole = isinstance(dataset, tf.data.Dataset)
    require(whole, "class_weight", "must be None where a strategy has distributed the dataset", type(dataset).__name__)
    several = isinstance(dataset.element_spec, tuple)
    return dataset.map((lambda *data: weigh(data)) if several else weigh).prefetch(tf.data.AUTOTUNE)


def read(adapter: DataAdapter, seed: int, weigh: Weigh | None) -> Arrays | None:
    """Return a dataset's elements as arrays in its order.

    Raises:
        ValueError: When the dataset has no known end, or batches of different sizes (the last one may be short).
    """
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
    """Return the default byte budget for resident arrays."""
    if tf.config.list_logical_devices("GPU"):
        return GPU_BYTES
    return int(available_bytes() * SHARE)


def refusal(model: KerasModel, arrays: Arrays | None, budget: int) -> str:
    """Return why the data cannot be resident, empty when they can."""
    if arrays is None:
        return "the data are no dense arrays of numbers"
    if model.run_eagerly:
        return "the model runs eagerly"
    size = sum(leaf.dtype.size * leaf.shape.num_elements() for leaf in arrays.leaves)
    return f"{size} bytes are more than {budget}" if size > budget else ""


def streamed(arrays: Arrays, adapter: DataAdapter, spec: DataSpec) -> StreamSource:
    """Return a stream of arrays in kopt's order."""
    variable = tf.Variable(arrays.order(0), trainable=False)

    def batch(number: Tensor) -> Batch:
        rows = variable[number * arrays.batch_size : (number + 1) * arrays.batch_size]
        return tf.nest.map_structure(lambda leaf: None if leaf is None else tf.gather(leaf, rows), arrays.data)

    batches = tf.data.Dataset.range(arrays.batches).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return StreamSource(
        batches.prefetch(tf.data.AUTOTUNE),
        adapter,
        arrays.batches,
        spec.steps,
        spec.chunk_steps,
        epochs=spec.epochs,
        ordered=(arrays, variable),
    )


def distributed(dataset: Dataset, strategy: Strategy) -> Dataset:
    """Return TensorFlow's shards of a dataset if its options ask for them, else the dataset, to be split by batch."""
    if not isinstance(dataset, tf.data.Dataset):
        return dataset
    policies = tf.data.experimental.AutoShardPolicy
    policy = dataset.options().experimental_distribute.auto_shard_policy
    sharded = policy in (policies.FILE, policies.DATA, policies.HINT) and workers(strategy) > 1
    return strategy.experimental_distribute_dataset(dataset) if sharded else dataset
