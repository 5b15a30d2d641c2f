"""One model that all rules train at once: a tower for each, with an embedding, a convolution, a matrix and a bias.

The towers share nothing but the batches, so that each trains as it would alone, and one traced program is enough for
all rules. `python towers.py mirrored out.npz` writes the weights of all towers after a fit on two devices.
"""

import os
import sys
from collections.abc import Callable, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

if __name__ == "__main__" and sys.argv[1] == "mirrored":  # before `examples` uses a device
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )

from examples import RULES  # noqa: E402

from kopt.optimizers import Decayed, Optimizer  # noqa: E402
from kopt.rules import Rule  # noqa: E402
from kopt.values import paths, read, replace  # noqa: E402

UPDATES, BATCH, DECAY, MOMENTUM = 3, 4, 0.3, 0.75
Arrays = list[np.ndarray]


def undecayed(rule: Rule) -> Rule:
    """A rule without a decay of its own, which a Decayed refuses."""
    decays = [path for path in paths(rule) if path.rpartition(".")[2] == "weight_decay" and read(rule, path)]
    return replace(rule, dict.fromkeys(decays, 0.0))


# The first example of each class of which a MultiOptimizer may have the towers' weights alone.
FIRST = {type(rule): rule for rule in reversed(RULES) if not rule.needs_model}
assert set(FIRST) == set(map(type, RULES))
TRAINED = [undecayed(rule) for rule in reversed(FIRST.values())]


def rate_of(rule: Rule) -> float:
    """A rate at which a few updates are seen; a rule that finds its own has 1."""
    return 1.0 if rule.usual_rate >= 1 else 0.05


def batches(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 4 words, of which some occur several times and one never, and a target of each output."""
    random = np.random.default_rng(0)
    x = random.integers(0, 4, (number * BATCH, 4))
    return x, random.normal(size=(number * BATCH, 4)).astype("float32")


def network(rules: Sequence[Rule]) -> keras.Model:
    """The towers, all with the same weights at the start; their gradients have full ranks, or bases are left open."""
    inputs, outputs = keras.Input((4,), dtype="int32"), []
    for number in range(len(rules)):
        hidden = keras.layers.Embedding(5, 4, name=f"tower{number}_embedding")(inputs)
        hidden = keras.layers.Conv1D(4, 2, activation="tanh", use_bias=False, name=f"tower{number}_convolution")(hidden)
        outputs.append(
            keras.layers.Dense(4, name=f"tower{number}_matrix")(keras.layers.GlobalAveragePooling1D()(hidden))
        )
    model = keras.Model(inputs, keras.ops.stack(outputs, axis=1))
    for weight in model.trainable_weights:
        random = np.random.default_rng(weight.shape[0])
        weight.assign(random.normal(size=weight.shape) * 0.5)
    return model


def loss(y: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """The sum over the towers, so that the gradient of one does not depend on how many there are."""
    return tf.reduce_sum(tf.square(outputs - y[:, None]), axis=(1, 2))


def towers(model: keras.Model, rules: Sequence[Rule]) -> list[list[keras.Variable]]:
    """The weights of each tower."""
    names = [f"tower{number}_" for number in range(len(rules))]
    return [[weight for weight in model.trainable_weights if weight.path.startswith(name)] for name in names]


def together(rules: Sequence[Rule], make: Callable[[Rule], keras.optimizers.Optimizer]) -> keras.optimizers.Optimizer:
    """Keras' MultiOptimizer with an optimizer for each tower."""
    each = {f"tower{number}_.*": make(rule) for number, rule in enumerate(rules)}
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD(), each))


def plain(rule: Rule) -> keras.optimizers.Optimizer:
    return Optimizer(rule, rate_of(rule))


def averaged(rule: Rule) -> keras.optimizers.Optimizer:
    return Optimizer(rule, rate_of(rule), use_ema=not rule.has_evaluation_weights, ema_momentum=MOMENTUM)


