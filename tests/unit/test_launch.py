"""launch: environments, prefixed lines, and that one failure stops all."""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from kopt.launch import environments, free_ports, launch


def write(folder: pathlib.Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(
        "import json, os, subprocess, sys, time\nnumber = json.loads(os.environ['TF_CONFIG'])['task']['index']\n" + text
    )
    return str(path)


def gone(pid: int) -> bool:
    """Whether a process has ended, a moment given."""
    for _ in range(100):
        try:
            state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_every_line_has_its_worker_and_arguments_are_passed(tmp_path) -> None:
    out = io.StringIO()
    script = write(tmp_path, "print('number', number)\nprint(sys.argv[1:], file=sys.stderr)")
    assert launch([script, "--rate", "1"], workers=2, out=out) == 0
    lines = out.getvalue().splitlines()
    assert sorted(lines) == ["[0] ['--rate', '1']", "[0] number 0", "[1] ['--rate', '1']", "[1] number 1"]


def test_one_that_fails_stops_all_and_what_they_started(tmp_path) -> None:
    script = write(
        tmp_path,
        "if number == 1:\n    time.sleep(1)\n    sys.exit(3)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\ntime.sleep(600)\n",
    )
    started = time.perf_counter()
    assert launch([script], workers=2) == 3
    assert time.perf_counter() - started < 60
    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_signal_is_an_exit_code(tmp_path) -> None:
    assert launch([write(tmp_path, "os.kill(os.getpid(), 9)")], workers=1) == 128 + 9


def test_a_launcher_that_is_ended_stops_its_workers(tmp_path) -> None:
    script = write(tmp_path, f"open(f'{tmp_path}/pid{{number}}', 'w').write(str(os.getpid()))\ntime.sleep(600)")
    command = [sys.executable, "-m", "kopt", "launch", "--workers", "2", script, "--workers", "7"]
    process = subprocess.Popen(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    files = [tmp_path / f"pid{number}" for number in (0, 1)]
    while not all(file.exists() and file.read_text() for file in files):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + 15
    assert all(gone(int(file.read_text())) for file in files)


def test_each_worker_is_told_its_place(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,8")
    found = environments(2)
    configs = [json.loads(one["TF_CONFIG"]) for one in found]
    assert configs[0]["cluster"] == configs[1]["cluster"] and len(set(configs[0]["cluster"]["worker"])) == 2
    assert [config["task"] for config in configs] == [{"type": "worker", "index": number} for number in (0, 1)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["4,5", "6,7"]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments(6)] == [""] * 6
    assert len(set(free_ports(5))) == 5


@pytest.mark.parametrize(
    ("command", "workers", "message"),
    [
        ([], 2, "command must name a script, got []."),
        (["nowhere.py"], 2, "command must begin with a script's file, got 'nowhere.py'."),
        (["nowhere.py"], 0, "workers must be a whole number >= 1, got 0."),
    ],
)
def test_bad_arguments_are_refused(command, workers, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        launch(command, workers=workers)
    assert str(caught.value) == message
