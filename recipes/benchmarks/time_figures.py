"""The figures of time_to_model: who contends, what each took, whether that reaches the targets; table and picture."""

import csv
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from trainings import TRAININGS

__all__ = [
    "COLD",
    "CONTENDERS",
    "OFF",
    "TITLES",
    "WARM",
    "Cell",
    "Cells",
    "Found",
    "Verdict",
    "row",
    "verdicts",
    "write",
]

FITS = {"fit": 1, "fit, 16 a call": 16, "fit, an epoch a call": "epoch"}  # steps an execution
COLD, WARM, OFF = "cold", "warm", "off"
PLAIN, COMPILED = "Loop(jit=False)", "Loop(jit=True)"
BOUND = 0.5  # of the best fit's time: drawing the data alone takes longer


class Contender(NamedTuple):
    """The kind and setting of a contender's jobs, and the state of its cache of compiled programs."""

    kind: str
    setting: Any = None
    cache: str = OFF


CONTENDERS = {
    **{name: Contender("fit", steps) for name, steps in FITS.items()},
    "Loop": Contender("Loop", "auto", COLD),
    "Loop, warm": Contender("Loop", "auto", WARM),
    PLAIN: Contender("Loop", False, COLD),
    COMPILED: Contender("Loop", True, COLD),
    f"{COMPILED}, warm": Contender("Loop", True, WARM),
    "PyTorch": Contender("PyTorch"),
    "Lightning": Contender("Lightning"),
    "input alone": Contender("input"),
}


@dataclasses.dataclass
class Cell:
    """What a contender took for a training at a number of epochs: the seconds of each repetition, or its error."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    peak: float = 0.0
    error: str = ""

    def median(self) -> float | None:
        return statistics.median(self.seconds) if self.seconds and not self.error else None


Cells = dict[str, Cell]  # of the contenders
Found = dict[str, dict[int, Cells]]  # of the trainings, at each number of epochs


def seconds(cells: Cells, *names: str) -> float | None:
    """Return the least of the medians of contenders; None without any."""
    medians = [cells[one].median() for one in names if one in cells]
    return min((one for one in medians if one is not None), default=None)


def ratio(cells: Cells, contender: str, *others: str) -> float | None:
    """Return a contender's time over the best of others; None where one was not measured."""
    ours, best = seconds(cells, contender), seconds(cells, *others)
    return None if ours is None or best is None else ours / best


def own_ratio(cells: Cells, warm: str = "") -> float | None:
    """Return the time of Loop over the better of its two modes, with a cold cache or with ", warm" a warm one."""
    modes = (PLAIN, COMPILED + warm)
    return ratio(cells, "Loop" + warm, *modes) if any(seconds(cells, one) for one in modes) else None


def is_bound(name: str, cells: Cells) -> bool:
    """Return whether the user's own Python takes most of the best fit's time."""
    drawn = ratio(cells, "input alone", *FITS)
    return TRAININGS[name].python and drawn is not None and drawn > BOUND


class Verdict(NamedTuple):
    """A target: what was measured, the most that it may be, whether that holds."""

    text: str
    value: float
    target: float
    bound: bool = False  # by the user's own Python: not judged

    def __str__(self) -> str:
        said = "bound" if self.bound else "pass" if self.value <= self.target else "FAIL"
        return f"{said:5} {self.value:.2f} <= {self.target:.2f}  {self.text}"


def verdicts(found: Found) -> list[Verdict]:
    """Return the targets of all trainings that were measured."""
    judged = []
    for name, rows in found.items():
        for epochs, cells in rows.items():
            lines: list[tuple[str, float | None, float]] = []
            if epochs == 1:
                lines.append(("Loop / best fit", ratio(cells, "Loop", *FITS), 1.05))
                lines.append((f"{COMPILED}, warm / best fit", ratio(cells, f"{COMPILED}, warm", *FITS), 1.1))
            if epochs == 10:
                lines.append(("Loop / best fit", ratio(cells, "Loop", *FITS), 0.8))
            lines.append(("Loop / the better of its modes", own_ratio(cells), 1.1))
            lines.append(("Loop / the better of its modes, warm", own_ratio(cells, ", warm"), 1.1))
            for text, value, target in lines:
                if value is not None:
                    bound = epochs == 10 and "fit" in text and is_bound(name, cells)
                    judged.append(Verdict(f"{text}: {name}, epochs: {epochs}", value, target, bound))
    return judged


TITLES = ["work", "epochs", *CONTENDERS, "Loop / best fit", "warm / best fit", "Loop / own best", "warm / own best"]
TITLES += ["peak MB, Loop / fit"]


def row(name: str, epochs: int, cells: Cells) -> list[str]:
    """Return a line of the table."""
    numbers = [seconds(cells, one) for one in CONTENDERS]
    numbers += [ratio(cells, one, *FITS) for one in ("Loop", "Loop, warm")]
    numbers += [own_ratio(cells, warm) for warm in ("", ", warm")]
    peaks = [f"{cells[one].peak:.0f}" if one in cells and cells[one].peak else "-" for one in ("Loop", "fit")]
    return [name, str(epochs), *("-" if one is None else f"{one:.2f}" for one in numbers), " / ".join(peaks)]


def figure(found: Found) -> Any:
    """Draw the time against the epochs, a panel for each training."""
    from matplotlib.figure import Figure

    across = min(4, len(found))
    down = -(-len(found) // across)
    picture = Figure(figsize=(3.6 * across, 3 * down + 0.6), layout="constrained")
    panels = picture.subplots(down, across, squeeze=False).flat
    lines = {
        "best fit": tuple(FITS),
        **{one: (one,) for one in CONTENDERS if CONTENDERS[one].kind not in ("fit", "input")},
    }
    handles: dict[str, Any] = {}
    for axes, (name, rows) in zip(panels, found.items()):
        for place, (label, names) in enumerate(lines.items()):
            points = [(epochs, taken) for epochs, cells in rows.items() if (taken := seconds(cells, *names))]
            if points:
                handles[label] = axes.plot(*zip(*points), color=f"C{place}", marker="o", markersize=3, linewidth=1)[0]
        axes.set(xscale="log", yscale="log", title=name, xlabel="epochs", ylabel="s")
        axes.set_xticks(list(rows), [str(epochs) for epochs in rows])
        axes.minorticks_off()
    for axes in list(panels):
        axes.set_visible(False)
    picture.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=5, fontsize=8)
    return picture


def write(place: Path, found: Found) -> None:
    """Write the figures, the table and the picture of all trainings."""
    figures = {
        "seconds": {
            name: {
                epochs: {one: dataclasses.asdict(cell) for one, cell in cells.items()} for epochs, cells in rows.items()
            }
            for name, rows in found.items()
        },
        "targets": [one._asdict() for one in verdicts(found)],
    }
    (place / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    with open(place / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows([TITLES, *(row(name, *one) for name, rows in found.items() for one in rows.items())])
    figure(found).savefig(place / "time.png", dpi=110)
