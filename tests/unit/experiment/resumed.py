"""Runs of one tiny recipe, each in a fork that a signal may end in the middle of an epoch.

    python resumed.py '[[signal, update, [arguments]], ...]'

The command line gets the arguments of each; the signal is sent after so many updates, 0 for none. Printed is a JSON
list of the exit codes, negative after a signal that killed.
"""

import json
import os
import sys

import keras

import kopt
from kopt import data, models, schedules
from kopt.callbacks import EMA
from kopt.experiment import resuming
from kopt.experiment import run as runs

RECIPE = kopt.Recipe(
    "stopped",
    data.Digits(examples=120),
    augment=kopt.augment.Shift(0.06, 0.06),
    model=models.MLP((8, 8, 1), 10, units=(16,), dropout=0.2, scale=1 / 16),
    schedule=schedules.Cosine(0.02).warmup(1),
    average=EMA(0.9),
    training=kopt.Training(epochs=6, batch_size=16, patience=3),
)


def main(number: int, update: int, arguments: list[str]) -> None:
    """Run the recipe as the arguments say, in chunks of one step; send this process a signal after an update."""

    class EpochTime(runs.EpochTime):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            if update and int(keras.ops.convert_to_numpy(self.model.optimizer.iterations)) == update:
                os.kill(os.getpid(), number)

    runs.EpochTime = EpochTime
    resuming.EVERY = "2 steps"
    kopt.run_command(kopt.command_line(kopt.Command(RECIPE), quick={}, args=arguments))


def in_fork(*job: object) -> int:
    """Call `main` in a fork; return how that has ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.dup2(2, 1)
    code = 1
    try:
        main(*job)
        code = 0
    except SystemExit as ended:
        code = ended.code
    finally:
        os._exit(code)


if __name__ == "__main__":
    print(json.dumps([in_fork(*job) for job in json.loads(sys.argv[1])]))
