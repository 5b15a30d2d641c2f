"""The config of a Keras model: made, checked to hold no code, and taken back to logits."""

import json
import warnings
from collections.abc import Iterator

import keras
from keras import ops, saving

from kopt.tasks.task import Task
from kopt.values.checks import require, shown
from kopt.values.types import Config, Json, KerasModel

__all__ = ["EXAMPLE", "config_of", "ends_in", "in_logits", "plain", "revived"]

EXAMPLE = """
@kopt.models.registry.register
class Mine(kopt.models.Model):
    inputs: tuple[int, ...] | None = None
    outputs: int | None = None
    def build(self):
        x = keras.Input(self.inputs)
        return keras.Model(x, keras.layers.Dense(self.outputs)(keras.layers.Flatten()(x)))
"""
OF_LOGITS = ("classification", "language", "ranking")  # tasks whose losses and reports take logits
WHOLE = ("Sequential", "Functional")
FUNCTIONS = ("Softmax", "Sigmoid", "ReLU", "Relu", "LeakyReLU", "ELU", "PReLU")  # layers and operations
# What `adapt` finds is no part of a layer's config; what to give in its place.
ADAPTED = {
    "Normalization": "mean",
    "Discretization": "bin_boundaries",
    "StringLookup": "vocabulary",
    "IntegerLookup": "vocabulary",
    "TextVectorization": "vocabulary",
}


def refused(why: str, model: object) -> ValueError:
    """Return the error for a model that cannot be kept by its config; it shows how a model value is written."""
    rule = f"must be a model that Keras can save by its config, or a value such as the one below: {why}"
    return ValueError(f"model {rule}, got {shown(model)}.\n{EXAMPLE}")


