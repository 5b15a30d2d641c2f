"""The time to a trained model: Loop against model.fit and PyTorch, from the call of fit to its return, validation on.

Command   python recipes/benchmarks/time_to_model.py
          python recipes/benchmarks/time_to_model.py --first-epoch
Data      random numbers of the usual shapes, see works.py and trainings.py
Target    Loop's time over that of the best fit at most 1.05 at 1 epoch, 0.8 at 10 where the user's own Python is not
          the limit; 1.05 becomes 1.1 for jit=True when XLA's programs are cached; never more than 1.1 times the better
          of jit=False and jit=True; recipes/vision.py --quick shows its first epoch within 5 s
Time      several hours on 2 cores; --works "digits MLP" --epochs 1 10 about 5 minutes

Each measurement is a new process; imports, data and the model's construction are not in the time, tracing and compiling
are. Contenders alternate, and the median counts; the first process of each kind is discarded, for the operating
system's file cache. The best fit is the fastest, at that number of epochs, of 1, 16 and an epoch's steps an execution.
A cold contender gets an empty folder for XLA's programs (KOPT_CACHE), a warm one the folder of a cold one before.
"three fits in a row" trains 1, a fifth of the epochs, and the epochs. A search is ten trials over one learning rate, by
KerasTuner's RandomSearch for fit and by kopt's Tuner for Loop: with a build function both train by model.fit, with
"Loop in fit" the hypermodel's own fit trains by Loop. "input alone" draws the data and trains nothing: the user's
Python is the limit where that takes more than half of the best fit's time. A training is left out (a dash) where the
line through its times at fewer epochs, or the only such time, is above --seconds. Peak memory is that of the process,
imports with it.

The newest of these works, one run without repetitions on a quiet machine, seconds; peak MB of Loop and of fit:

    work                     epochs  best fit   Loop    PyTorch  Loop/fit  peak
    digits MLP                   10      1.04   0.51       0.13      0.49   863  848
    MLP 784                      10      2.28   1.47       0.97      0.65  1114 1095
    CNN                          10      2.66   1.56       1.33      0.59   942  930
    transformer                  10      6.51   3.91       2.66      0.60   935  948

Before, measured in one run without repetitions, seconds; jit=True is cold and warm; peak MB of Loop and of fit:

    work                     epochs  best fit   Loop  jit=False   jit=True      PyTorch  Loop/fit  peak
    digits MLP                    1      0.69   0.60       0.61   2.17  1.11       0.02      0.86   818  809
                                 10      1.35   0.69       0.71   2.26  1.14       0.17      0.51   818  811
    MLP 784                       1      1.08   0.94       0.94   2.03  1.12       0.12      0.87  1064 1055
                                 10      3.48   2.60       2.74   2.66  1.92       1.17      0.75  1065 1058
    CNN                           1      0.95   0.93       0.89  10.78  9.21       0.20      0.98   901  890
                                 10      3.00   2.15       2.17  84.70 82.79       1.51      0.72   889  893
    transformer                   1      3.12   2.69       2.70   7.12  5.04       0.28      0.86   917  908
                                 10      8.30   7.07       6.93   9.96  7.84       2.60      0.85   918  914
    tf.data, table                1      0.73   0.65       0.68   2.20  1.43          -      0.89   830  821
                                 10      1.59   1.48       1.62   3.32  2.40          -      0.93   850  845
    tf.data, images augmented     1      1.50   1.62       1.87   5.81  3.28          -      1.08  1025 1017
    three fits in a row          10      1.61   0.74       0.75   2.27  1.20          -      0.46   818  810

At 3, 30 and 100 epochs, one run without repetitions, seconds, where a dash was left out as too long:

    work                     epochs  best fit   Loop  jit=False   jit=True  Loop/fit  peak
    digits MLP                    3      0.93   0.65       0.64       2.24      0.70   854  843
                                 30      2.92   0.96       0.99       2.40      0.33   854  846
                                100      7.52   1.80       1.79       2.57      0.24   855  846
    MLP 784                       3      1.64   1.47       1.52       2.22      0.90  1100 1091
                                 30     10.32   4.32       6.86       4.69      0.42  1200 1093
                                100         -  14.77          -      14.52         -  1201    -
    transformer                   3      4.81   3.47       3.48          -      0.72   954    -
                                 30     20.33  17.30      17.41      16.56      0.85   956  949
    tf.data, table                3      0.94   0.85       0.85          -      0.91   874    -
                                 30      3.77   3.63       3.47       6.18      0.96   908  889
                                100     11.16  12.67       9.88          -      1.14  1050    -
    tf.data, images augmented     3      2.61   2.78       3.11      11.15      1.07  1074 1052

Later, one run without repetitions on 2026-11-27, after garbage was no longer collected while a step is traced, and in a
search not of what was there before; a dash was not measured:

    work                     epochs  best fit   Loop  jit=False  Loop/fit  peak
    transformer                   1      2.49   2.00       2.31      0.80   962  950
                                 10      6.32   4.73       5.06      0.75   963  952
    tf.data, table                1      0.55   0.47       0.47      0.86   875  859
                                 10      1.22   1.01       0.94      0.83   899  898
    tf.data, images augmented     1      1.14   1.33       0.97      1.17  1071 1054
                                 10      5.58   7.03       6.33      1.26  1091 1062
    PyDataset                     1      0.84   0.82       0.72      0.98  1066 1050
                                 10      2.94   3.73       3.42      1.27  1066 1053
    ten trials, build function    1     11.22   6.13          -      0.55   897  933
                                 10     18.69  15.44          -      0.83   898  934

Before that change, on a machine with a little other work: a generator of unknown length 0.59 and 0.46 s at 1 epoch,
1.76 and 1.42 at 10, where its own Python takes 0.91; ten trials with a build function 10.54 and 11.30, 18.16 and
22.40; ten trials whose fit is Loop's 11.13 and 10.71, 17.96 and 12.71. Three more pairs each: PyDataset at 10 epochs
2.98 to 3.22 for the best fit, 2.92 to 3.35 for Loop, so level; images at 1 epoch without a cache 1.17 and 1.26, 0.97
and 0.99.

Works that had not been run, later that day on a quiet machine, one run, seconds; in jit=True the cold and the warm one:

    work                     epochs  best fit   Loop  jit=False   jit=True  PyTorch  Lightning  Loop/fit  peak
    endless generator             1      0.65   0.53       0.63  2.03 1.27        -          -      0.81   868  854
                                 10      1.55   0.94       0.95  2.61 1.75        -          -      0.60   869  854
    factorization                 1      0.47   0.49       0.46  1.36 0.75     0.04       0.28      1.05   864  843
                                 10      1.62   1.37       1.29  1.84 1.11     0.31       2.26      0.84  1032  847
    GRU                           1      0.88   0.78       0.77  2.11 1.12     0.08       0.13      0.88   887  875
                                 10      1.75   1.23       1.20  2.34 1.36     0.74       1.63      0.70   888  878
    text bag of 20,000            1      0.64   0.53       0.51  1.43 0.70        -          -      0.83   884  868
                                 10      1.99   1.63       1.52  2.35 1.49        -          -      0.82  1067  870
    10-5-1, batch 64              1      0.56   0.43       0.41  0.78 0.38     0.20       1.21      0.76   878  856
                                 10      1.65   0.85       0.78  0.81 0.44     1.54      11.46      0.52   994  858
    transformer with dropout      1      2.70   2.14       2.54  6.59 4.19        -          -      0.79   973  960
                                 10      6.63   5.48       5.61  8.99 6.83        -          -      0.83   971  964
    tf.data, images augmented     1      1.21   1.04       1.00          -        -          -      0.86  1080 1055
                                 10      5.92   7.43       6.95          -        -          -      1.26  1091 1064

The last two rows are medians of three, and showed what was wrong: the time of a freed iterator, see below. Eight epochs
of the images took three times in turn Loop as it was 5.0, 5.6 and 4.6 s, with iterators that end in a thread of their
own 4.2, 4.1 and 4.2, the best fit 4.9, 4.9 and 4.7: 0.86. One trace fewer than in this table now decides about XLA: CPU
seconds of an epoch with jit=True and cached programs, three times in turn, 1.08 to 0.92 on the digits MLP and 4.1 to
3.4 on the transformer. After both, 10 epochs, medians of two, best fit and Loop: augmented images 5.89 and 5.08 (0.86),
table 1.20 and 0.95 (0.79), factorization 1.63 and 1.34 (0.82), text bag 2.27 and 1.75 (0.77).

After Keras' Adam was traced as its formula, or made the kernel of TensorFlow, quiet machine, one run, seconds:

    work                     epochs  best fit   Loop  jit=False  Loop/fit  peak
    factorization                 1      0.57   0.43       0.48      0.74   862  844
                                 10      1.57   0.71       1.00      0.45   868  847
    transformer                   1      2.41   1.42       1.61      0.59   936  948
                                 10      6.15   4.12       5.50      0.67   937  953
    transformer with dropout      1      2.53   1.60       1.81      0.63   950  961
                                 10      6.70   4.46       6.41      0.67   950  965
    CNN                           1      0.83   0.65       0.61      0.79   943  918
                                 10      2.54   1.52       1.57      0.60   940  932
    GRU                           1      0.90   0.70       0.74      0.79   887  875
                                 10      1.91   1.33       1.28      0.70   887  880
    MLP 784                       1      0.82   0.62       0.65      0.76  1112 1093
                                 10      2.20   1.39       1.55      0.63  1116 1097
    text bag of 20,000            1      0.65   0.48       0.55      0.74   879  867
                                 10      2.57   1.13       1.52      0.44   880  871
    tf.data, images augmented    10      5.88   5.11          -      0.87  1087 1063
    PyDataset                    10      3.04   2.59          -      0.85  1065 1053

The last two are medians of two; their input alone takes 1.54 and 0.03 s. jit=True at 1 epoch, cold and with cached
programs, beside fit as it comes: transformer 4.25, 2.33 and 2.25 (1.04), factorization 1.08, 0.53 and 0.57 (0.93),
digits MLP 1.68, 0.68 and 0.46 (1.48).

The row of 100 epochs of the table was noise of the machine: run again six times in turn, 100 epochs took Loop 4.2 and
4.2 s, jit=True 4.3 and 4.2, jit=False 6.7 and 6.9. The rows of 3 epochs of the transformer and the table are a second
run's, medians of two. Thirty epochs of the images, the CNN and three fits in a row were not run.

Not met: 0.8 at 10 epochs on the augmented images (0.87), on a PyDataset (0.85) and on ten trials by fit (0.83).
PyTorch, which compiles nothing, is ahead of all at so few epochs, but on 10-5-1. jit=True with
cached programs, at 1 epoch 1.1 asked, takes 0.93 to 1.5 times fit on three works, before up to 2.2 on datasets, for it
traces the step for XLA, and loads; 9.7 on the CNN, whose convolutions are slow in XLA. What was tried:
- A table's stream, ms an epoch of 313 steps: 75 to 82, fit with an epoch a call 67 to 74, with 16 steps a call 87 to
  94. Without clocks 71 to 86; the next batch drawn beside the step 75 to 84; ten iterations at once 74 to 81; a
  dataset that prefetches 82 to 92. None taken; what the rest is was not found.
- An iterator of tf.data that is freed waits for threads of its own, up to 70 ms on a table and 200 on images; freed in
  another thread, an epoch of a table of 80 to 93 ms takes 75 to 82. Taken, but for a dataset that runs Python, whose
  generator would end beside the next epoch, or locks a cache's file.
- A seeded shuffle of slices as arrays, to the bit, by each iterator's state, put into one over the examples' numbers.
  Of 20,000 rows TensorFlow writes the buffer's places in 138 ms, reads them in 76 and draws in 41; the stream takes 75
  to 82 ms an epoch. Ten epochs took 3.55 s beside 2.17 of the best fit. Not taken.
- Compiling in a thread while the plain program trains, then going over at an epoch's end: an equal model trains one
  step with XLA in the thread, whose program the first one shares. 20 epochs: MLP 784 4.5 and 4.7 s, where XLA from the
  start takes 3.2 and 3.4 and the plain program 4.3 and 4.5; digits MLP 2.8 and 2.9, 2.3, 0.8. On two cores each slows
  the other: to compile takes 2.7 s beside training. Not taken.
- The transformer's ten epochs are its steps: Loop and the best fit take 0.52 s an epoch both, and differ by what comes
  before, 1.9 and 3.3 s. One thread between operations 7.7 s (7.1 and 7.9 without), without oneDNN 9.2, one thread
  within operations 6.3 and 6.5: the operations are small. But that is the process' own setting, and fit gains by it
  too, 7.9 and 9.0. TensorFlow's graph optimizer off: 7 % of a suite of short trainings, and another program.
"""

