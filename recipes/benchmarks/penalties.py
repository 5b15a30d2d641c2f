"""What penalties and weight decay cost a step, beside Keras' own on the same work.

Command   python recipes/benchmarks/penalties.py
Data      random numbers; MLP 784-256-10, batches of 128, Adam
Target    no more than Keras' own penalties and weight decay
Time      about 2 minutes on 2 cores
Result    us a step, times Keras' own: L2 1.03 in model.fit and 1.02 in Loop, GroupLasso 1.08 and 0.88 (of Keras' L2),
          Orthogonal 0.65 and 0.47 of Keras' OrthogonalRegularizer; Decayed 0.98 and 1.01 of AdamW with biases excluded
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tyro
from timing import alternate, table

from kopt import Loop
from kopt.optimizers import Decayed
from kopt.regularizers import L2, GroupLasso, Orthogonal, attach

BATCH, BATCHES = 128, 64


def network(optimizer: Any = "adam", regularizer: Any = None, attached: Any = None, reported: bool = True) -> Any:
    """Return the network with a penalty by Keras or by kopt."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(256, "relu", kernel_regularizer=regularizer)
    model = keras.Sequential([keras.Input((784,)), hidden, keras.layers.Dense(10, kernel_regularizer=regularizer)])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    if attached is not None:
        attach(model, attached, report=reported)
    return model


def contenders() -> dict[str, Any]:
    """Return name -> model."""
    decayed = keras.optimizers.AdamW(weight_decay=0.01)
    decayed.exclude_from_weight_decay(var_names=["bias"])
    return {
        "no penalty": network(),
        "Keras L2": network(regularizer=keras.regularizers.L2(1e-4)),
        "attach L2": network(attached=L2(1e-4)),
        "attach L2, not reported": network(attached=L2(1e-4), reported=False),
        "attach GroupLasso": network(attached=GroupLasso(1e-4)),
        "Keras OrthogonalRegularizer": network(regularizer=keras.regularizers.OrthogonalRegularizer(1e-4)),
        "attach Orthogonal": network(attached=Orthogonal(1e-4)),
        "Keras AdamW, biases excluded": network(decayed),
        "Decayed Adam, kernels": network(Decayed("adam", 0.01)),
    }


def main(args: Sequence[str] | None = None) -> None:
    """Time one epoch of each contender in turn, in model.fit and in Loop."""

    def options(repetitions: int = 7) -> int:
        return repetitions

    repetitions = tyro.cli(options, args=args, description=__doc__)
    x = np.random.default_rng(0).normal(size=(BATCH * BATCHES, 784)).astype("float32")
    y = np.random.default_rng(1).integers(0, 10, BATCH * BATCHES)

    def epoch(fit: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: fit(x, y, batch_size=BATCH, verbose=0)

    for name, fit_of in {"model.fit": lambda model: model.fit, "Loop": lambda model: Loop(model, jit=True).fit}.items():
        print(f"\n{name}")
        runs = {contender: epoch(fit_of(model)) for contender, model in contenders().items()}
        print(table(alternate(runs, repetitions), BATCHES, "Keras L2"), flush=True)


if __name__ == "__main__":
    main()
