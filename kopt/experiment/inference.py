"""Inference copies: a trained model by Keras' own layers alone, which Keras loads where kopt is not installed."""

import pathlib
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
from keras.ops import convert_to_numpy as to_numpy

from kopt.data.base import Inputs, take
from kopt.experiment.serving import as_tensors
from kopt.keras_internals.models import flat_layers
from kopt.models.layers import OwnLayer
from kopt.regularizers.weights import terms
from kopt.tasks.task import Task
from kopt.values.checks import require
from kopt.values.types import Config, Json, KerasLayer, Tensor

__all__ = ["CHOICES", "INFERENCE", "final", "inference_copy", "inference_writer"]

INFERENCE = "inference.keras"
CHOICES: tuple[Task, ...] = ("classification", "language")  # tasks whose outputs are logits
CHECKED = 256  # rows of the test split on which the copy is compared with the model
CLOSE = 1e-6  # of the largest output
ROUNDING = 0.02  # of the largest output, where layers compute in float16 or bfloat16
HIDDEN = -1e8  # scores below are of items that are hidden


def inference_copy(model: keras.Model, encoder: keras.Model | None, task: Task) -> keras.Model:
    """Return a model from raw inputs to probabilities, numbers or scores, made of Keras' own layers alone.

    Layers of kopt become layers and operations of Keras; penalties become Keras' L1, L2 or L1L2 where there is an equal
    one, and are left out where there is none. The copy is not compiled. Layers that need no change are shared. With an
    encoder, the copy has two layers, "preprocessing" and "network", for devices on which only the second can run.

    Args:
        model: The trained network, functional or sequential.
        encoder: The encoder of raw inputs, or None.
        task: The task; the logits of "classification" and "language" become probabilities.

    Returns:
        The copy.

    Example:
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> inference_copy(network, None, "classification").layers[-1].name
        'probabilities'

    Source:
        `keras.models.clone_model`.
    """
    # Not compiled, for a clone would be compiled too; functional, for only their calls can be replaced.
    network = in_plain_keras(keras.Model(model.inputs[0], model.outputs[0]))
    outputs = network.outputs[0]
    if task in CHOICES:
        outputs = keras.layers.Softmax(dtype="float32", name="probabilities")(outputs)
    if encoder is None:
        return keras.Model(network.inputs[0], outputs, name=model.name)
    network = keras.Model(network.inputs[0], outputs, name="network")
    whole = network(renamed(in_plain_keras(encoder), "preprocessing")(encoder.input))
    return keras.Model(encoder.input, whole, name=f"{encoder.name}_{model.name}")


def renamed(model: keras.Model, name: str) -> keras.Model:
    """Return a functional model over the same layers with another name."""
    return keras.Model(model.input, model.output, name=name)


def in_plain_keras(model: keras.Model) -> keras.Model:
    """Return a functional model over the same layers, but for those that Keras does not have."""
    sources: dict[int, KerasLayer] = {}

    def replaced(layer: KerasLayer) -> KerasLayer:
        if not isinstance(layer, keras.layers.Layer) or isinstance(layer, OwnLayer):
            return layer
        config = layer.get_config()
        if not has_own(config):
            return layer  # a new one would not have what it was adapted to
        made = type(layer).from_config(with_plain_penalties(config))
        sources[id(made)] = layer
        return made

    def called(layer: KerasLayer, *inputs: Tensor, **arguments: Json) -> Tensor:
        if isinstance(layer, OwnLayer):
            return layer.plain(*inputs)
        outputs = layer(*inputs, **arguments)
        if id(layer) in sources:
            layer.set_weights(sources[id(layer)].get_weights())
        return outputs

    return keras.models.clone_model(model, clone_function=replaced, call_function=called)


def with_plain_penalties(config: Json) -> Json:
    """Return a config with the penalties of kopt as Keras' own, or without those that Keras does not have."""
    if is_own(config):
        return plain_penalty(config)
    if isinstance(config, Mapping):
        return {key: with_plain_penalties(value) for key, value in config.items()}
    return [with_plain_penalties(value) for value in config] if isinstance(config, (list, tuple)) else config


