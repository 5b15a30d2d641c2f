"""Training speed: Loop against model.fit, PyTorch, torch.compile and hand-written JAX on the same work.

Command   python recipes/benchmarks/training_speed.py
Data      random numbers of the usual shapes, see works.py
Target    the ratios of the table's last columns, see the notes below
Time      about 30 minutes on 2 cores; --works "digits MLP" for one of them, --groups Loop fit for two contenders

Everyone trains the same network from the same weights on the same batches in the same order, which is made outside the
timed part, with the loss and a metric of every epoch read as numbers; losses after the first epoch are compared. Each
contender is a process of its own that waits while another's turn is timed; turns alternate, and the median counts.
model.fit is run with 1, 16 and an epoch's steps an execution, each with and without XLA, PyTorch eager and compiled,
each with one thread and with all, JAX with one core and with all; the best of each is what Loop is compared with.
A peer that is not installed is a dash.

Measured, how many times Loop's time the best of each takes:

    work                us a step    fit   PyTorch   JAX scan
    10-5-1, batch 1          0.59    106       201       0.93
    10-5-1, batch 64         3.47     28        37       0.92
    digits MLP               13.0     46        13       1.02
    MLP 784                   425    2.3       2.4       1.30
    CNN                      4397    1.5       1.2         42
    transformer              7242    1.4       2.2       1.93
    factorization             134    4.3       2.2       1.26
    GRU                      1156    2.2       2.9       1.01
    MLP 784, dropout         1289    2.3
    transformer, dropout    19844    1.3
    CNN, BatchNorm, dropout 11022    1.7
    text bag                  697    3.4

Works with dropout draw other numbers in each contender, so that losses differ. Only Loop and fit contend there, and on
the text bag. Loop must be ahead of the best fit: MLP 784 with dropout 2 times, transformer with dropout 1.3, CNN with
BatchNorm and dropout 1.2, text bag 3.

What was tried, in us a step:
- Random numbers in XLA, us for 65,536 uniform ones with a selection (524,288 in brackets): what TensorFlow chooses
  11352 (182215), Philox 384 (6244), Threefry 62 (721), a hash of two multiplications by hand 46 (523), without XLA 199
  (1958), no random numbers 13 (71). Threefry, taken: MLP 784 with dropout without XLA 2500, Philox 1470 to 1560,
  Threefry 1250 to 1290; transformer with dropout 25000, 22990 to 23670, 17860 to 19840.
- CNN with BatchNorm and dropout: Keras' formula of batch normalization 17744 (1.09 times fit's best), TensorFlow's
  fused kernel 11022. Taken without XLA unless Keras' bits are asked for.
- The check that a gradient is finite: a condition around the update 0.77 (batch 1), 447 (MLP 784), 200 (factorization);
  selecting old or new values 0.78, 456; the check by squares, dot products, the largest or zero times the gradients no
  better (470 to 640); no check in the step, one at the end of a call, and the call done again 0.56, 383, 142. Taken.
- Small arrays put into order once a call and sliced, for rows gathered at each step: batch 64 from 4.0-5.6 to 3.3,
  batch 1 from 0.60 to 0.57. Taken.
- Several epochs a call, for one: digits from 20.9 to 13.2. Taken.
- Without metrics: nothing.
- Recurrent loops in XLA, times as fast as without: GRU of 32 to 64 units 1.2 to 2.0, of 128 and 256 units 1.0 to 1.3,
  LSTM of 32 and 64 units 1.3 to 2.2, of 128 units 0.9 to 1.0, bidirectional ones 1.0 to 1.4; after
  an embedding, and with a mask, 2.5 to 4.9 (on a busy machine). Taken.
- MLP 784, 367 in that run: rows put in order whole 364, the check in each step 379, XLA's oneDNN products 412, its fast
  arithmetic 483. Its five matrix products alone, in a loop of their own in XLA, take 316: nothing is left
  to win, and fit's best takes 2.3 to 2.5 times as long because of the same products.
- Transformer, 6790 in that run: XLA's tree reductions off 6975, one thread 7725, its scheduler for concurrency off
  7285, its fused library kernels off 8685, fast arithmetic 8463, oneDNN products 7295, rows put in order whole 7309.
- CNN, 3810 in that run: oneDNN off 13970, one thread between operations 3930, one within 4180, the update in XLA 4670,
  no check 4040; earlier: patches and products, other pools and rows put in order whole, no better. 98 % of
  it is inside oneDNN's convolutions, which PyTorch calls too.
"""

import csv
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import tyro
from timing import peak_megabytes, quiet_environment

FIT = [f"fit, {steps} a call{', jit' if jit else ''}" for steps in ("1", "16", "all") for jit in (False, True)]
TORCH = [f"torch{kind}, {threads}" for kind in ("", ".compile") for threads in ("one thread", "all threads")]
JAX = ["jax, one core", "jax, all cores"]
GROUPS = {"Loop": ["Loop"], "fit": FIT, "PyTorch": TORCH, "JAX": JAX}
TURN = 0.7  # seconds
HOPELESS = 3.0  # times the fastest of its group
PATIENCE = 60.0  # for a first epoch; a slower contender is left out


