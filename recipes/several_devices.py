"""One recipe on one device and on two: the same losses, the same weights.

Command   python recipes/several_devices.py
Data      digits, as in vision.py; a batch is divided between the devices
Baseline  one device; two virtual CPU devices stand in for two GPUs, so that this is about equality, not about speed
Target    weights and losses that differ by at most 1e-5, the rounding of sums in another order
Time      about 20 s on 2 cores
Result    weights 2e-7 apart, losses 3e-7
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import kopt
from kopt.report import read_run, run_folder

RECIPE = kopt.Recipe(
    "several_devices",
    kopt.data.Digits(),
    model=kopt.models.ConvNet((8, 8, 1), 10, width=8, dropout=0.0, scale=1 / 16),
    schedule=kopt.schedules.Cosine(1e-3).warmup(1),
    training=kopt.Training(epochs=5, batch_size=64),
)
QUICK = {"training.epochs": 2, "data.examples": 200}
DEVICES = {"one_device": "cpu:0", "two_devices": "cpu:0,cpu:1"}


def virtual_devices(count: int) -> None:
    """Split one CPU into several virtual devices, before TensorFlow starts."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)


def trained(args: Sequence[str], devices: str, folder: Path) -> kopt.report.Run:
    """Train in a new process, because the devices of TensorFlow are set once a process, and read the run."""
    command = [sys.executable, __file__, *args, "--devices", devices, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)  # the process has printed why
    found = re.findall(r"^(?:devices|test|run folder): .*$", done.stdout, re.M)
    print("\n".join(found[:2]), flush=True)
    return read_run(found[-1].removeprefix("run folder: "))


@kopt.exit_codes()
def main(args: Sequence[str] | None = None) -> Path | kopt.report.Run:
    """Train on each, and print the largest differences; with --devices, train on those devices."""
    args = sys.argv[1:] if args is None else args
    command = kopt.command_line(kopt.Command(RECIPE), quick=QUICK, args=args, description=__doc__)
    kopt.values.checks.require(command.resume is None, "resume", "must be left out here", command.resume)
    if command.of.devices != "auto":
        virtual_devices(len(command.of.devices.split(",")))
        return kopt.run(command.of, folder=command.folder, track=command.track)
    with run_folder(command.folder, RECIPE.name) as (unfinished, final):
        runs = [trained(args, devices, unfinished / name) for name, devices in DEVICES.items()]
        one, two = (keras.saving.load_model(run.folder / "model.keras").get_weights() for run in runs)
        weights = max(float(np.abs(left - right).max()) for left, right in zip(one, two))
        histories = np.array([run.history["loss"] for run in runs])
        losses = float(np.abs(histories[0] - histories[1]).max())
        text = f"largest difference of weights {weights:.1e}, of losses {losses:.1e}"
        print(text)
        (unfinished / "results.txt").write_text(text + "\n")
    print(f"run folder: {final}")
    return final


if __name__ == "__main__":
    main()