def accumulated(rule: Rule) -> keras.optimizers.Optimizer:
    return Decayed(Optimizer(rule, rate_of(rule), gradient_accumulation_steps=2), DECAY)


def fitted(rules: Sequence[Rule], feature: str) -> list[Arrays]:
    """The weights of each tower after a fit, at whose end Keras puts the averages in their place."""
    if feature == "scaled":
        optimizer = keras.optimizers.LossScaleOptimizer(together(rules, accumulated), initial_scale=8.0)
        steps = 2 * UPDATES
    else:
        optimizer, steps = together(rules, averaged if feature == "xla" else plain), UPDATES
    model = network(rules)
    model.compile(optimizer, loss, jit_compile=feature == "xla")
    model.optimizer.build(model.trainable_variables)  # or fit traces its program twice
    x, y = batches(steps)
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    return [[weight.numpy() for weight in weights] for weights in towers(model, rules)]


def by_hand(rules: Sequence[Rule]) -> dict[str, list[Arrays]]:
    """Feature -> the same by the bare rules on dense gradients, with decay, accumulation and averages written out."""
    values, averages = trained_by_hand(rules, 1, 0.0)
    chosen = [ones if rule.has_evaluation_weights else means for rule, ones, means in zip(rules, values, averages)]
    return {"xla": chosen, "mirrored": values, "scaled": trained_by_hand(rules, 2, DECAY)[0]}


def trained_by_hand(rules: Sequence[Rule], parts: int, decay: float) -> tuple[list[Arrays], list[Arrays]]:
    """The weights of each tower after training on batches of some parts with decayed kernels, and Keras' averages."""
    model = network(rules)

    @tf.function
    def gradients(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            total = tf.reduce_mean(loss(y, model(x)))
        weights = model.trainable_weights
        return [tf.convert_to_tensor(one) for one in tape.gradient(total, weights)]

    x, y = batches(parts * UPDATES)
    x, y = x.reshape(UPDATES, parts, BATCH, -1), y.reshape(UPDATES, parts, BATCH, -1)
    bound = [rule.bind(weights) for rule, weights in zip(rules, towers(model, rules))]
    values = [[tf.convert_to_tensor(one) for one in weights] for weights in towers(model, rules)]
    states, averages = [rule.init(one) for rule, one in zip(bound, values)], values
    for update in range(UPDATES):
        found = [gradients(x[update, part], y[update, part]) for part in range(parts)]
        of = {weight.path: sum(one) / parts for weight, *one in zip(model.trainable_weights, *found)}
        for number, (rule, weights) in enumerate(zip(bound, towers(model, rules))):
            share = rate_of(rules[number]) * decay
            old = [
                one * (1 - share) if weight.name == "kernel" else one for one, weight in zip(values[number], weights)
            ]
            grads = [of[weight.path] for weight in weights]
            rate = tf.constant(rate_of(rules[number]))
            updates, states[number] = rule.update(grads, states[number], old, rate, tf.constant(update + 1))
            values[number] = [one + change for one, change in zip(old, updates)]
            for weight, value in zip(weights, values[number]):
                weight.assign(value)
        kept = MOMENTUM if update else 0.0  # of Keras' averages
        averages = [
            [kept * mean + (1 - kept) * one for mean, one in zip(means, ones)] for means, ones in zip(averages, values)
        ]
    return arrays_of(values), arrays_of(averages)


def arrays_of(towers: list[list[tf.Tensor]]) -> list[Arrays]:
    return [[tensor.numpy() for tensor in one] for one in towers]


if __name__ == "__main__":
    devices = ["cpu:0", "cpu:1"] if sys.argv[1] == "mirrored" else ["cpu:0"]
    # Sums on one device: collectives, which are not the rules' concern, take as long as all else.
    with tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice()).scope():
        arrays = fitted(TRAINED, sys.argv[1])
    np.savez(
        sys.argv[2],
        **{f"{tower}.{place}": array for tower, one in enumerate(arrays) for place, array in enumerate(one)},
    )
