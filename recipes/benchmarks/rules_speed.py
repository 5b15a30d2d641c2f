"""What an update costs: each rule beside Keras' own Adam and PyTorch's, on many small tensors and on few large ones.

Command   python recipes/benchmarks/rules_speed.py --rules adam adamw lion
Data      random numbers: 200 tensors of 64 to 4,096 numbers, and 10 of a million
Target    element-wise rules at most 1.0 of Keras' Adam in a call, as model.fit makes it, and of PyTorch's foreach in
          a loop in the program, as Loop makes it
Time      about 1 minute a rule on 2 cores

In a call: one update a call of a tf.function, without XLA, as fit's step makes it. In a loop: `--steps` updates in one
program, plain or compiled by XLA, whichever Loop may choose. PyTorch's Adam: one thread in Python, foreach and fused.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tyro
from targets import rule_names
from timing import alternate

from kopt.optimizers import Decayed, Optimizer
from kopt.rules import registry
from kopt.values.checks import require

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "200 small": [(64,), (16, 16), (64, 32), (64, 64)] * 50,
    "10 large": [(1000, 1000)] * 10,
}
KERAS, FOREACH = "Keras Adam", "torch Adam, foreach"


class Options(NamedTuple):
    """The options of the command line.

    Args:
        rules: Names of rules; all when none is given.
        sizes: Which tensors.
        steps: Updates in a program's loop, and in a turn.
        repetitions: How many turns; the median counts.
    """

    rules: tuple[str, ...] = ()
    sizes: tuple[str, ...] = tuple(SHAPES)
    steps: int = 10
    repetitions: int = 7


def arrays(shapes: Sequence[tuple[int, ...]], seed: int) -> list[np.ndarray]:
    """Return random numbers of these shapes."""
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype("float32") for shape in shapes]


def in_a_call(optimizer: Any, shapes: Sequence[tuple[int, ...]], steps: int) -> Callable[[], None]:
    """Return a function that updates `steps` times, a call each."""
    variables = [keras.Variable(value) for value in arrays(shapes, 0)]
    optimizer.build(variables)
    gradients = [tf.constant(value) for value in arrays(shapes, 1)]
    update = tf.function(lambda: optimizer.apply(gradients, variables), autograph=False)

    def turn() -> None:
        for _ in range(steps):
            update()
        variables[0].numpy()

    return turn


def in_a_loop(optimizer: Any, shapes: Sequence[tuple[int, ...]], steps: int, jit: bool) -> Callable[[], None]:
    """Return a function that updates `steps` times in one program."""
    variables = [keras.Variable(value) for value in arrays(shapes, 0)]
    optimizer.build(variables)
    gradients = [tf.constant(value) for value in arrays(shapes, 1)]

    def step(place: tf.Tensor) -> tuple[tf.Tensor]:
        optimizer.apply(gradients, variables)
        return (place + 1,)

    def program() -> None:
        tf.while_loop(lambda place: place < steps, step, (tf.constant(0),))

    update = tf.function(program, autograph=False, jit_compile=jit)

    def turn() -> None:
        update()
        variables[0].numpy()

    return turn


def by_torch(shapes: Sequence[tuple[int, ...]], steps: int, **arguments: Any) -> Callable[[], None]:
    """Return a function that updates `steps` times by PyTorch's Adam."""
    import torch

    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in arrays(shapes, 0)]
    for parameter, value in zip(parameters, arrays(shapes, 1)):
        parameter.grad = torch.tensor(value)
    optimizer = torch.optim.Adam(parameters, **arguments)

    def turn() -> None:
        for _ in range(steps):
            optimizer.step()

    return turn


def measured(name: str, shapes: Sequence[tuple[int, ...]], options: Options) -> Iterator[str]:
    """Yield the lines of a rule: us an update, and the ratio to the bases, which are timed in the same turns."""
    make = lambda: Optimizer(registry.make(name), 1e-4)
    steps = options.steps
    contenders = {
        KERAS: in_a_call(keras.optimizers.Adam(1e-4), shapes, steps),
        FOREACH: by_torch(shapes, steps, foreach=True),
        "torch Adam, fused": by_torch(shapes, steps, fused=True),
        "in a call": in_a_call(make(), shapes, steps),
        "in a loop": in_a_loop(make(), shapes, steps, False),
        "in a loop, XLA": in_a_loop(make(), shapes, steps, True),
    }
    if name == "adam":
        contenders["Keras AdamW in a call"] = in_a_call(keras.optimizers.AdamW(1e-4), shapes, steps)
        decayed = Decayed(keras.optimizers.Adam(1e-4), 0.004, to=~kopt_biases())
        contenders["Decayed Keras Adam in a call"] = in_a_call(decayed, shapes, steps)
    taken = alternate(contenders, options.repetitions)
    loop = min(taken["in a loop"], taken["in a loop, XLA"])
    for contender, seconds in taken.items():
        yield f"  {contender:30} {seconds / steps * 1e6:9.0f}"
    yield f"  call / {KERAS}: {taken['in a call'] / taken[KERAS]:.2f}   loop / {FOREACH}: {loop / taken[FOREACH]:.2f}"


def kopt_biases() -> Any:
    """Return the selector of biases."""
    from kopt import select

    return select.biases


def main(args: Sequence[str] | None = None) -> None:
    """Time every rule on every size."""
    options = tyro.cli(Options, args=args, description=__doc__)
    for name in options.sizes:
        require(name in SHAPES, "sizes", f"must be among {', '.join(SHAPES)}", name)
    for size in options.sizes:
        for name in options.rules or rule_names():
            print(f"{size}, {name}: us an update", flush=True)
            print(*measured(name, SHAPES[size], options), sep="\n", flush=True)
            keras.backend.clear_session()
            gc.collect()


if __name__ == "__main__":
    main()