def config_of(model: KerasModel) -> Config:
    """Return the config of a Keras model, without what it was compiled with.

    Args:
        model: A functional or a Sequential model with one input and one output.

    Returns:
        What `keras.saving.serialize_keras_object` gives, as JSON reads it back.

    Raises:
        ValueError: When the model is of another kind, holds Python code, or a class that is not registered.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> config_of(model)["class_name"]
        'Sequential'

    Source:
        Keras' guide, Save, serialize, and export models.
    """
    require(isinstance(model, keras.Model), "model", "must be a Keras model", model)
    if type(model).__name__ not in WHOLE:
        raise refused("it is a subclass of keras.Model", model)
    require(model.built, "model", "must be built: let it begin with keras.Input", model.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of a lambda, which is refused below
            form = json.loads(json.dumps(saving.serialize_keras_object(model)))
    except (AttributeError, NotImplementedError, OSError, TypeError, ValueError) as error:
        raise refused(f"its config cannot be made, by a {type(error).__name__}", model) from error
    for part in dicts(form):
        part.pop("compile_config", None)
    require_plain(form, model)
    try:
        revived(form)
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise refused("it cannot be built from its config, which holds no Python code", model) from error
    return form


def require_plain(form: Config, model: object) -> None:
    """Raise ValueError when a config holds Python code, or a class that is neither Keras' nor registered."""
    for part in dicts(form):
        kind, home = part.get("class_name"), str(part.get("module") or "keras")
        name = part.get("registered_name") or kind
        if kind == "__lambda__":
            raise refused("it holds a lambda, which is Python code", model)
        keras_own = home.split(".")[0] == "keras"
        if isinstance(kind, str) and not keras_own and saving.get_registered_object(str(name)) is None:
            raise refused(f"{name!r} is not registered by keras.saving.register_keras_serializable", model)


def require_adapted(form: Config) -> None:
    """Raise ValueError for a layer whose `adapt` has found what its config does not hold."""
    for part in dicts(form):
        field = ADAPTED.get(str(part.get("class_name")))
        if field is not None and isinstance(part.get("config"), dict):
            rule = f"must have layers that need no adapt: give {part['class_name']} its {field}=, or a weights file"
            require(part["config"].get(field) is not None, "model", rule, part["config"].get("name"))


def dicts(form: Json) -> Iterator[Config]:
    """Yield every dict in JSON, the outer ones first."""
    if isinstance(form, dict):
        yield form
    for part in form.values() if isinstance(form, dict) else form if isinstance(form, list) else ():
        yield from dicts(part)


def revived(form: Config) -> KerasModel:
    """Build a model from its config, with fresh weights; no code in it is run.

    Args:
        form: What `config_of` returned.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: When the config holds code or an unknown class.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> revived(config_of(model)).count_params()
        9

    Source:
        See `config_of`.
    """
    require_plain(form, form.get("class_name"))
    # A copy, for Keras takes parts out of what it reads.
    return saving.deserialize_keras_object(json.loads(json.dumps(form)), safe_mode=True)


def plain(model: KerasModel) -> KerasModel:
    """Return a model of one input and one output, which have no names and no structure.

    Args:
        model: A functional model, or a Sequential one, which has no `input` until it is called.

    Returns:
        A functional model of the same layers.

    Example:
        >>> plain(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])).input.shape
        (None, 2)

    Source:
        Keras' guide, The Functional API.
    """
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def ending(form: Config) -> Config:
    """Return the entry of the layer that gives the outputs; that of a model in the model is followed."""
    config = form["config"]
    if form["class_name"] == "Sequential":
        last = config["layers"][-1]
    else:
        name = keras.tree.flatten(config["output_layers"])[0]
        last = next(entry for entry in config["layers"] if name_of(entry) == name)
    return ending(last) if last["class_name"] in WHOLE else last


def name_of(entry: Config) -> Json:
    """Return the name of a layer or an operation in a model's config."""
    return entry.get("name") or entry["config"].get("name")


def ends_in(form: Config) -> str:
    """Return the name of the activation at the end of a model: "softmax", "sigmoid", "linear", ...

    Args:
        form: What `config_of` returned.

    Returns:
        The name.

    Example:
        >>> ends_in(config_of(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])))
        'softmax'

    Source:
        The arguments of Keras' layers.
    """
    last = ending(form)
    if last["class_name"] in FUNCTIONS:
        axis = last["config"].get("axis", -1)
        return str(last["class_name"]).lower() + (f" over axis {axis}" if axis not in (-1, None) else "")
    activation = last["config"].get("activation") or "linear"
    return activation if isinstance(activation, str) else str(activation.get("registered_name") or "another")


def in_logits(form: Config, task: Task) -> tuple[Config, str]:
    """Return the config of a model whose outputs are logits, and the activation that was taken off its end.

    kopt's losses, metrics and reports take logits of classes and of items. A softmax at the end is taken off. One
    output z, with a sigmoid or without, becomes the logits (0, z) of two classes, whose softmax is that sigmoid.

    Args:
        form: What `config_of` returned; it is changed.
        task: The task.

    Returns:
        The config, and the name of the activation.

    Raises:
        ValueError: When the outputs are neither logits nor what can be taken back to them.

    Example:
        >>> form = config_of(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")]))
        >>> form, activation = in_logits(form, "classification")
        >>> activation, ends_in(form)
        ('softmax', 'linear')

    Source:
        Goodfellow, Bengio and Courville, Deep Learning, 2016, section 6.2.2.
    """
    activation = ends_in(form)
    if task not in OF_LOGITS:
        return form, activation
    network = revived(form)
    single = task == "classification" and network.outputs[0].shape[-1] == 1
    known = ("linear", "sigmoid") if single else ("linear", "softmax")
    rule = f"must end in logits or in {known[1]} for {task}, whose losses take logits"
    require(activation in known, "model", rule, f"{activation} over {network.outputs[0].shape[-1]}")
    if activation != "linear":
        calls = len(ending(form).get("inbound_nodes") or ())
        require(
            calls <= 1, "model", f"must end in a layer that is called once for its {activation} to be taken off", calls
        )
        take_off(ending(form))
        network = revived(form)
    hidden = "must end in logits, or in an activation of its last layer, and not in probabilities by another way"
    require(not gives_probabilities(network), "model", hidden, network.name)
    if not single:
        return form, activation
    z = network.outputs[0]
    logits = ops.concatenate([ops.zeros_like(z), z], -1)
    return config_of(keras.Model(network.inputs[0], logits, name=network.name)), activation


def take_off(entry: Config) -> None:
    """Make a layer's activation the identity."""
    if entry["class_name"] in FUNCTIONS:
        same = {"module": "keras.layers", "registered_name": None, "build_config": entry.get("build_config")}
        entry |= same | {"class_name": "Activation", "config": {"name": name_of(entry)}}
    entry["config"]["activation"] = "linear"


def gives_probabilities(network: KerasModel) -> bool:
    """Return whether the outputs for random inputs all lie in [0, 1], and those of several classes add up to 1.

    One number that is positive half of the time does so for 32 examples once in 2 ** 32 times.
    """
    shape = (32, *(size or 8 for size in network.inputs[0].shape[1:]))
    whole = not keras.backend.is_float_dtype(network.inputs[0].dtype)
    x = ops.zeros(shape, network.inputs[0].dtype) if whole else keras.random.normal(shape, seed=0) * 10
    outputs = ops.convert_to_numpy(ops.cast(plain(network)(x, training=False), "float32"))
    sums = outputs.sum(-1)
    if outputs.shape[-1] == 1:
        return bool(((outputs >= 0) & (outputs <= 1)).all()) and float(outputs.max()) > 0.0 and not whole
    return bool((abs(sums - 1) < 1e-3).all() and (outputs >= 0).all())
