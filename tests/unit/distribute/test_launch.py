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
from kopt.__main__ import main
from kopt.distribute import launched
from kopt.distribute.launch import environments, first_failure, free_ports, launch, launch_tuners
from kopt.distribute.processes import Processes


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


# Launches that are ended by signals, each in a fork of one import. The second fork's worker does not end by SIGTERM.
FORKS = """
import os, sys
from kopt.__main__ import main
folder, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    if not os.fork():
        grace = "600" if number == 1 else "5"
        try:
            main(["launch", "--workers", "1", "--restarts", "3", "--grace", grace,
                  f"{folder}/script.py", f"{folder}/{number}", "--workers", "7"])
        except SystemExit as ended:
            os._exit(ended.code)  # TensorFlow takes seconds to leave
for _ in range(count):
    pid, status = os.wait()
    print(pid, os.waitstatus_to_exitcode(status), flush=True)
os._exit(0)
"""


def test_a_launcher_that_is_ended_by_any_signal_ends_its_workers_and_starts_none_again(tmp_path) -> None:
    """Also by two signals at a time of patience, and by SIGKILL."""
    write(
        tmp_path,
        "import signal\nfolder = sys.argv[1]\nassert sys.argv[2:] == ['--workers', '7']\n"
        "if folder.endswith('1'):\n    signal.signal(signal.SIGTERM, lambda *_: open(folder + '.asked', 'w').close())\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(folder + '.writing', 'a').write(f'{os.getppid()} {os.getpid()} {child.pid} ')\n"
        "os.rename(folder + '.writing', folder)\n"
        "while True:\n    time.sleep(600)\n",
    )
    ends = {0: signal.SIGTERM, 1: signal.SIGTERM, 2: signal.SIGINT, 3: signal.SIGHUP, 4: signal.SIGKILL}
    files = [tmp_path / str(number) for number in ends]
    command = [sys.executable, "-c", FORKS, str(tmp_path), str(len(ends))]
    with subprocess.Popen(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, stdout=-1, text=True) as process:
        while not all(file.exists() for file in files):
            assert process.poll() is None
            time.sleep(0.1)
        started = {number: [int(pid) for pid in files[number].read_text().split()] for number in ends}
        for number, sent in ends.items():
            os.kill(started[number][0], sent)
        while not (tmp_path / "1.asked").exists():
            time.sleep(0.1)
        os.kill(started[1][0], signal.SIGTERM)
        codes = dict(
            map(int, line.split()) for line in process.communicate(timeout=60)[0].splitlines() if line[0] != "["
        )
    assert [codes[started[number][0]] for number in ends] == [143, 143, 130, 129, -9]
    assert all(gone(pid) for pids in started.values() for pid in pids)
    assert [len(file.read_text().split()) for file in files] == [3] * len(ends)


def test_a_killed_worker_ends_the_others_within_the_grace(tmp_path) -> None:
    """Worker 0 writes what it has to write, worker 2 does not end by SIGTERM, worker 1 is killed."""
    script = write(
        tmp_path,
        f"import signal\nplace = {str(tmp_path)!r}\n"
        "def save(*_):\n    time.sleep(0.5)\n    open(place + '/saved', 'w').close()\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, [save, signal.SIG_DFL, signal.SIG_IGN][number])\n"
        "open(f'{place}/pid{number}', 'w').write(str(os.getpid()))\n"
        "while number == 1 and len([one for one in os.listdir(place) if one.startswith('pid')]) < 3:\n"
        "    time.sleep(0.01)\n    assert time.monotonic() < float(sys.argv[1])\n"
        "if number == 1:\n    os.kill(os.getpid(), 9)\ntime.sleep(600)",
    )
    started, out = time.monotonic(), io.StringIO()
    assert launch([script, str(started + 20)], workers=3, grace=3, out=out) == 128 + 9
    assert time.monotonic() - started < 30
    assert (tmp_path / "saved").exists()
    assert out.getvalue() == "[launch] worker 1 was killed by SIGKILL, the others are ended\n"
    assert all(gone(int((tmp_path / f"pid{number}").read_text())) for number in range(3))


