"""What callbacks cost: all of kopt's in Loop, LearningRate in model.fit.

Command   python recipes/benchmarks/callbacks.py
Data      random numbers, see works.py
Target    in Loop at most 1.02 on MLP 784, 1.10 for GradientMonitor per layer; LearningRate and CSVLogger 1.15 on the
          digits MLP; in model.fit 1.00
Time      about 4 minutes on 2 cores

Each line is the median time of a run over that of a run without callbacks, which is timed twice: the second line shows
the noise.

Measured on MLP 784, whose epoch takes 38 ms (noise 0.98 to 1.01): TimeBudget 0.98, Throughput 0.99, Diagnosis 1.01,
LayerRates 1.00. Callbacks that need the end of every epoch make each epoch a call, 0.45 ms on the host and 0.4 ms for
the call: SWA 1.06, SpikeGuard 1.07, LAWA 1.10. In the graph, without the host: EMA 1.04 to 1.07, for a step reads and
writes 1.6 MB more; GradientMonitor 1.10 to 1.15, whole or per layer.
Tried for GradientMonitor: norms in every step and a choice of results 1.72; old weights in separate variables on a
condition 1.15; a second trace of the whole step on a condition 1.10; every 100th update 1.08 to 1.10: the cost is the
conditions, which keep XLA from fusing the update's loops, not the norms.
With whole numbers as labels and a callback that takes part in updates, XLA's program checks each gradient, for it
cannot put the state back: CPU time an epoch with an EMA 79.9 ms beside 74.5 without the checks (MLP 784), 2.69 and 2.49
(digits MLP).
Elsewhere: LearningRate and CSVLogger on the digits MLP 1.03 to 1.04; in model.fit 0.88 to 1.24, where the same training
timed against itself gives 0.95 and 1.23: nothing above that noise.
"""

import tempfile
from collections.abc import Callable, Sequence

import keras
import tyro
from timing import alternate, table
from works import WORKS

from kopt.callbacks import (
    EMA,
    LAWA,
    SWA,
    Average,
    Diagnosis,
    GradientMonitor,
    LayerRates,
    LearningRate,
    SpikeGuard,
    Throughput,
    TimeBudget,
)
from kopt.schedules import Cosine
from kopt.training import Loop
from kopt.values.types import Config, KerasCallback

Maker = Callable[[], list[KerasCallback]]
Makers = dict[str, Maker]


def trainer(name: str, epochs: int, loop: bool, callbacks: Maker) -> Callable[[], keras.callbacks.History]:
    """Return a function that trains a work for a number of epochs with callbacks."""
    work = WORKS[name]
    model, (x, y) = work.model(), work.arrays()
    fit = Loop(model, jit=True).fit if loop else model.fit
    how: Config = {"batch_size": work.batch, "epochs": epochs, "verbose": 0}
    return lambda: fit(x, y, callbacks=callbacks(), **how)


def show(title: str, name: str, epochs: int, loop: bool, makers: Makers, repetitions: int) -> None:
    """Print the times of a work with each of several lists of callbacks."""
    contenders = {label: trainer(name, epochs, loop, make) for label, make in makers.items()}
    steps = epochs * -(-len(WORKS[name].arrays()[1]) // WORKS[name].batch)
    print(f"{title}, {name}\n" + table(alternate(contenders, repetitions), steps, "none"))


def main(args: Sequence[str] | None = None) -> None:
    """Time each work with and without callbacks, in turn."""

    def options(repetitions: int = 9) -> int:
        return repetitions

    repetitions = tyro.cli(options, args=args, description=__doc__)
    rate = LearningRate(Cosine(1e-3))
    with tempfile.TemporaryDirectory() as folder:
        nothing: Makers = {"none": list, "none, again": list}
        logged: Makers = {
            "LearningRate": lambda: [rate],
            "LearningRate, CSVLogger": lambda: [rate, keras.callbacks.CSVLogger(f"{folder}/log.csv")],
        }
        watching: Makers = {
            "TimeBudget": lambda: [TimeBudget("1h")],
            "Throughput": lambda: [Throughput()],
            "Diagnosis": lambda: [Diagnosis(verbose=0)],
            "LayerRates": lambda: [LayerRates(depth_decay=0.9)],
            "Average(EMA())": lambda: [Average(EMA())],
            "Average(SWA())": lambda: [Average(SWA())],
            "Average(LAWA())": lambda: [Average(LAWA())],
            "SpikeGuard": lambda: [SpikeGuard()],
            "GradientMonitor": lambda: [GradientMonitor()],
            "GradientMonitor, per layer": lambda: [GradientMonitor(per_layer=True)],
        }
        show("Loop", "digits MLP", 400, True, nothing | logged, repetitions)
        show("Loop", "MLP 784", 20, True, nothing | logged | watching, repetitions)
        one: Makers = {"LearningRate": logged["LearningRate"]}
        show("model.fit", "MLP 784", 4, False, nothing | one, repetitions)


if __name__ == "__main__":
    main()
