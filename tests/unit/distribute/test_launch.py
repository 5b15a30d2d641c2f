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

import kopt
from kopt.distribute import launched
from kopt.distribute.launch import environments, free_ports, launch, launch_tuners


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


def test_tuners_that_die_at_their_work_are_started_again_and_others_are_not(tmp_path) -> None:
    """Number 0 dies in its first two trials, number 1 before it begins one, number 2 makes way twice."""
    script, out = tmp_path / "script.py", io.StringIO()
    script.write_text(
        "import os, sys\nnumber, told = os.environ['KOPT_TUNER_NUMBER'], os.environ['KOPT_TUNER_TOLD']\n"
        "begun = os.path.getsize(told)\nprint('start', begun, os.environ.get('KOPT_TUNER_TRIALS'), flush=True)\n"
        "if number == '1':\n    sys.exit(5)\n"
        "if begun < 2:\n    open(told, 'a').write('.')\n"
        "    os.kill(os.getpid(), 9) if number == '0' else sys.exit(75)\n"
    )
    assert launch_tuners([str(script)], tuners=3, recycle=7, out=out) == 5
    lines = out.getvalue().splitlines()
    assert [line for line in lines if line.startswith("[0]")] == [
        "[0] start 0 7",
        "[0] ended with -9, is started again",
        "[0] start 1 7",
        "[0] ended with -9, is started again",
        "[0] start 2 7",
    ]
    assert [line for line in lines if line.startswith("[1]")] == ["[1] start 0 7"]
    assert [line for line in lines if line.startswith("[2]")] == ["[2] start 0 7", "[2] start 1 7", "[2] start 2 7"]


def test_each_tuner_has_its_own_gpus(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TF_CONFIG", "{}")
    script, out = tmp_path / "script.py", io.StringIO()
    script.write_text("import os\nprint(os.environ['CUDA_VISIBLE_DEVICES'], 'TF_CONFIG' in os.environ)")
    assert launch_tuners([str(script)], tuners=2, gpus=["4", "5", "6", "7"], out=out) == 0
    assert sorted(out.getvalue().splitlines()) == ["[0] 4,5 False", "[1] 6,7 False"]


def test_a_launched_search_makes_way_after_its_trials(tmp_path, monkeypatch) -> None:
    class Line(kopt.tuning.Tuner):
        def run_trial(self, trial):
            return trial.hyperparameters.Float("x", 0, 1)

    told = tmp_path / "told"
    for name, value in launched.environment(1, "a", told, 3).items():
        monkeypatch.setenv(name, value)
    for begun in (3, 6):
        tuner = Line(max_trials=7, directory=tmp_path)
        tuner.oracle.verbose = 0
        with pytest.raises(SystemExit) as left:
            tuner.search()
        assert left.value.code == launched.RECYCLE and told.stat().st_size == begun
    tuner = Line(max_trials=7, directory=tmp_path)
    tuner.oracle.verbose = 0
    tuner.search()
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"] * 7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tuners": 0}, "tuners must be a whole number >= 1, got 0."),
        ({"recycle": 0}, "recycle must be >= 1, got 0."),
        ({"gpus": ["0"], "tuners": 2}, "gpus must be >= 2, one for each tuner, got ['0']."),
        ({}, "command must begin with a script's file, got 'nowhere.py'."),
    ],
)
def test_bad_arguments_of_tuners_are_refused(given, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        launch_tuners(["nowhere.py"], **given)
    assert str(caught.value) == message
