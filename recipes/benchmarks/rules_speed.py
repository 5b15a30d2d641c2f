"""What an update costs: each rule beside Keras' own Adam and PyTorch's, on many small tensors and on few large ones.

Command   python recipes/benchmarks/rules_speed.py --rules adam adamw lion
Data      random numbers: 200 tensors of 64 to 4,096 numbers, and 10 of a million
Target    element-wise rules at most 1.0 of Keras' Adam in a call, as model.fit makes it, and of PyTorch's foreach in
          a loop in the program, as Loop makes it
Time      about 1 minute a rule on 2 cores

In a call: one update a call of a tf.function, without XLA, as fit's step makes it. In a loop: `--steps` updates in one
program, plain or compiled by XLA, whichever Loop may choose. PyTorch's Adam: foreach and fused.

Measured, times Keras' Adam in a call, and the better loop times PyTorch's foreach Adam, on 2026-11-27 with
`--repetitions 5`; before, with 7: momentum, adafactor and prodigy, and on 200 small ademamix, adan and lamb:

                           200 small        10 large
                         call    loop     call    loop
    adam                 0.53    0.18     0.42    0.27
    adamw                0.47    0.19     0.59    0.31
    momentum             0.48    0.21     0.52    0.38
    lion                 0.41    0.21     0.69    0.31
    nadamw               0.71    0.23     0.69    0.37
    ada_belief           0.51    0.24     1.15    0.46
    ademamix             0.72    0.25     1.79    0.45
    adan                 0.68    0.30     2.02    0.48
    schedule_free_adamw  0.51    0.19     1.30    0.55
    lamb                 1.58    0.49     2.85    1.10
    adafactor            1.41    0.50     1.57    1.33
    prodigy              2.16    0.55     2.23    1.52

200 small tensors in a call, us: Keras' Adam 5,427, kopt's 2,898 (twice that before they were updated as one vector),
PyTorch foreach 4,426, fused 1,262, in a loop 1,827, in a loop with XLA 795. 10 large: Keras' Adam 13,889, kopt's 5,801,
PyTorch foreach 17,384, fused 2,548, in a loop 4,775. Decayed over Keras' Adam costs 1.02 and 0.86 of Keras' AdamW.

What each try gave on 10 large in a call, times Keras' Adam, in CPU time where others worked on the machine. An update
takes as long as the operations that go over all numbers: 12 of Adam (0.91), 14 of AdamW (1.10), 16 of NAdamW (1.23).
In a program of the bare formula: AdamW's decay folded into a new parameter, parameter * (1 - rate * decay) + update, in
place of a second term of the update: 1.10 as before, for the sum is another tensor. The rate folded into
ResourceApplyGradientDescent: 0.90 of Adam. Both: 0.92 of AdamW. ResourceApplyProximalGradientDescent, which decays too:
0.98. In Optimizer: ResourceApplyAdam, which goes over the numbers once and has Nesterov's form: 0.39 of Adam, 0.57 of
AdamW, 0.58 of NAdamW; it is what large tensors have now (kopt/optimizers/fused.py). Not met: the other rules with a
second moment on large tensors in a call, for every operation writes a new tensor; LAMB, which looks at norms, in a
loop. PyTorch's fused Adam is ahead of all but XLA on small tensors.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tyro
from options import require_among
from targets import rule_names
from timing import alternate

from kopt.optimizers import Decayed, Optimizer
from kopt.rules import registry

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
    require_among("sizes", options.sizes, SHAPES)
    for size in options.sizes:
        for name in options.rules or rule_names():
            print(f"{size}, {name}: us an update", flush=True)
            print(*measured(name, SHAPES[size], options), sep="\n", flush=True)
            keras.backend.clear_session()
            gc.collect()


if __name__ == "__main__":
    main()
