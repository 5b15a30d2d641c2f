"""A headless Chromium for the tests of pages, driven by its own protocol over two pipes, with no package."""

import base64
import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
QUIET = ("--no-first-run", "--disable-extensions", "--disable-background-networking", "--hide-scrollbars")
PATIENCE = 60.0  # seconds until a command is answered


class Browser:
    """A page in a headless browser: opens addresses, runs JavaScript, takes pictures, and keeps the errors it logs."""

    def __init__(self, process: subprocess.Popen[bytes], commands: int, answers: int):
        self.process, self.commands, self.answers = process, commands, answers
        self.number, self.rest, self.session = 0, b"", ""
        self.errors: list[str] = []
        self.loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its answer, keeping the errors that come before."""
        self.number += 1
        session = {"sessionId": self.session} if self.session else {}
        command = {"id": self.number, "method": method, "params": arguments, **session}
        os.write(self.commands, json.dumps(command).encode() + b"\0")
        while (answer := self.next_message(PATIENCE)).get("id") != self.number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def next_message(self, seconds: float) -> dict[str, Any]:
        """Return the next message, after noting what it says of errors and of loading."""
        while b"\0" not in self.rest:
            assert select.select([self.answers], [], [], seconds)[0], "the browser does not answer"
            more = os.read(self.answers, 1 << 16)
            assert more, "the browser has ended"
            self.rest += more
        text, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(text)
        self.note(message.get("method"), message.get("params", {}))
        return message

    def note(self, method: str | None, found: dict[str, Any]) -> None:
        self.loaded |= method == "Page.loadEventFired"
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(found["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and found["type"] in ("error", "assert"):
            self.errors.append(str(found["args"]))
        elif method == "Log.entryAdded" and found["entry"]["level"] == "error":
            self.errors.append(found["entry"]["text"])

    def open(self, address: str | pathlib.Path, width: int = 1280, height: int = 900) -> None:
        """Open an address or a file in a window of a size, and wait until it is loaded."""
        # Not mobile=True: a page that is too wide would widen the window with it.
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.errors, self.loaded = [], False
        url = address.absolute().as_uri() if isinstance(address, pathlib.Path) else address
        assert "errorText" not in self.call("Page.navigate", url=url)
        while not self.loaded:
            self.next_message(PATIENCE)

    def run(self, script: str) -> Any:
        """Return the value of JavaScript, also of a promise."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_until(self, script: str, seconds: float = 30.0) -> None:
        """Wait until JavaScript is true, also while the page is loaded anew."""
        end, found = time.monotonic() + seconds, False
        while not found:
            assert time.monotonic() < end, script
            time.sleep(0.05)
            with contextlib.suppress(AssertionError):  # between two pages nothing can be read
                found = bool(self.run(f"document.readyState === 'complete' && ({script})"))

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return self.run("document.documentElement.scrollWidth - innerWidth")

    def picture(self, file: pathlib.Path) -> None:
        """Save a picture of the whole page."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(taken["data"]))


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser, or skip the test where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    (read_commands, commands), (answers, write_answers) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        line = f'exec "$0" "$@" 3<&{read_commands} 4>&{write_answers}'
        process = subprocess.Popen(
            ["bash", "-c", line, program, *OPTIONS, *QUIET, f"--user-data-dir={profile}"],
            pass_fds=(read_commands, write_answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)
        try:
            yield Browser(process, commands, answers)
        finally:
            process.kill()
            process.wait()
            os.close(commands)
            os.close(answers)
