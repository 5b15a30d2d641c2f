"""Every private hook of Keras and TensorFlow that kopt leans on, in one place; each has a canary test.

Nothing else in kopt may touch a private name. A hook is here because nothing public serves.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer, TFEpochIterator
from keras.src.losses.loss import unscale_loss_for_distribution
from keras.src.trainers.data_adapters import array_slicing, get_data_adapter
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.data_adapter_utils import unpack_x_y_sample_weight

from kopt.checks import require

# Models and their parameters

ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
# Keras names a layer's regularizer after the weight, without "kernel" where there are several.
REGULARIZERS = {
    "depthwise_kernel": "depthwise_regularizer",
    "pointwise_kernel": "pointwise_regularizer",
    "recurrent_kernel": "recurrent_regularizer",
}


def retrace(model: Any) -> None:
    """Make a model trace its train, test and predict functions anew at the next call."""
    model.train_function = model.test_function = model.predict_function = None


def owned_variables(model: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """Every weight a model can train, frozen ones included, with the layers around it; shared ones once.

    The last of the layers made the weight; the model itself is left out, but for weights of its own.
    """
    found: dict[int, tuple[Any, tuple[Any, ...]]] = {}
    seen: set[int] = set()

    def visit(layer: Any, around: tuple[Any, ...]) -> None:
        seen.add(id(layer))
        for variable in layer._trainable_variables:
            found.setdefault(id(variable), (variable, around or (layer,)))
        for inner in layer._layers:
            if id(inner) not in seen:
                visit(inner, (*around, inner))

    visit(model, ())
    return list(found.values())


def weight_penalties(model: Any) -> list[Any]:
    """The penalties of a model's regularized weights, those that are frozen left out."""
    return model._get_regularization_losses()


def add_metric(model: Any, metric: Any) -> None:
    """Put a metric into the logs of a model that is built already."""
    model._metrics.append(metric)


def remove_metric(model: Any, kind: type) -> None:
    """Take the metrics of a type out of a model's logs."""
    model._metrics[:] = [metric for metric in model._metrics if not isinstance(metric, kind)]


def regularizer_place(layers: Sequence[Any], name: str) -> tuple[Any, str]:
    """The layer and the attribute that a weight's regularizer is saved by, for a weight of the last of some layers.

    An attention layer saves one for all its kernels, a layer with an adapter one for its weight and the adapter.
    """
    layer = layers[-1]
    attention = [one for one in layers if isinstance(one, ATTENTION)]
    if attention:
        return attention[0], f"_{name}_regularizer"
    if name == "kernel" and hasattr(layer, "depthwise_regularizer"):
        return layer, "depthwise_regularizer"
    return layer, REGULARIZERS.get(name, f"{name}_regularizer")


def build(model: Any, batch: Any) -> None:
    """Build a model, its metrics and its optimizer from the shapes of one batch (x, y, sample_weight)."""
    with model.distribute_strategy.scope():
        model._symbolic_build(data_batch=batch)


def build_from(model: Any, iterator: Any) -> None:
    """Build a model that was made under a strategy from its epoch iterator, as fit does; start the iterator anew."""
    model._maybe_symbolic_build(iterator=iterator)
    iterator.reset()


def has_own_train_step(model: Any) -> bool:
    """Whether a model overrides `train_step`, or has had one set."""
    return "train_step" in vars(model) or type(model).train_step is not TensorFlowTrainer.train_step


def has_own_metrics(model: Any) -> bool:
    """Whether the logs of a model's epoch may be something else than its metrics' results."""
    return has_own_train_step(model) or type(model).compute_metrics is not keras.Model.compute_metrics


# One step


def forward(model: Any, x: Any, training: bool) -> Any:
    """Call a model, with `training` where it takes it."""
    return model(x, training=training) if model._call_has_training_arg else model(x)


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
    """A model's whole loss, penalties included, divided by the number of replicas."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)


def track_loss(model: Any, loss: Any, examples: Any) -> None:
    """Count a batch's loss in the metric "loss"."""
    model._loss_tracker.update_state(unscale_loss_for_distribution(loss), sample_weight=examples)