def test_of_several_failures_at_a_time_the_kill_is_the_cause() -> None:
    """A worker that has lost another one fails as well, perhaps before anybody looks."""
    codes = {"raise SystemExit(1)": 1, "import os; os.kill(os.getpid(), 9)": -9, "raise SystemExit(3)": 3}
    processes = [subprocess.Popen([sys.executable, "-c", text]) for text in codes]
    assert [process.wait() for process in processes] == list(codes.values())
    assert first_failure(processes) == (1, -9)
    assert first_failure([processes[2], processes[0]]) == (0, 3)


def test_all_are_started_again_on_new_ports(tmp_path) -> None:
    """Worker 0 ends well each time, and worker 1 in its third start."""
    script = write(
        tmp_path,
        f"file = f'{tmp_path}/{{number}}'\nopen(file, 'a').write(os.environ['TF_CONFIG'] + '\\n')\n"
        "starts = len(open(file).readlines())\nprint(sys.argv[1:], flush=True)\n"
        "if number == 1 and starts < 3:\n    time.sleep(0.3)\n"
        "    sys.exit(5) if starts < 2 else os.kill(os.getpid(), 15)\n",
    )
    out = io.StringIO()
    assert launch([script, "--same"], workers=2, restarts=3, out=out) == 0
    lines = [line for line in out.getvalue().splitlines() if line.startswith("[launch]")]
    assert lines == [
        "[launch] worker 1 ended with 5, the others are ended",
        "[launch] all workers are started again, 1 of 3 times",
        "[launch] worker 1 was killed by SIGTERM, the others are ended",
        "[launch] all workers are started again, 2 of 3 times",
    ]
    assert out.getvalue().count("['--same']") == 6
    places = [json.loads(line)["cluster"]["worker"] for line in (tmp_path / "0").read_text().splitlines()]
    assert len(places) == 3 and places[0] != places[1] != places[2]


@pytest.mark.parametrize(("code", "starts"), [(0, 1), (2, 1), (7, 3)])
def test_how_often_workers_are_started(code: int, starts: int, tmp_path) -> None:
    script = write(tmp_path, f"open({str(tmp_path / 'starts')!r}, 'a').write('.')\nsys.exit({code})")
    assert launch([script], workers=1, restarts=2) == code
    assert (tmp_path / "starts").read_text() == "." * starts


def test_a_start_without_its_watcher_goes_on(tmp_path) -> None:
    with Processes(io.StringIO()) as processes:
        processes.watcher.kill()
        processes.watcher.wait()
        process = processes.start([sys.executable, "-c", "import time; time.sleep(600)"], 0, os.environ)
    assert process.returncode == -signal.SIGTERM and gone(process.pid)


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
def test_bad_commands_are_refused(command, workers, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        launch(command, workers=workers)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"restarts": -1}, "restarts must be a whole number >= 0, got -1."),
        ({"restarts": True}, "restarts must be a whole number >= 0, got True."),
        ({"grace": -0.5}, "grace must be >= 0 seconds, got -0.5."),
        ({"grace": float("inf")}, "grace must be >= 0 seconds, got inf."),
    ],
)
def test_bad_numbers_are_refused(given, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        launch([__file__], **given)
    assert str(caught.value) == message


@pytest.mark.parametrize("before", [(), ("--",)])
def test_what_comes_after_the_script_is_the_scripts(before, monkeypatch) -> None:
    given = []
    monkeypatch.setattr(
        "kopt.distribute.launch.launch", lambda command, **how: given.append((command, how["workers"])) or 0
    )
    with pytest.raises(SystemExit) as ended:
        main(["launch", "--workers", "1", *before, "script.py", "--workers", "7", "--", "--resume", "auto"])
    assert ended.value.code == 0
    assert given == [(("script.py", "--workers", "7", "--", "--resume", "auto"), 1)]


@pytest.mark.parametrize("option", [("--restarts", "1"), ("--grace", "3")])
def test_tuners_take_no_options_of_workers(option, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["launch", "--tuners", "2", *option, __file__])
    assert ended.value.code == 2 and "restarts and grace must come without tuners" in capsys.readouterr().err


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
        "[0] was killed by SIGKILL, is started again",
        "[0] start 1 7",
        "[0] was killed by SIGKILL, is started again",
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