def has_own(config: Json) -> bool:
    """Return whether there is a regularizer of kopt in a config."""
    inner = config.values() if isinstance(config, Mapping) else config if isinstance(config, (list, tuple)) else ()
    return is_own(config) or any(map(has_own, inner))


def is_own(value: Json) -> bool:
    """Return whether a value in a config is a regularizer of kopt."""
    return isinstance(value, Mapping) and str(value.get("module")).startswith("kopt.regularizers")


def plain_penalty(config: Config) -> Config | None:
    """Return the config of Keras' own penalty for that of one of kopt; None when Keras has none."""
    found = keras.regularizers.deserialize(dict(config))
    factors = terms(found) or plain_terms(found.get_config())
    return None if factors is None else keras.regularizers.serialize(keras.regularizers.L1L2(*factors))


def plain_terms(config: Config) -> tuple[float, float] | None:
    """Return the factors of a penalty whose config is that of Keras' L1L2."""
    return (config["l1"], config["l2"]) if config.keys() == {"l1", "l2"} else None


def inference_writer(
    task: Task, model: keras.Model, encoder: keras.Model | None, x: Inputs
) -> dict[str, Callable[[pathlib.Path], None]]:
    """Return the name of the file of the inference copy, and what writes it after a comparison with the model.

    Args:
        task: The task.
        model: The trained network.
        encoder: The encoder of raw inputs, or None.
        x: Raw inputs; the outputs for the first rows are compared.

    Returns:
        Name -> a function of a path, which raises ValueError when a class in the copy is neither Keras' nor kopt's, or
        the copy does not give what the model gives.

    Example:
        >>> import tempfile
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name, write in inference_writer("classification", network, None, np.ones((5, 2))).items():
        ...         write(pathlib.Path(folder) / name)
        ...     keras.saving.load_model(f"{folder}/inference.keras").output_shape
        (None, 3)

    Source:
        Folklore: a guard at the place of the risk.
    """

    def write(path: pathlib.Path) -> None:
        copy = inference_copy(model, encoder, task)
        rows = keras.tree.map_structure(keras.ops.convert_to_tensor, as_tensors(take(x, slice(CHECKED))))
        other = sorted(set(classes_of_others(keras.saving.serialize_keras_object(copy))))
        require(not other, "layers", "must be Keras' own, to load where these are not", other)
        expected = to_numpy(model(rows if encoder is None else encoder(rows)))
        coarse = {layer.compute_dtype for layer in flat_layers(model)} & {"float16", "bfloat16"}
        off = distance(to_numpy(copy(rows)), final(expected, task))
        bound = ROUNDING if coarse else CLOSE
        require(off <= bound, INFERENCE, f"must give the outputs of model.keras, within {bound:g} of the largest", off)
        copy.save(path)

    return {INFERENCE: write}


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of outputs, as a share of the largest output; hidden items must be the same."""
    seen = expected > HIDDEN
    if not np.array_equal(seen, found > HIDDEN):
        return float("inf")
    scale = max(1.0, float(np.abs(expected[seen]).max(initial=0.0)))
    return float(np.abs(found[seen] - expected[seen]).max(initial=0.0)) / scale


def final(outputs: np.ndarray, task: Task) -> np.ndarray:
    """Return the outputs of a network as float32, with probabilities in place of logits.

    Args:
        outputs: The outputs of a network.
        task: The task.

    Returns:
        An array of the same shape.

    Example:
        >>> final(np.zeros((1, 2)), "classification")
        array([[0.5, 0.5]], dtype=float32)
    """
    outputs = np.asarray(outputs, "float32")
    if task not in CHOICES:
        return outputs
    powers = np.exp(outputs - outputs.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def classes_of_others(config: Json) -> Iterator[str]:
    """Yield the names of the classes in a config that are not Keras' own."""
    if isinstance(config, Mapping):
        module = config.get("module")
        if "class_name" in config and module is not None and module.partition(".")[0] not in ("keras", "builtins"):
            yield str(config.get("registered_name") or config["class_name"])
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for value in config:
            yield from classes_of_others(value)
