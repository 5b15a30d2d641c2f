"""serve: the page of a run in a real browser, and its fields and answers for each kind of input."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import sync_playwright
from streamlit.testing.v1 import AppTest

import kopt
from kopt import data, models
from kopt.experiment.predict import evaluate, model_of
from kopt.experiment.serve import serve
from kopt.experiment.writing import writing
from kopt.report import Run

QUICK = {"schedule": kopt.schedules.Cosine(0.01), "training": kopt.Training(epochs=1, batch_size=32)}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Run:
    folder, random = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    rows = [
        f"{a},{g},{'house' if a > 100 else 'flat'}" for a, g in zip(random.normal(100, 30, 90), ["big", "small"] * 45)
    ]
    (folder / "houses.csv").write_text("\n".join(["floor area,garden,kind", *rows]))
    given = data.csv(str(folder / "houses.csv"), target="kind")
    recipe = kopt.Recipe("my_houses", given, model=models.MLP((4,), 2, units=(4,)), **QUICK)
    return kopt.run(recipe, folder=folder, verbose=False)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def served(folder: os.PathLike[str]) -> Iterator[str]:
    """Run `kopt serve` as a user does, give its address, and stop it with Ctrl-C's signal."""
    port = free_port()
    command = [sys.executable, "-m", "kopt", "serve", str(folder), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).status == 200:
                    break
            assert server.poll() is None, server.communicate()[0]
            time.sleep(0.1)
        yield address
        server.send_signal(signal.SIGINT)
        said = server.communicate(timeout=30)[0]
        assert address in said and "Traceback" not in said and server.returncode == 0, said
    finally:
        server.kill()
        server.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_page_in_a_browser(table) -> None:
    """The answer is that of predict; nothing goes wrong in the console, and no other host is asked."""
    expected = kopt.predict(table, {"floor area": ["140.5"], "garden": ["big"]})
    with served(table.folder) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        wrong: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda one: asked.append(one.url))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.get_by_label("floor area").fill("140.5")
        page.get_by_label("garden").fill("big")
        page.get_by_role("button", name="Predict").click()
        metric = page.get_by_test_id("stMetricValue")
        metric.wait_for(timeout=60_000)
        page.locator("canvas, svg.marks").first.wait_for(timeout=60_000)  # the chart is drawn
        assert metric.inner_text().strip() == expected["class"][0]
        assert page.title() == "my_houses"
        browser.close()
    own = re.compile(rf"(http|ws){re.escape(address.removeprefix('http'))}/|data:|blob:")
    assert len(asked) > 3 and [url for url in asked if not own.match(url)] == []
    assert wrong == []


def opened(run: Run) -> AppTest:
    """Return the page of a run, without a browser."""

    def script(folder: str) -> None:
        from kopt.experiment.serve_page import page

        page(folder)

    return AppTest.from_function(script, args=(str(run.folder),), default_timeout=60).run()


def test_rows_that_do_not_fit_are_answered_by_a_sentence(table) -> None:
    page = opened(table)
    assert [field.label for field in page.text_input] == ["floor area", "garden"] and not page.metric
    page.text_input[0].input("large")
    page.button[0].click().run()
    assert "floor" in page.error[0].value and not page.exception and not page.metric


@pytest.mark.parametrize("kind", ["texts", "items"])
def test_other_inputs_have_their_fields(kind: str, tmp_path) -> None:
    if kind == "texts":
        network: kopt.models.Model = models.TextBag(2, vocabulary=200, length=20, width=4)
        recipe = kopt.Recipe("reviews", data.Reviews(examples=60), model=network, **QUICK)
    else:
        network = models.Autoencoder(2080, width=4)
        recipe = kopt.Recipe("films", data.Likes(examples=60), model=network, **QUICK)
    done = kopt.run(recipe, folder=tmp_path, verbose=False)
    page = opened(done)
    if kind == "texts":
        page.text_area[0].input("a great tea").run()
        assert page.metric[0].value == kopt.predict(done, ["a great tea"])["class"][0]
    else:
        page.multiselect[0].select("Toy Story").run()
        known = np.zeros((1, 2080), "float32")
        known[0, recipe.data.labels.index("Toy Story")] = 1
        found = kopt.predict(done, known)
        assert list(page.table[0].value["item"]) == [found[f"item {one}"][0] for one in range(1, 11)]
    assert not page.exception and not page.error


def test_a_language_model_writes_on(tmp_path) -> None:
    network = models.CharGRU(16, width=8, layers=1)
    recipe = kopt.Recipe("language", data.Characters(length=16, examples=60), model=network, **QUICK)
    done = kopt.run(recipe, folder=tmp_path, verbose=False)
    page = opened(done)
    assert not page.code and [slider.label for slider in page.slider] == ["Temperature", "Length"]
    page.text_area[0].input("A great tea")
    page.slider[0].set_value(0.5)
    page.slider[1].set_value(20)
    page.button[0].click().run()
    *_, expected = writing(model_of(done), "A great tea", length=20, temperature=0.5)
    assert page.code[0].value == expected and expected.startswith("A great tea") and len(expected) > 15
    page.text_area[0].input("")
    page.button[0].click().run()
    assert page.error[0].value == "start must have a character or more, got ''."
    assert not page.exception and not page.code
    # The text of the test split, from a file: the score of the run.
    test = recipe.data.load().test
    text = bytes([*test.x.ravel().tolist(), int(test.y[-1, -1])])
    (tmp_path / "later.txt").write_bytes(text + b"rest")
    found = evaluate(done, tmp_path / "later.txt")
    assert found["rows"] == len(test.y) and found[done.metrics["metric"]] == pytest.approx(
        done.metrics["value"], rel=1e-5
    )
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(ValueError, match="^rows must be a text of more than 16 tokens, got 5"):
        evaluate(done, tmp_path / "short.txt")


def test_what_cannot_be_served_is_refused(table) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match="^port must be one that nothing listens on, got"):
            serve(str(table.folder), taken.getsockname()[1])
    with pytest.raises(ValueError, match=r"^port must be in \[1, 65535\], got 0."):
        serve(str(table.folder), 0)
    with pytest.raises(ValueError, match="^folder must be a run's"):
        serve("nowhere")
