"""The page of a search: what it says, the numbers in it, and how it looks in a browser."""

import html
import html.parser
import os
import pathlib
import re
import types
import warnings

import optuna
import pytest
from browser import chromium

from kopt.__main__ import main
from kopt.tuning import Tuner
from kopt.tuning.page.live import LivePage
from kopt.tuning.page.scales import Scale, scale_of_numbers
from kopt.tuning.page.trials import under_way
from kopt.tuning.reopened import reopened_search
from kopt.tuning.report import with_values
from kopt.tuning.report_command import report_search

WIDTHS = (390, 1280)
MEGABYTE = 1 << 20


class Wide(Tuner):
    """Of its hyperparameters the last two matter; it reports epochs, one trial is pruned and one fails."""

    def run_trial(self, trial, count):
        hp = trial.hyperparameters
        values = [hp.Float(f"x{place}", 0, 1) for place in range(count)]
        step = hp.Float("step", 0.0, 1.0, step=0.1)
        result = values[-1] + 0.5 * values[-2] + 0 * step
        for epoch in range(3):
            self.on_epoch_end(trial, types.SimpleNamespace(), epoch, {self.oracle.objective.name: result + 3 - epoch})
        if trial.trial_id == "1":
            raise optuna.TrialPruned
        if trial.trial_id == "2":
            raise KeyError("a")
        return result


class Front(Tuner):
    """Two objectives against each other."""

    def run_trial(self, trial, **_):
        width = trial.hyperparameters.Float("width", 1, 100, sampling="log")
        return {"val_loss": 1 / width + trial.hyperparameters.Float("x", 0, 1), "parameters": int(width)}