class Trainer(NamedTuple):
    """The work of a contender's process: train epochs, and report the seconds of one and the first loss."""

    epochs: Callable[[int], float]
    loss: float


def keras_trainer(name: str, contender: str) -> Trainer:
    """Return a trainer by Loop, or by stock fit with its settings."""
    import keras
    from works import WORKS

    from kopt.training import Loop

    class Stamps(keras.callbacks.Callback):
        """Records the time at the end of each epoch; Loop may run several epochs before it calls the hooks."""

        spans_epochs = True
        times: list[float] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.times.append(time.perf_counter())

    work = WORKS[name]
    x, y = work.arrays()
    steps = work.steps()
    if contender == "Loop":
        model = work.model()
        fit = Loop(model, jit="auto" if "CNN" in name else True).fit  # what "auto" takes for a long training
    else:
        asked = contender.split(", ")[1].removesuffix(" a call")
        model = work.model(
            steps_per_execution=steps if asked == "all" else int(asked), jit_compile=contender.endswith("jit")
        )
        fit = model.fit
    stamps = Stamps()
    how: dict[str, Any] = {"batch_size": work.batch, "shuffle": False, "verbose": 0, "callbacks": [stamps]}
    first = fit(x, y, epochs=1, **how).history["loss"][0]

    def epochs(count: int) -> float:
        stamps.times.clear()
        fit(x, y, epochs=count + 1, **how)
        return (stamps.times[-1] - stamps.times[0]) / count

    return Trainer(epochs, first)


def peer_trainer(name: str, contender: str, weights: str) -> Trainer:
    """Return a trainer by PyTorch or JAX that starts from the weights in a file."""
    import numpy as np

    if contender == "jax, one core":
        os.sched_setaffinity(0, {0})
    from works import WORKS

    work = WORKS[name]
    with np.load(weights) as file:
        first = [file[key] for key in file.files]
    if contender.startswith("jax"):
        import peer_jax

        run = peer_jax.epochs(name, work, first)
    else:
        import peer_torch
        import torch

        torch.set_num_threads(1 if contender.endswith("one thread") else os.cpu_count() or 1)
        run = peer_torch.Peer(name, work, first, compiled=".compile" in contender).train
    order = np.arange(len(work.arrays()[1]), dtype="int32")
    loss = run(order)["loss"]

    def epochs(count: int) -> float:
        run(order)
        started = time.perf_counter()
        for _ in range(count):
            run(order)
        return (time.perf_counter() - started) / count

    return Trainer(epochs, loss)


def contend(name: str, contender: str, weights: str) -> None:
    """Run one contender: train the first epoch; then read numbers and train for as many epochs."""
    started = time.perf_counter()
    ours = contender == "Loop" or contender.startswith("fit")
    trainer = keras_trainer(name, contender) if ours else peer_trainer(name, contender, weights)
    print(json.dumps({"first": time.perf_counter() - started, "loss": trainer.loss}), flush=True)
    for line in sys.stdin:
        seconds = trainer.epochs(int(line))
        print(json.dumps({"seconds": seconds, "peak": peak_megabytes()}), flush=True)


class Contender:
    """A contender's process, as the process that times it sees it."""

    def __init__(self, name: str, contender: str, weights: str):
        self.name, self.seconds, self.peak = contender, list[float](), 0.0
        command = [sys.executable, __file__, "--worker", name, "--contender", contender, "--weights", weights]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=quiet_environment(), text=True, **pipes)
        started = time.perf_counter()
        try:
            self.first = json.loads(self.answer())
        except ValueError:
            self.first = None
        self.alive = self.first is not None and time.perf_counter() - started < PATIENCE

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def turn(self, epochs: int) -> float:
        """Train for a number of epochs; return the seconds of one."""
        assert self.process.stdin
        print(epochs, file=self.process.stdin, flush=True)
        found = json.loads(self.answer())
        self.peak = found["peak"]
        return float(found["seconds"])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def installed(contender: str) -> bool:
    package = contender.partition(",")[0].partition(".")[0]
    return package in ("Loop", "fit") or importlib.util.find_spec(package) is not None