import dataclasses
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import tyro
from options import require_among
from time_figures import COLD, CONTENDERS, OFF, TITLES, WARM, Cell, Cells, Found, Verdict, row, verdicts, write
from timing import quiet_environment
from train_once import Job
from trainings import TRAININGS

from kopt.report import run_folder
from kopt.values.checks import require

HERE = Path(__file__).resolve().parent
FIRST_EPOCH = 5.0  # seconds
PATIENCE = 120.0  # seconds for imports, data and a model


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command line."""

    works: tuple[str, ...] = ()  # names of trainings.py; all when none is given
    epochs: tuple[int, ...] = (1, 3, 10, 30, 100)
    contenders: tuple[str, ...] = tuple(CONTENDERS)
    repetitions: int = 3
    seconds: float = 60.0  # a contender is left out where it is expected to take longer
    folder: str = "saved_models"
    quick: bool = False  # one small work, one epoch, fit and Loop, once
    first_epoch: bool = False  # only time recipes/vision.py --quick from its start to its first epoch

    def resolved(self) -> "Options":
        """Return the options with what `quick` changes."""
        require_among("works", self.works, TRAININGS)
        require_among("contenders", self.contenders, CONTENDERS)
        require(min(*self.epochs, self.repetitions) >= 1, "epochs and repetitions", "must be >= 1", self)
        if self.quick:
            small: Any = {"works": ("digits MLP",), "epochs": (1,), "contenders": ("fit", "Loop"), "repetitions": 1}
            return dataclasses.replace(self, **small)
        return dataclasses.replace(self, works=self.works or tuple(TRAININGS), epochs=tuple(sorted({*self.epochs})))


def contends(contender: str, name: str) -> bool:
    """Return whether a contender can do a training: a peer that is not installed, or has no such network, cannot."""
    training, kind = TRAININGS[name], CONTENDERS[contender].kind
    if kind == "input":
        return not training.is_array()
    if kind == "Loop":
        return training.search != "build" or contender in ("Loop", "Loop, warm")
    if kind == "fit":
        return True
    if not all(map(importlib.util.find_spec, {"PyTorch": ("torch",), "Lightning": ("torch", "lightning")}[kind])):
        return False
    from peer_torch import NETWORKS

    return name in NETWORKS


def expected(before: Mapping[int, float], epochs: int) -> float:
    """Return the seconds expected from those of fewer epochs: on the line through the last two, or the only ones."""
    *_, earlier, last = 0, 0, *sorted(before)
    if not earlier:
        return before.get(last, 0.0)
    slope = (before[last] - before[earlier]) / (last - earlier)
    return before[last] + max(0.0, slope) * (epochs - last)


def run(job: Job, cache: str, limit: float) -> Cell:
    """Do one job in a new process; return what it took."""
    command = [sys.executable, str(HERE / "train_once.py"), json.dumps(dataclasses.asdict(job))]
    environment = quiet_environment(KOPT_CACHE=cache)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return Cell(error=f"it was ended after {limit:.0f} s")
    if done.returncode:
        return Cell(error=(done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    answer = json.loads(done.stdout.splitlines()[-1])
    return Cell([answer["seconds"]], answer["peak"])


def turns(name: str, epochs: int, racing: Sequence[str], limit: float) -> Iterator[tuple[str, Cell]]:
    """Let each contender train once; yield what it took. A warm one has the folder of the cold one of its setting."""
    with tempfile.TemporaryDirectory() as root:
        for one in racing:
            kind, setting, cache = CONTENDERS[one]
            job, folder = Job(name, kind, setting, epochs), Path(root, str(setting))
            if cache == WARM and not folder.exists():
                folder.mkdir()
                run(job, str(folder), limit)
            if cache == COLD:
                folder.mkdir()
            yield one, run(job, OFF if cache == OFF else str(folder), limit)


def measure(name: str, options: Options) -> Iterator[tuple[int, Cells]]:
    """Time a training; yield what each contender took at each number of epochs."""
    there = [one for one in CONTENDERS if one in options.contenders and contends(one, name)]
    medians: dict[str, dict[int, float]] = {one: {} for one in there}
    for epochs in options.epochs:
        racing = [one for one in there if expected(medians[one], epochs) <= options.seconds]
        cells = {one: Cell() for one in racing}
        for _ in range(options.repetitions):
            alive = [one for one in racing if not cells[one].error]
            for one, found in turns(name, epochs, alive, PATIENCE + 3 * options.seconds):
                cell = cells[one]
                cell.seconds += found.seconds
                cell.peak, cell.error = max(cell.peak, found.peak), found.error
        for one, cell in cells.items():
            median = cell.median()
            if median is not None:
                medians[one][epochs] = median
            else:
                print(f"left out: {one}, {name}, {epochs} epochs: {cell.error}", flush=True)
        there = [one for one in there if one not in racing or not cells[one].error]
        yield epochs, cells


def warm_up(options: Options, name: str = "digits MLP") -> None:
    """Run one process of each kind that does not count, so that the operating system has read its files."""
    kinds = {CONTENDERS[one].kind: one for one in options.contenders if contends(one, name)}
    for _ in turns(name, 1, list(kinds.values()), PATIENCE + 3 * options.seconds):
        pass


def seconds_to_line(root: str, first: str) -> float:
    """Start recipes/vision.py --quick with a cache in a folder; return the seconds to a line that begins so."""
    command = [sys.executable, "-u", str(HERE.parent / "vision.py"), "--quick", "--folder", f"{root}/runs"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = time.perf_counter()
    with subprocess.Popen(command, env=quiet_environment(KOPT_CACHE=f"{root}/cache"), **pipes) as process:
        assert process.stdout
        lines = [(time.perf_counter() - started, line) for line in process.stdout]
    shown = [taken for taken, line in lines if line.startswith(first)]
    if not shown:
        raise RuntimeError("".join(line for _, line in lines))
    return shown[0]


def first_epoch(repetitions: int) -> list[Verdict]:
    """Time recipes/vision.py --quick from its start to the line of its first epoch, with a cold and a warm cache."""
    taken: dict[str, list[float]] = {COLD: [], WARM: []}
    for _ in range(repetitions + 1):
        with tempfile.TemporaryDirectory() as root:
            Path(root, "cache").mkdir()
            for times in taken.values():
                times.append(seconds_to_line(root, "epoch 1/"))
    text = "s to the first epoch of vision.py --quick, "  # the first of all read files that the system then had
    return [Verdict(text + cache, statistics.median(times[1:]), FIRST_EPOCH) for cache, times in taken.items()]


def main(args: Sequence[str] | None = None) -> None:
    """Time all trainings; write a table, the figures and a picture to a run folder."""
    options = tyro.cli(Options, args=args, description=__doc__).resolved()
    if options.first_epoch:
        return print(*first_epoch(options.repetitions), sep="\n")
    found: Found = {}
    with run_folder(options.folder, "time_to_model") as (place, final):
        if not options.quick:
            warm_up(options)
        print(" | ".join(TITLES))
        for name in options.works:
            found[name] = {}
            for epochs, cells in measure(name, options):
                found[name][epochs] = cells
                print(" | ".join(row(name, epochs, cells)), flush=True)
            write(place, found)
        judged = verdicts(found)
    print(*judged, final, sep="\n")
    return None


if __name__ == "__main__":
    matplotlib.use("Agg")
    main()
