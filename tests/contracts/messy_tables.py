"""Three tables as people have them, made by a seed: messy mixed types, sales by time, measurements by patient.

Each has a signal that a model can find, and what makes such tables hard; other tests import the makers too.
"""

import csv
import pathlib

import numpy as np

__all__ = ["WORDS_OF", "houses", "patients", "sales", "write"]

WORDS_OF = {"good": "bright quiet sunny renovated large modern", "bad": "dark loud damp small old narrow"}


def write(path: pathlib.Path, columns: dict[str, list]) -> str:
    """Write columns as a CSV file; return its path."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))
    return str(path)


def houses(rows: int = 600, seed: int = 0) -> dict[str, list]:
    """Prices of houses: gaps in four spellings, numbers with words among them, dates, codes, texts, an identifier.

    The price goes by area, district, the words of the description and the year of sale.
    """
    random = np.random.default_rng(seed)
    area, district = random.normal(100, 30, rows), random.integers(0, 4, rows)
    good = random.random(rows) < 0.5
    texts = [
        " ".join(["The house is", *random.choice(WORDS_OF["good" if one else "bad"].split(), 3), f"no {row % 90}"])
        for row, one in enumerate(good)
    ]
    sold = np.datetime64("2019-01-01") + random.integers(0, 2000, rows)
    price = 2 * area + 60 * district + 80 * good + (sold - np.datetime64("2019-01-01")).astype(int) / 20
    price = price + random.normal(0, 5, rows)
    measured = [f"{one:.1f}" for one in area]
    for row in range(0, rows, 120):
        measured[row] = ("about 90", "?90", "ask")[row // 120 % 3]  # 5 of 600: words among numbers
    for row in range(7, rows, 25):
        measured[row] = ("", "n/a", "-", "NULL")[row % 4]
    names = [("north", "south", "east", "west")[one] for one in district]
    for row in range(3, rows, 40):
        names[row] = ("", "N/A")[row // 40 % 2]
    return {
        "House ID": list(range(1000, 1000 + rows)),
        "area (m2)": measured,
        "district": names,
        "zip": [f"{one * 7:05}" for one in district],
        "sold on": sold.astype(str).tolist(),
        "description": texts,
        "country": ["XY"] * rows,
        "garden": ["true" if one else "false" for one in random.random(rows) < 0.3],
        "price": [f"{one:.2f}" for one in price],
    }


def sales(rows: int = 500, seed: int = 0) -> dict[str, list]:
    """Sales by the hour, in an order that is not that of time: a trend, a day of the week, an hour of the day."""
    random = np.random.default_rng(seed)
    hours = np.sort(random.choice(rows * 4, rows, replace=False))
    when = np.datetime64("2024-03-01T00", "m") + 60 * hours.astype("timedelta64[m]")
    weekday, hour = (hours // 24 + 4) % 7, hours % 24  # a Friday
    sold = 100 + hours / 50 + 30 * (weekday >= 5) + 20 * np.sin(hour / 24 * 2 * np.pi) + random.normal(0, 2, rows)
    order = random.permutation(rows)
    text = np.char.replace(when.astype(str), "T", " ")
    return {
        "when": text[order].tolist(),
        "store": [f"store {one}" for one in random.integers(0, 3, rows)],
        "sold": [f"{one:.2f}" for one in sold[order]],
    }


def patients(rows: int = 480, seed: int = 0) -> dict[str, list]:
    """Measurements of 60 patients, eight each: the class goes by two measurements, and each patient has a level."""
    random = np.random.default_rng(seed)
    patient = np.arange(rows) // 8
    level = random.normal(0, 1, patient.max() + 1)[patient]
    first, second = random.normal(level, 0.5), random.normal(0, 1, rows)
    kind = (first + second + random.normal(0, 0.3, rows) > 0).astype(int)
    names = [("healthy", "ill")[one] for one in kind]
    names[0] = names[1] = "unclear"  # a class of two rows
    part = np.array(["train", "validation", "test"])[np.searchsorted([36, 48], patient, side="right")]
    return {
        "patient": [f"P{one:03}" for one in patient],
        "first": [f"{one:.6f}" for one in first],
        "second": ["" if row % 30 == 5 else f"{one:.3f}" for row, one in enumerate(second)],
        "part": part.tolist(),
        "diagnosis": names,
    }
