"""What test_killed_worker.py runs: the command line of a recipe, whose last worker is killed once, in mid-epoch.

python -m kopt launch --workers 2 --restarts 1 killed_recipe.py <folder> --resume auto
"""

import json
import os
import pathlib
import signal
import sys

import keras

import kopt
from kopt.callbacks import EMA
from kopt.experiment import resuming
from kopt.experiment import run as runs

RECIPE = kopt.Recipe(
    "killed",
    kopt.data.Digits(examples=120),
    model=kopt.models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16),
    schedule=kopt.schedules.Cosine(0.02),
    average=EMA(0.9),
    training=kopt.Training(epochs=3, batch_size=16),
)
AT = 7  # updates, of 5 an epoch


class EpochTime(runs.EpochTime):
    """Kill the process of the last worker, if none was killed before."""

    folder = pathlib.Path()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        last = json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1
        if last and int(keras.ops.convert_to_numpy(self.model.optimizer.iterations)) == AT:
            try:
                (self.folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: pathlib.Path, arguments: list[str]) -> None:
    signal.alarm(200)  # a worker that waits for ever fails the test
    EpochTime.folder, runs.EpochTime, resuming.EVERY = folder, EpochTime, "2 steps"
    command = kopt.Command(RECIPE, folder=str(folder / "runs"))
    kopt.run_command(kopt.command_line(command, quick={}, args=arguments))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
