"""How long a CSV file of a million rows takes to become data, beside what pandas takes to read it alone.

Command   python recipes/benchmarks/read_table.py
Data      random numbers and names, 8 mixed columns, written to a file of about 70 MB in a temporary folder
Target    less than 10 s of CPU time, of one thread, from the path to the splits: kinds, gaps and dates found
Time      about 1 minute on 2 cores
"""

import csv
import pathlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import tyro
from timing import quiet_environment

HERE = str(pathlib.Path(__file__).parent)
MOST_SECONDS = 10.0
READ = """
import sys, time
sys.path.insert(0, sys.argv[2])
from timing import peak_megabytes
{imports}
before = peak_megabytes()
begun, used = time.perf_counter(), time.process_time()
{code}
print(time.perf_counter() - begun, time.process_time() - used, peak_megabytes() - before)
"""
CONTENDERS = {
    "data.csv(...).load()": (
        "from kopt import data",
        "data.csv(sys.argv[1], 'price', missing='impute').load()",
    ),
    "data.csv(..., split='time', by='when').load()": (
        "from kopt import data",
        "data.csv(sys.argv[1], 'price', missing='impute', split='time', by='when').load()",
    ),
    "pandas.read_csv(...)": ("import pandas", "pandas.read_csv(sys.argv[1])"),
    "pandas.read_csv(..., parse_dates=['when'])": (
        "import pandas",
        "pandas.read_csv(sys.argv[1], parse_dates=['when'])",
    ),
}


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    rows: int = 1_000_000
    repetitions: int = 3


def write(path: pathlib.Path, rows: int) -> None:
    """Write a table with numbers, whole numbers, names, true and false, dates and missing values."""
    random = np.random.default_rng(0)
    size, weight = random.normal(50, 20, rows).round(3).tolist(), random.gamma(2.0, 10.0, rows).tolist()
    rooms, town = random.integers(1, 9, rows).tolist(), random.integers(0, 40, rows).tolist()
    days = (np.datetime64("2015-01-01") + random.integers(0, 4000, rows)).astype(str).tolist()
    price = (random.normal(size=rows) + np.array(size) / 20).round(4).tolist()
    gaps = random.random((rows, 2)) < (0.02, 0.01)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "weight", "rooms", "town", "street", "new", "when", "price"])
        for row in range(rows):
            town_name, number = f"town {town[row]}", "" if gaps[row, 0] else size[row]
            street = "n/a" if gaps[row, 1] else f"street {rooms[row] * town[row]}"
            writer.writerow([number, weight[row], rooms[row], town_name, street, rooms[row] > 4, days[row], price[row]])


def measured(name: str, path: pathlib.Path) -> tuple[float, float, float]:
    """Return seconds, seconds of CPU time and MB more than before of one reading in a process of its own."""
    imports, code = CONTENDERS[name]
    command = [sys.executable, "-c", READ.format(imports=imports, code=code), str(path), HERE]
    done = subprocess.run(command, env=quiet_environment(), capture_output=True, text=True, check=True)
    seconds, used, megabytes = map(float, done.stdout.split())
    return seconds, used, megabytes


def main(options: Options) -> int:
    """Print the figures, and return 1 when the target is missed; other work on the machine does not count."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "table.csv"
        write(path, options.rows)
        print(
            f"{options.rows:,} rows, 8 columns, {path.stat().st_size / 2**20:.0f} MB; medians of {options.repetitions}"
        )
        print(f"{'':48} seconds   CPU   MB more")
        found = {name: np.median([measured(name, path) for _ in range(options.repetitions)], 0) for name in CONTENDERS}
    for name, (seconds, used, megabytes) in found.items():
        print(f"{name:48} {seconds:7.2f} {used:5.2f} {megabytes:9.0f}")
    slowest = max(used for name, (_, used, _) in found.items() if name.startswith("data"))
    return 0 if slowest < MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