def make_function(model: Any, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Keras' function over iterators: runs `step` for `steps_per_execution` batches."""
    return model._make_function(step)


# Data


def array_adapter(x: Any, y: Any, sample_weight: Any, batch_size: Any, shuffle: Any, class_weight: Any) -> Any | None:
    """Keras' adapter where the data are arrays, else None. Refuses what Keras refuses: unequal lengths, bad weights."""
    if any(isinstance(leaf, tf.data.Dataset) for leaf in tf.nest.flatten(x)) or not all(
        hasattr(leaf, "__array__") for leaf in tf.nest.flatten(x)
    ):
        return None
    adapter = get_data_adapter(
        x=x, y=y, sample_weight=sample_weight, batch_size=batch_size, shuffle=shuffle, class_weight=class_weight
    )
    return adapter if isinstance(adapter, ArrayDataAdapter) else None


def tensors(adapter: Any) -> Any:
    """An array adapter's (x, y, sample_weight) as dense tensors in Keras' types, or None where one is not dense."""
    sliceable = array_slicing.convert_to_sliceable(adapter._inputs, target_backend="tensorflow")
    leaves = [getattr(leaf, "array", leaf) for leaf in tf.nest.flatten(sliceable)]
    dense = [leaf for leaf in leaves if leaf is not None]
    if any(isinstance(leaf, (tf.SparseTensor, tf.RaggedTensor)) or not hasattr(leaf, "__array__") for leaf in dense):
        return None
    converted = [leaf if leaf is None else tf.convert_to_tensor(leaf) for leaf in leaves]
    # As Keras does: tf.data would stack the tensors of a list into one.
    return keras.tree.lists_to_tuples(tf.nest.pack_sequence_as(sliceable, converted))


def epoch_iterator(model: Any, **arguments: Any) -> Any:
    """Keras' iterable over an epoch's (first step, last step, iterator), for any data that fit takes."""
    return TFEpochIterator(
        distribute_strategy=model.distribute_strategy, steps_per_execution=model.steps_per_execution, **arguments
    )


def validation_split(arrays: Any, share: float) -> tuple[Any, Any]:
    """Cut the last share off arrays, as fit does: the rest, and what was cut off."""
    return array_slicing.train_validation_split(arrays, validation_split=share)


# A run of fit


def initial_epoch(model: Any, asked: int) -> int:
    """The epoch to start at: what a restoring callback says, else what was asked."""
    return model._initial_epoch or asked


def epoch_logs(model: Any, logs: Any) -> dict[str, Any]:
    """The logs of an epoch: the metrics' results, or what a model's own train_step returned last."""
    return dict(model._get_metrics_result_or_logs(logs))


def begin_validation(model: Any, data: Any, *, batch_size: int | None, steps: int | None) -> None:
    """Make the validation data's iterator, kept from one epoch to the next; refuses what Keras refuses."""
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    model._eval_epoch_iterator = epoch_iterator(
        model, x=x, y=y, sample_weight=sample_weight, batch_size=batch_size, steps_per_epoch=steps, shuffle=False
    )


def run_validation(model: Any, data: Any, callbacks: Any, **arguments: Any) -> dict[str, Any]:
    """Evaluate on the validation data by the iterator of `begin_validation`."""
    x, y, sample_weight = unpack_x_y_sample_weight(data)
    logs = model.evaluate(
        x=x,
        y=y,
        sample_weight=sample_weight,
        callbacks=callbacks,
        return_dict=True,
        _use_cached_eval_dataset=True,
        **arguments,
    )
    return {f"val_{name}": value for name, value in logs.items()}


def end_validation(model: Any) -> None:
    """Drop the validation data's iterator."""
    model._eval_epoch_iterator = None


# Numbers that layers hold


class LiveFloat(float):
    """A layer's number that programs read from a variable: its own, plain one to Python and to files."""

    variable: Any
    dtype: str

    def __new__(cls, own: float, variable: Any, dtype: str) -> "LiveFloat":
        number = super().__new__(cls, own)
        number.variable, number.dtype = variable, dtype
        return number

    def __reduce__(self) -> Any:
        return float, (float(self),)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Any:
        return tf.cast(tf.convert_to_tensor(self.variable), dtype or self.dtype)

    def __rsub__(self, other: Any) -> Any:
        """1 - rate, from which TensorFlow's dropout computes its scale."""
        return other - self.__tf_tensor__()


def set_dropout(layer: Any, variable: Any | None) -> None:
    """Make a dropout layer's programs read its rate from a variable, or, without one, be its own again."""
    own = float(layer.rate)
    layer.rate = own if variable is None else LiveFloat(own, variable, layer.compute_dtype)


# The learning rate


class LiveRate(tf.__internal__.types.Tensor):
    """An optimizer's learning rate that is computed at every update and kept in the optimizer's own rate variable.

    Keras calls a callable learning rate inside its update, and writes what looks like a tensor as a plain number into
    files: so files made with and without one are alike. Its setter would untrack the variable, hence `install_rate`.
    """

    def __init__(self, optimizer: Any, formula: Callable[[Any], Any], owner: Any):
        self.optimizer, self.formula, self.owner = optimizer, formula, owner
        self.variable = optimizer._learning_rate

    def __call__(self) -> Any:
        """The rate for the update that is being traced; from outside a program, the rate last used."""
        if tf.executing_eagerly() and not self.owner.runs_eagerly:
            return self.variable
        rate = tf.cast(self.formula(self.optimizer.iterations), self.variable.dtype)
        self.variable.assign(rate)
        return rate

    def __float__(self) -> float:
        return float(self.variable.numpy())

    def assign(self, value: Any) -> None:
        """Keras' setter comes here: refused while the owner steers."""
        require(not self.owner.steers, "learning_rate", f"must be left to {self.owner}, whose run has not ended", value)
        self.variable.assign(value)

    dtype = property(lambda self: self.variable.dtype)
    shape = property(lambda self: self.variable.shape)


def inner_optimizer(optimizer: Any) -> Any:
    """The optimizer that holds the learning rate: inside a LossScaleOptimizer, or itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def rated_optimizers(optimizer: Any) -> list[Any]:
    """The optimizers that hold learning rates: one, or those of a MultiOptimizer."""
    return [inner_optimizer(inner) for inner in getattr(inner_optimizer(optimizer), "optimizers", [optimizer])]


def installed_rate(optimizer: Any) -> Any | None:
    """The LiveRate that an optimizer has, if any."""
    rate = inner_optimizer(optimizer)._learning_rate
    return rate if isinstance(rate, LiveRate) else None


def install_rate(optimizer: Any, formula: Callable[[Any], Any], owner: Any) -> Any:
    """Make an optimizer compute its rate as formula(updates so far), in its programs; they must be traced anew.

    Raises:
        ValueError: When the optimizer was compiled with a schedule: it has no rate variable.
    """
    optimizer = inner_optimizer(optimizer)
    if isinstance(optimizer._learning_rate, LiveRate):
        optimizer._learning_rate = optimizer._learning_rate.variable
    settable = isinstance(optimizer._learning_rate, keras.Variable)
    require(
        settable, "learning_rate", f"must be a number in an optimizer that {owner} steers", optimizer._learning_rate
    )
    optimizer._learning_rate = LiveRate(optimizer, formula, owner)
    return optimizer._learning_rate


class PlateauCallback(keras.callbacks.ReduceLROnPlateau):
    """Keras' counting of epochs without improvement, with what it does about them left to `lower`."""

    def lower(self, optimizer: Any) -> bool:
        """Lower one optimizer's rate; False when it cannot go lower."""
        raise NotImplementedError

    def _reduce_optimizer_lr(self, optimizer: Any, epoch: int, name: str = "") -> bool:
        lowered = self.lower(inner_optimizer(optimizer))
        if lowered and self.verbose > 0:
            print(f"\nEpoch {epoch + 1}: the learning rate{f' of {name}' if name else ''} is lowered by {self.factor}.")
        return lowered


# Optimizers


class ListOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer that updates all parameters in one call, under any strategy.

    Keras' own takes one variable at a time. Subclasses set `state_variables` in `build` and write `compute`; weight
    decay, clipping, averaging, accumulation and loss scaling stay Keras'.
    """

    state_variables: Sequence[Any] = ()

    def compute(
        self, gradients: Sequence[Any], parameters: Sequence[Any], state: Sequence[Any], rate: Any, count: Any
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        """New values of the parameters and of the state, None where one stays; a gradient may be None."""
        raise NotImplementedError

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        pairs = [(gradient, raw(variable)) for gradient, variable in zip(grads, trainable_variables)]
        reduced = self._all_reduce_sum_gradients(pairs)
        positions = [self._get_variable_index(variable) for _, variable in reduced]
        gradients = [gradient for gradient, _ in reduced]
        parameters = [raw(variable) for variable in self._trainable_variables]
        state = [raw(variable) for variable in self.state_variables]

        def on_device(_: Any, gradients: Any, parameters: Any, state: Any, rate: Any, count: Any) -> None:
            by_position: list[Any] = [None] * len(parameters)
            for position, gradient in zip(positions, gradients):
                by_position[position] = tf.convert_to_tensor(gradient)
            old, old_state = ([variable.read_value() for variable in group] for group in (parameters, state))
            new_parameters, new_state = self.compute(by_position, old, old_state, rate, count)
            for variable, new in zip([*parameters, *state], [*new_parameters, *new_state], strict=True):
                if new is not None:
                    variable.assign(tf.cast(new, variable.dtype), read_value=False)

        def across_replicas(strategy: Any, *arguments: Any) -> None:
            strategy.extended.update(parameters[0], on_device, args=arguments, group=False)

        rate, count = tf.convert_to_tensor(learning_rate), tf.convert_to_tensor(self.iterations + 1)
        tf.__internal__.distribute.interim.maybe_merge_call(
            across_replicas, self._distribution_strategy, gradients, parameters, state, rate, count
        )


def raw(variable: Any) -> Any:
    """The TensorFlow variable of a Keras variable."""
    return variable.value if isinstance(variable, keras.Variable) else variable
