"""The page of a search over many hyperparameters, and the numbers in it."""

import html.parser
import json
import re
import warnings
from typing import Any

import optuna
import pytest

from kopt.tuning import Tuner
from kopt.tuning.report import with_values

pytest.importorskip("plotly", reason="plotly is not installed")


class Wide(Tuner):
    """Of its hyperparameters the last two matter."""

    def run_trial(self, trial, count):
        hp = trial.hyperparameters
        values = [hp.Float(f"x{place}", 0, 1) for place in range(count)]
        step = hp.Float("step", 0.0, 1.0, step=0.1)
        if trial.trial_id == "1":
            raise optuna.TrialPruned
        if trial.trial_id == "2":
            raise KeyError("a")
        return values[-1] + 0.5 * values[-2] + 0 * step


class Table(html.parser.HTMLParser):
    """The rows of a page's table."""

    def __init__(self, page: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.within = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.within = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        if self.within:
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.within:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag):
        self.within = False


def searched(folder, count: int) -> Wide:
    tuner = Wide(max_trials=12, sampler="random", directory=folder)
    tuner.oracle.verbose = 0
    tuner.search(count)
    return tuner


def drawn(page: str) -> list[list[dict[str, Any]]]:
    """The traces of each plot."""
    decoder = json.JSONDecoder()
    starts = (found.end() for found in re.finditer(r"Plotly\.newPlot\(\s*\"[0-9a-f-]+\",\s*", page))
    return [decoder.raw_decode(page, start)[0] for start in starts]


def test_a_page_of_many_hyperparameters_shows_the_important_ones_and_says_so(tmp_path) -> None:
    tuner = searched(tmp_path, 60)
    page = tuner.report().read_text()
    important = list(tuner.importances())[:20]
    told = "Of 61 hyperparameters that had several values, the 10 most important ones are plotted, 20 are in the table"
    assert told in page and "30 have a bar; tuner.importances() has all" in page
    rows = Table(page[page.index("<table>") : page.index("</table>")]).rows
    assert rows[0][:5] == ["", "trial", "default_objective", "epoch", ""] and rows[0][5:] == important
    _, bars, _, slices, contours = drawn(page)
    assert len(bars[0]["y"]) == 30 and len(slices) == 10 and len(contours) == 4 * 4 + 4 * 3  # contours and their points


def test_a_page_of_few_hyperparameters_leaves_nothing_out(tmp_path) -> None:
    tuner = searched(tmp_path, 3)
    page = tuner.report().read_text()
    assert "most important ones" not in page
    rows = Table(page[page.index("<table>") : page.index("</table>")]).rows
    assert sorted(rows[0][5:]) == ["step", "x0", "x1", "x2"]
    step = rows[0].index("step")
    assert all(len(row[step]) <= 3 for row in rows[1:])  # 0.3, not 0.30000000000000004


class Apart(Tuner):
    """Asks for one hyperparameter or the other."""

    def run_trial(self, trial):
        return trial.hyperparameters.Float("ab"[int(trial.trial_id) % 2], 0, 1)


def test_a_page_of_hyperparameters_that_are_never_together_is_made_without_a_warning(tmp_path) -> None:
    tuner = Apart(max_trials=8, sampler="random", directory=tmp_path)
    tuner.search()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "Importances" in tuner.report().read_text()


def test_plots_have_the_numbers_that_trials_have(tmp_path) -> None:
    tuner = searched(tmp_path, 2)
    copied = with_values(tuner.oracle)
    complete = [one for one in copied.trials if one.state.name == "COMPLETE"]
    assert {one.number: one.value for one in complete} == {
        one.number: one.value for one in tuner.study.trials if one.state.name == "COMPLETE"
    }
    assert {one.number for one in complete} == {0, *range(3, 12)}
    history = next(traces for traces in drawn(tuner.report().read_text()) if traces[0]["type"] == "scatter")[0]
    assert history["x"] == [0, *range(3, 12)]