class Page(html.parser.HTMLParser):
    """The rows of each table of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.within = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.within = tag in ("td", "th") or (self.within and tag == "wbr")
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_data(self, data):
        if self.within:
            self.tables[-1][-1][-1] += data

    def handle_endtag(self, tag):
        self.within = False


def searched(folder, count: int, trials: int = 12) -> Wide:
    tuner = Wide(max_trials=trials, sampler="random", directory=folder)
    tuner.oracle.verbose = 0
    tuner.search(count)
    return tuner


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Wide:
    return searched(tmp_path_factory.mktemp("few"), 3)


@pytest.fixture(scope="module")
def front(tmp_path_factory) -> Front:
    tuner = Front(objective=["val_loss", "parameters"], max_trials=20, directory=tmp_path_factory.mktemp("front"))
    tuner.search(verbose=0)
    return tuner


def figure(page: str, title: str) -> str:
    """The part of a page that is a chart."""
    return next(one for one in re.findall(r"<figure.*?</figure>", page, re.S) if f"<figcaption>{title}" in one)


def test_the_page_begins_with_what_won_by_how_much_and_how_to_load_it(few: Wide) -> None:
    page = few.report().read_text()
    assert len(page) < MEGABYTE and not re.findall(r"(?:src|href)=|url\(", page)  # no network, and no other file
    best, first = few.study.best_trial, few.study.trials[0]
    assert f"<div class='score'>default_<wbr>objective {best.value:.4g}</div>" in page
    share = 100 * abs(best.value - first.value) / first.value
    assert f"the best is {first.value - best.value:.4g} less, {share:.0f} %" in page
    places = [
        page.index(part) for part in ("class='score'", "How to load it", "What mattered", "<h2>Trials", "<details")
    ]
    assert places == sorted(places)
    shown = Page(page).tables[0]
    assert shown[0] == ["", f"trial {best.number}", "the first trial (0)"]
    assert {name: value for name, value, _ in shown[1:]}["x0"] == f"{best.params['x0']:.4g}"
    names = {"tuner": few}
    exec(html.unescape(re.findall(r"<pre>(.*?)</pre>", page, re.S)[0]), names)  # as it stands
    assert names["values"]["x0"] == best.params["x0"]
    assert "Its weights were not kept here" in page


def test_the_page_shows_time_and_size_of_each_trial_and_why_trials_failed(tmp_path) -> None:
    from searches import DATA, build

    tuner = Tuner(build, "val_accuracy", max_trials=2, sampler="random", directory=tmp_path, seed=3)
    tuner.oracle.verbose = 0
    tuner.search(**DATA, epochs=1)
    page = tuner.report().read_text()
    rows = Page(page).tables[1]
    assert rows[0] == ["", "trial", "val_accuracy", "epoch", "state", "time", "parameters", "units", "rate"]
    for row in rows[1:]:
        units = int(row[rows[0].index("units")])
        assert row[rows[0].index("parameters")] == f"{5 * units + 1:,}"  # 3 inputs, units, 1 output
        assert re.fullmatch(r"\d+\.\d s", row[rows[0].index("time")])
    names = {"tuner": tuner}
    exec(html.unescape(re.findall(r"<pre>(.*?)</pre>", page, re.S)[0]), names)
    assert names["model"].count_params() == 5 * tuner.get_best_hyperparameters()[0].values["units"] + 1


def test_a_failed_trial_is_named_with_its_error(few: Wide) -> None:
    page = few.report().read_text()
    assert Page(page).tables[-1][1:] == [["2", "KeyError: 'a'"]]
    assert ".errors td { white-space: normal; max-width: none" in page  # an error is read whole


def test_curves_tell_complete_from_pruned_trials(few: Wide) -> None:
    curves = figure(few.report().read_text(), "Learning curves")
    assert "complete (10)" in curves and "pruned (1)" in curves and f"trial {few.study.best_trial.number}" in curves
    assert curves.count("stroke-dasharray") == 1
    colors = set(re.findall(r'stroke="(#\w+)"', curves))
    assert len(colors) >= 4 and "#ffffff" not in colors


def test_the_worst_trial_is_seen_on_white(few: Wide) -> None:
    for color in set(re.findall(r'stroke="#(\w{6})"', figure(few.report().read_text(), "Parallel coordinates"))):
        red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (0, 2, 4))
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in (red, green, blue)]
        brightness = sum(share * one for share, one in zip((0.2126, 0.7152, 0.0722), linear))
        assert 1.05 / (brightness + 0.05) > 1.7, color  # WCAG's contrast with white; of white it is 1


def test_a_page_of_many_hyperparameters_shows_the_important_ones_and_says_so(tmp_path) -> None:
    tuner = searched(tmp_path, 60)
    page = tuner.report().read_text()
    important = list(tuner.importances())
    told = "Of 61 hyperparameters that had several values, the 10 most important ones are plotted and in the table"
    assert told in page and "30 have a bar" in page
    assert Page(page).tables[1][0][6:] == important[:10]
    assert figure(page, "Importances").count("class='bar'") == 30
    assert figure(page, "Parallel coordinates").count("class='name'") == 11
    assert len(page) < MEGABYTE


def test_a_page_of_few_hyperparameters_leaves_nothing_out(few: Wide) -> None:
    page = few.report().read_text()
    assert "most important ones" not in page
    rows = Page(page).tables[1]
    assert sorted(rows[0][6:]) == ["step", "x0", "x1", "x2"]
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
        page = tuner.report().read_text()
    assert "Importances" in page and "Pairs of hyperparameters" not in page


def test_plots_have_the_numbers_that_trials_have(few: Wide) -> None:
    copied = with_values(few.oracle)
    complete = [one for one in copied.trials if one.state.name == "COMPLETE"]
    assert {one.number: one.value for one in complete} == {
        one.number: one.value for one in few.study.trials if one.state.name == "COMPLETE"
    }
    history = figure(few.report().read_text(), "Scores in the order of the trials")
    told = dict(re.findall(r"<title>trial (\d+)\ndefault_objective ([\d.e+-]+)", history))
    assert told == {str(one.number): f"{one.value:.5g}" for one in complete} and len(told) == 10
    # Places by hand: a trial's number between -0.5 and 11.5, upwards its value between 4 % below and above all.
    values = [one.value for one in complete]
    room = 0.04 * (max(values) - min(values))
    low, high = min(values) - room, max(values) + room
    best = min(complete, key=lambda one: one.value)
    x, y = re.findall(rf'd="M([\d.]+) ([\d.]+)h0"[^>]*><title>trial {best.number}\n', history)[0]
    assert float(x) == pytest.approx(1000 * (best.number + 0.5) / 12, rel=1e-3)
    assert float(y) == pytest.approx(1000 * (1 - (best.value - low) / (high - low)), rel=1e-3)


def test_scales_of_results() -> None:
    assert scale_of_numbers([1e-3, 5.0], small=True).log and not scale_of_numbers([1e-3, 5.0]).log
    assert Scale(0.1, 1.0, log=True).place(0.0) is None and Scale(0.0, 1.0).place(float("nan")) is None
    assert [text for _, text in Scale(1, 3, whole=True).ticks()] == ["1", "2", "3"]
    assert Scale(-0.5, 0.5, whole=True).ticks() == [(0.5, "0")]  # of one trial
    assert [text for _, text in Scale(1e-3, 1e-1, log=True).ticks()][::3] == ["0.001", "0.01", "0.1"]


def test_the_front_of_two_objectives_has_the_best_of_each(front: Front) -> None:
    page = front.report().read_text()
    number = len(front.study.best_trials)
    assert f"<div class='score'>{number} trials</div>" in page and f"Pareto front ({number})" in page
    least = min(one.values[0] for one in front.study.trials)
    assert f"val_loss {least:.4g}" in page and "Learning curves" not in page
    names = {"tuner": front}
    exec(html.unescape(re.findall(r"<pre>(.*?)</pre>", page, re.S)[0]), names)
    assert names["trial"].metrics.get_best_value("val_loss") == least


def test_a_page_without_a_complete_trial_is_refused_unless_it_is_live(tmp_path) -> None:
    tuner = Wide(max_trials=1, directory=tmp_path)
    with pytest.raises(ValueError, match=r"^report\(\) must have a complete trial, got 0\.$"):
        tuner.report()
    page = tuner.report(live=True).read_text()
    assert "no trial yet" in page and "location.reload()" in page


def test_a_live_page_is_written_while_the_search_is_at_work(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("kopt.tuning.page.live.EVERY", 0.0)
    monkeypatch.setattr("kopt.tuning.page.live.SHARE", 1e9)
    pages = []

    class Seen(Wide):
        def on_trial_end(self, trial):
            pages.append(file.read_text())  # as the last epoch of the trial left it
            super().on_trial_end(trial)

    tuner = Seen(max_trials=4, sampler="random", directory=tmp_path)
    tuner.oracle.verbose = 0
    file = tuner.report(live=True)
    tuner.search(3)
    assert all("location.reload()" in page and "<h2>Running</h2>" in page for page in pages)
    assert [row[:2] for row in Page(pages[-1]).tables[0][1:]] == [["3", "3"]]  # trial 3 has reported three epochs
    assert "1 complete" in pages[-1] and "2 complete" in file.read_text()
    assert "location.reload()" not in file.read_text() and not list(file.parent.glob(".report*"))


def test_a_live_page_takes_a_small_share_of_the_time(few: Wide, monkeypatch) -> None:
    written = []
    monkeypatch.setattr("kopt.tuning.page.live.write_report", lambda *_, **how: written.append(how["live"]))
    page = LivePage(few.oracle)
    for _ in range(100):
        page()
    page(ended=True)
    assert written == [True, False]


def test_a_page_that_cannot_be_written_does_not_end_the_search(tmp_path, caplog) -> None:
    tuner = Wide(max_trials=1, sampler="random", directory=tmp_path)
    tuner.oracle.verbose = 0
    tuner.oracle.on_change = LivePage(tuner.oracle)
    (tuner.oracle.folder.path / "report.html").mkdir()
    tuner.search(3)
    assert len(tuner.study.trials) == 1 and "report.html could not be written" in caplog.text


def test_a_search_is_shown_from_its_folder_alone(few: Wide, capsys) -> None:
    folder, file = few.oracle.folder.path, few.report()
    before = file.read_text()
    file.unlink()
    main(["report", str(folder)])
    assert capsys.readouterr().out.strip() == str(file) and file.read_text() == before
    oracle = reopened_search(folder)
    assert [one.trial_id for one in oracle.ranking()] == [one.trial_id for one in few.oracle.ranking()]
    report_search(folder, live=True, every=0.01, times=2)
    assert file.absolute().as_uri() in capsys.readouterr().out and "location.reload()" not in file.read_text()


def test_a_trial_whose_process_has_ended_does_not_run(tmp_path) -> None:
    tuner = Wide(max_trials=1, directory=tmp_path)
    tuner.oracle.verbose = 0
    trial = tuner.oracle.create_trial("tuner0")
    assert [one.number for one in under_way(tuner.oracle)] == [0]
    tuner.oracle.folder.drop(int(trial.trial_id))  # as if the process had ended
    assert [one.state.name for one in tuner.study.trials] == ["RUNNING"] and under_way(tuner.oracle) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: place / "nowhere", "folder must be that of a search, with a journal.log"),
        (lambda place: (place / "journal.log").touch() or place, "folder must be of a study in the storage"),
    ],
)
def test_a_folder_without_a_search_is_refused(make, message: str, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["report", str(make(tmp_path))])
    assert caught.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


class Named(Tuner):
    """Long names, of hyperparameters and of a choice, and a condition; large whole numbers as a score."""

    def run_trial(self, trial):
        hp, block = trial.hyperparameters, "a_block_of_a_long_name.with_several_parts_and_words."
        kind = hp.Choice(f"{block}kind", ["adam", "stochastic_gradient_descent_with_momentum"])
        with hp.conditional_scope(f"{block}kind", ["adam"]):
            decay = hp.Float(f"{block}decay", 0, 1) if kind == "adam" else 0.5
        if trial.trial_id == "1":
            raise ValueError("a sentence that is longer than a small window is wide, " * 3)
        return float(int(1e8 * (decay + hp.Float(f"{block}rate", 1e-4, 1, sampling="log"))))


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Named:
    tuner = Named(max_trials=12, sampler="random", directory=tmp_path_factory.mktemp("named"))
    tuner.oracle.verbose = 0
    tuner.search()
    return tuner


def test_long_names_keep_their_end_and_whole_numbers_their_digits(named: Named) -> None:
    page = named.report().read_text()
    best = named.study.best_trial
    assert f"<div class='score'>default_<wbr>objective {best.value:,.0f}</div>" in page
    titles = re.findall(r"class='name'[^>]*title='([^']+)'>([^/]+)</", page)
    shown = {title: text.replace("<wbr>", "") for title, text in titles}
    kind, rate, decay = (
        f"a_block_of_a_long_name.with_several_parts_and_words.{one}" for one in ("kind", "rate", "decay")
    )
    assert shown[rate] == f"…{rate[-29:]}" and shown[kind] == f"…{kind[-29:]}"
    assert shown[f"{decay} [{kind}=adam]"] == f"…{decay[-29:]} […{f'{kind}=adam]'[-29:]}"


def test_pages_fit_small_and_large_windows_and_log_no_error(few: Wide, front: Front, named: Named, tmp_path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<body><div style='width:2000px'>x</div><script>nothing()</script>")
    live = few.report(live=True).read_text()
    (tmp_path / "live.html").write_text(live)
    with chromium() as browser:
        for file in (few.report(), front.report(), named.report(), tmp_path / "live.html"):
            for width in WIDTHS:
                browser.open(file, width)
                browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
                assert (browser.overflow(), browser.errors) == (0, [])
                outside = (
                    "[...document.querySelectorAll('figure *, .won *, h2')].filter(one => one.getBoundingClientRect()"
                )
                assert browser.run(f"{outside}.right > innerWidth + 1).length") == 0
        browser.open(broken, 390)  # the counter-test
        assert browser.overflow() > 1000 and "nothing is not defined" in str(browser.errors)


def test_a_live_page_loads_itself_again_and_stays_as_it_was(few: Wide, tmp_path) -> None:
    text = few.report(live=True).read_text().replace("5 * 1000", "1 * 300")
    file = pathlib.Path(tmp_path / "page.html")
    file.write_text(text)
    with chromium() as browser:
        browser.open(file)
        browser.run("document.querySelectorAll('details')[1].open = true; scrollTo(0, 200)")
        other = file.with_name("other")
        other.write_text(text.replace("<h1>", "<h1>Later: ").replace("1 * 300", "1e6"))
        os.replace(other, file)
        browser.wait_until("document.querySelector('h1').textContent.startsWith('Later')")
        opened = "[...document.querySelectorAll('details')].map(one => one.open)"
        assert browser.run(opened)[:2] == [False, True] and browser.run("scrollY") == 200