def measure(name: str, repetitions: int, folder: Path, groups: Sequence[str]) -> dict[str, dict[str, float]]:
    """Time one work; return contender -> seconds of an epoch and of the first, first loss, peak MB."""
    import numpy as np
    from works import WORKS

    weights = str(folder / "weights.npz")
    np.savez(weights, *WORKS[name].model().get_weights())
    names = [one for group in groups for one in GROUPS[group] if installed(one)]
    contenders = [Contender(name, one, weights) for one in names]
    there = [one for one in contenders if one.alive]
    try:
        for one in there:
            one.seconds.append(one.turn(1))
        racing = [one for one in there if one.name == FIT[0] or not hopeless(one, there)]
        counts = {one.name: max(1, round(TURN / one.seconds.pop())) for one in racing}
        for _ in range(repetitions):
            for one in racing:
                one.seconds.append(one.turn(counts[one.name]))
        return {
            one.name: {"seconds": statistics.median(one.seconds), "peak": one.peak, **(one.first or {})}
            for one in there
        }
    finally:
        for one in contenders:
            one.close()
        os.unlink(weights)


def hopeless(one: Contender, there: Sequence[Contender]) -> bool:
    """Return whether another contender of its group is so much faster that one turn is enough."""
    group = next(names for names in GROUPS.values() if one.name in names)
    return one.seconds[0] > HOPELESS * min(other.seconds[0] for other in there if other.name in group)


def best(found: dict[str, dict[str, float]], group: str) -> tuple[str, float] | None:
    """Return the fastest contender of a group, and its seconds."""
    there = [(name, found[name]["seconds"]) for name in GROUPS[group] if name in found]
    return min(there, key=lambda one: one[1]) if there else None


def row(name: str, found: dict[str, dict[str, float]]) -> list[str]:
    """Return a work's line of the table."""
    from works import WORKS

    work = WORKS[name]
    steps = work.steps()
    losses = [one["loss"] for one in found.values()]
    agree = max(losses) - min(losses) <= 1e-3 * abs(found["Loop"]["loss"])
    cells = [name, f"{found['Loop']['seconds'] / steps * 1e6:.2f}"]
    for group in ("fit", "PyTorch", "JAX"):
        fastest = best(found, group)
        if fastest is None:
            cells += ["-", "-"]
            continue
        cells += [f"{fastest[1] / steps * 1e6:.2f} ({fastest[0]})", f"{fastest[1] / found['Loop']['seconds']:.2f}"]
    plain = found.get(FIT[0], {}).get("seconds", float("nan")) / found["Loop"]["seconds"]
    first = f"{found['Loop']['first']:.1f} / {found[FIT[0]]['first']:.1f}"
    peak = f"{found['Loop']['peak']:.0f} / {found[FIT[0]]['peak']:.0f}"
    return [*cells, f"{plain:.0f}", first, peak, "equal" if agree else f"{min(losses):.4f} to {max(losses):.4f}"]


TITLES = ["work", "Loop, us a step", "best fit", "ratio", "best PyTorch", "ratio", "JAX scan", "ratio"]
TITLES += ["plain fit", "first epoch, s, Loop / fit", "peak MB, Loop / fit", "losses"]


def main(args: Sequence[str] | None = None) -> None:
    """Time all works; write a table, the figures and a picture to a run folder."""

    def options(
        works: tuple[str, ...] = (),
        groups: tuple[str, ...] = tuple(GROUPS),
        repetitions: int = 5,
        folder: str = "saved_models",
        worker: str = "",
        contender: str = "",
        weights: str = "",
    ) -> tuple[Any, ...]:
        return works, groups, repetitions, folder, worker, contender, weights

    chosen, groups, repetitions, root, worker, contender, weights = tyro.cli(options, args=args, description=__doc__)
    if worker:
        return contend(worker, contender, weights)
    from works import WORKS

    from kopt.report import run_folder

    with run_folder(root, "training_speed") as (place, final):
        found = {}
        print(" | ".join(TITLES))
        for name in chosen or WORKS:
            found[name] = measure(name, repetitions, place, groups)
            print(" | ".join(row(name, found[name])), flush=True)
        (place / "figures.json").write_text(json.dumps(found, indent=2) + "\n")
        with open(place / "table.csv", "w", newline="") as file:
            csv.writer(file).writerows([TITLES, *(row(name, one) for name, one in found.items())])
        figure(found).savefig(place / "speed.png", dpi=110)
    print(final)
    return None


def figure(found: dict[str, dict[str, dict[str, float]]]) -> Any:
    """Draw the ratio of each group's best time to Loop's."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(9, 1 + 0.7 * len(found)), layout="constrained")
    axes = picture.subplots()
    colors = {"fit": "#d95f02", "PyTorch": "#7570b3", "JAX": "#1b9e77"}
    for place, one in enumerate(found.values()):
        for shift, (group, color) in enumerate(colors.items()):
            fastest = best(one, group)
            if fastest:
                ratio = fastest[1] / one["Loop"]["seconds"]
                axes.barh(place + 0.25 * (shift - 1), ratio, 0.23, color=color, label=None if place else group)
                axes.text(ratio, place + 0.25 * (shift - 1), f" {ratio:.2g}", va="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", yticks=range(len(found)), yticklabels=list(found), xlabel="times Loop's time (log)")
    axes.invert_yaxis()
    axes.legend()
    return picture


if __name__ == "__main__":
    matplotlib.use("Agg")
    main()
