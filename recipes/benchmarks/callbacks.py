"""What callbacks cost: LearningRate and CSVLogger in Loop, LearningRate in model.fit.

Command   python recipes/benchmarks/callbacks.py
Data      random numbers, see works.py
Target    in Loop at most 1.02 on MLP 784 and 1.15 on the digits MLP; in model.fit 1.00
Time      about 1 minute on 2 cores

Measured: in Loop 1.03 to 1.04 on the digits MLP, 0.98 to 1.01 on MLP 784; in model.fit 0.88 to 1.24, where the same
training timed against itself gives 0.95 and 1.23: nothing above that noise.
"""

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tyro
from timing import alternate, table
from works import WORKS

from kopt.callbacks import LearningRate
from kopt.schedules import Cosine
from kopt.training import Loop


def trainer(name: str, epochs: int, loop: bool, callbacks: Callable[[], list[Any]]) -> Callable[[], Any]:
    """Train a work for so many epochs with callbacks."""
    work = WORKS[name]
    model, (x, y) = work.model(), work.arrays()
    fit = Loop(model).fit if loop else model.fit
    how: dict[str, Any] = {"batch_size": work.batch, "epochs": epochs, "verbose": 0}
    return lambda: fit(x, y, callbacks=callbacks(), **how)


def main(args: Sequence[str] | None = None) -> None:
    """Time each work with and without callbacks, by turns."""

    def options(repetitions: int = 7) -> int:
        return repetitions

    repetitions = tyro.cli(options, args=args, description=__doc__)
    rate = LearningRate(Cosine(1e-3))
    with tempfile.TemporaryDirectory() as folder:
        both: dict[str, Callable[[], list[Any]]] = {
            "none": list,
            "LearningRate": lambda: [rate],
            "LearningRate, CSVLogger": lambda: [rate, keras.callbacks.CSVLogger(f"{folder}/log.csv")],
        }
        for name, epochs in (("digits MLP", 400), ("MLP 784", 20)):
            contenders = {callbacks: trainer(name, epochs, True, make) for callbacks, make in both.items()}
            steps = epochs * -(-len(WORKS[name].arrays()[1]) // WORKS[name].batch)
            print(f"Loop, {name}\n" + table(alternate(contenders, repetitions), steps, "none"))
        del both["LearningRate, CSVLogger"]
        contenders = {callbacks: trainer("MLP 784", 4, False, make) for callbacks, make in both.items()}
        print("model.fit, MLP 784\n" + table(alternate(contenders, repetitions), 400, "none"))


if __name__ == "__main__":
    main()
