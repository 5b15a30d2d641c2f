"""Damaged and hostile inputs: run folders, models, searches, command lines and names; `python tests/faults/fuzz.py`.

What must hold for every input: it is read, or refused in one sentence by an exception that is declared; no code of the
input runs, no process is started, and nothing is written outside of the folder that the user named. `Guard` watches the
last three by Python's audit events, so that it does not matter how the input would have done it.

`test_fuzz.py` runs 2,000 inputs; `python tests/faults/fuzz.py --examples 10000 [--seed N] [--only NAME]` runs others.
"""

import argparse
import contextlib
import io
import os
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KOPT_CACHE"] = "off"  # `kopt cache --clear` is among the inputs

import inputs  # noqa: E402
import keras  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as some  # noqa: E402

import kopt  # noqa: E402
import kopt.__main__ as commands  # noqa: E402
from kopt import report  # noqa: E402
from kopt.distribute import launch as launching  # noqa: E402
from kopt.experiment.recipe_cli import run_command  # noqa: E402
from kopt.report import compare as comparing  # noqa: E402
from kopt.training.checkpoint.files import Damaged, read_file  # noqa: E402
from kopt.tuning.search.folder import SearchFolder  # noqa: E402
from kopt.tuning.search.storage import open_storage, open_study  # noqa: E402
from kopt.tuning.trial.progress import Progress, StartAnew  # noqa: E402
from kopt.tuning.trial.undeclared import Undeclared  # noqa: E402
from kopt.values import from_json  # noqa: E402
from kopt.values.places import inside  # noqa: E402

STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "pickle.find_class")
STARTS += ("ctypes.dlopen", "webbrowser.open", "socket.connect", "urllib.Request")
WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree")
LONGEST = 3000  # characters of a sentence, with the names of all fields of a recipe


class Broken(AssertionError):
    """Raised when an input has got through; a Guard raises it where it happens."""


class Guard:
    """Watches what a block does to the rest of the machine.

    Args:
        folder: The folder in which files may be written.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder, self.at_work = os.path.realpath(folder), False
        self.seen: list[str] = []
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an event; errors that are raised here could be swallowed."""
        if self.at_work and (event in STARTS or self.writes_outside(event, arguments)):
            self.seen.append(f"{event}{arguments!r:.200}")

    def writes_outside(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, mode, flags = arguments
            writes = mode is not None and any(one in mode for one in "wax+")
            writes = writes or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) != 0)
            return writes and isinstance(path, (str, bytes)) and not self.holds(path)
        places = [one for one in arguments if isinstance(one, (str, bytes, os.PathLike))]
        return event in WRITES and not all(map(self.holds, places))

    def holds(self, path: Any) -> bool:
        real = os.path.realpath(os.fsdecode(path))
        return real.startswith((self.folder + os.sep, "/dev/")) or real == self.folder

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Raise Broken after a block that has done what it must not."""
        self.seen.clear()
        self.at_work = True
        try:
            yield
        finally:
            self.at_work = False
        for what in (*self.seen, *(["the canary was imported"] if inputs.CANARY in sys.modules else [])):
            raise Broken(what)


@contextlib.contextmanager
def refused(*declared: type[BaseException]) -> Iterator[None]:
    """Swallow a refusal: one sentence of a ValueError itself, and none of its kinds; or what a reader declares."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, declared):
            return
        if type(error) is not ValueError:
            raise
        text = str(error)
        if len(text) > LONGEST or "\n" in text.strip():
            raise Broken(f"no sentence: {text[:200]}") from error


def command(main: Callable[[list[str]], object], args: list[str]) -> None:
    """Run a command in this process: it ends well, or with code 2 and a sentence, or with 1 and a result."""
    out, err = terminal("strict"), terminal("backslashreplace")
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(args)
        except SystemExit as end:
            code = end.code or 0
    said = "".join(one.flush() or one.buffer.getvalue().decode() for one in (err, out))  # type: ignore[attr-defined]
    if code not in (0, 2) or "Traceback" in said or (code == 2 and not said.strip()):
        raise Broken(f"{args}: code {code}, {said[-300:]}")
    if all(map(str.isprintable, args)) and any(not (one.isprintable() or one in "\n\t") for one in said):
        raise Broken(f"{args}: control characters reach the terminal")


def terminal(errors: str) -> io.TextIOWrapper:
    """Return what stands for the standard output (errors="strict") or error (they are escaped) of a process."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors)


# ---- what reads the inputs ------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """The folders of a fuzz: `home` is the working folder, beside which nothing may change."""

    home: pathlib.Path
    runs: pathlib.Path
    guard: Guard


def prepare(root: pathlib.Path) -> Place:
    """Make the folders, a whole run, and a module that must never be imported."""
    home = root / "home"
    (root / "outside").mkdir()
    (root / "outside" / "secret.txt").write_text("secret")
    (root / "modules").mkdir()
    (root / "modules" / f"{inputs.CANARY}.py").write_text("class Canary:\n    from_config = classmethod(print)\n")
    sys.path.insert(0, str(root / "modules"))
    inputs.write_run(home / "runs" / "whole" / "one")
    inputs.write_run(home / "runs" / "whole" / "two")
    (home / "link").symlink_to(root / "outside")
    return Place(home, home / "runs", Guard(home))


def read_value(place: Place, text: str) -> None:
    with refused():
        from_json(text)


def read_text_of_value(place: Place, text: str) -> None:
    with refused():
        kopt.regularizers.registry.parse(text)


def read_run_file(place: Place, change: tuple[str, bytes]) -> None:
    name, content = change
    path = place.runs / "whole" / "one" / name
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        with refused():
            report.read_run(path.parent)
        command(commands.main, ["show", str(path.parent)])
        command(commands.main, ["runs", "--folder", str(place.runs)])
    finally:
        path.write_bytes(whole)


def load_a_model(place: Place, content: bytes) -> None:
    path = place.home / "damaged.keras"
    path.write_bytes(content)
    # Keras' own refusals, which have several lines: of a class that is not registered, of a lambda, of other weights.
    with refused(TypeError, ValueError, ImportError, OSError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kopt.load_model(path)
    keras.backend.clear_session(free_memory=False)


def open_a_journal(place: Place, content: bytes) -> None:
    path = place.home / "journal.log"
    path.write_bytes(content)
    with refused(), quiet():
        study = open_study(open_storage(path, place.home), "digits", ["min"], None, None)
        study.get_trials()
        study.tell(study.ask(), 0.5)


def read_progress(place: Place, content: bytes) -> None:
    folder = place.home / "trial_0"
    folder.mkdir(exist_ok=True)
    (folder / "progress.json").write_bytes(content)
    with refused(), quiet():
        progress = Progress(folder)
        if progress.fault:
            progress.restart()
        progress.changed({"epochs": 3})
        progress.write()
        if Progress(folder).fault:
            raise Broken("what was written is not read")


def read_a_checkpoint(place: Place, content: bytes) -> None:
    path = place.home / "step-000000000001.safetensors"
    path.write_bytes(content)
    with refused(Damaged):
        read_file(path)


def go_on_with_a_trial(place: Place, found: tuple[bytes, list[Any]]) -> None:
    """Read the checkpoint of a trial, and put the state of a callback back that declares none."""
    content, state = found
    last = place.home / "trial_1" / "last"
    last.mkdir(parents=True, exist_ok=True)
    (last / "step-000000000001.safetensors").write_bytes(content)
    with refused(StartAnew), quiet():
        progress = Progress(last.parent)
        progress.last()
        progress.restart()
        if last.exists():
            raise Broken("the checkpoint is not removed")
    callback = inputs.Counts()
    with refused():
        Undeclared([callback]).restore(state)
    if callback.on_epoch_end.__func__ is not inputs.Counts.on_epoch_end or type(callback) is not inputs.Counts:
        raise Broken("the callback has other methods")


def use_a_name(place: Place, name: str) -> None:
    with refused():
        inside(place.home, name)
    with refused(ZeroDivisionError), report.run_folder(place.runs, name):
        raise ZeroDivisionError  # it ends the run, so that its folder is removed
    with refused():
        SearchFolder(place.home / "search").trial(name)
    with refused():
        kopt.tuning.Tuner(inputs.build, "loss", directory=place.home / "searches", project_name=name)


def run_kopt(place: Place, args: list[str]) -> None:
    command(commands.main, args)


def run_a_recipe(place: Place, args: list[str]) -> None:
    read = lambda args: run_command(kopt.command_line(kopt.Command(inputs.RECIPE), quick=inputs.QUICK, args=args))
    command(read, args)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep logs of damaged files off the terminal."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


class Reader(NamedTuple):
    """A reader: how many of 2,000 inputs are its, the inputs, and what reads one and raises when one gets through."""

    share: int
    inputs: some.SearchStrategy[Any]
    read: Callable[[Place, Any], None]


def readers(home: pathlib.Path) -> dict[str, Reader]:
    """Return the readers by name."""
    return {
        "values": Reader(450, inputs.texts_of(inputs.RECIPE_TEXT), read_value),
        "texts of values": Reader(100, inputs.CALLS, read_text_of_value),
        "run folders": Reader(350, inputs.run_files(home / "runs" / "whole" / "one"), read_run_file),
        "models": Reader(250, inputs.models(), load_a_model),
        "journals": Reader(150, inputs.journals(), open_a_journal),
        "progress": Reader(150, inputs.bytes_of(inputs.PROGRESS), read_progress),
        "trials": Reader(150, inputs.trials(), go_on_with_a_trial),
        "names": Reader(150, inputs.NAMES, use_a_name),
        "kopt": Reader(170, inputs.command_lines(home), run_kopt),
        "recipes": Reader(80, inputs.recipe_lines(), run_a_recipe),
        "checkpoints": Reader(200, inputs.checkpoints(), read_a_checkpoint),
    }


@contextlib.contextmanager
def nothing_starts() -> Iterator[None]:
    """Have commands start no process, draw no picture and train nothing: only what they read is looked at."""
    stand_ins = {
        (launching, "launch"): lambda *_, **__: 0,
        (launching, "launch_tuners"): lambda *_, **__: 0,
        (comparing, "compare_figure"): lambda _: inputs.Picture(),
        (sys.modules[run_command.__module__], "run"): lambda *_, **__: None,
        (sys.modules[run_command.__module__], "check_target"): lambda *_, **__: True,
    }
    before = {(module, name): vars(module)[name] for module, name in stand_ins}
    try:
        for (module, name), one in stand_ins.items():
            setattr(module, name, one)
        yield
    finally:
        for (module, name), one in before.items():
            setattr(module, name, one)


def run_reader(reader: Reader, place: Place, examples: int, *, random: int | None = None) -> None:
    """Have a reader read inputs; raise what gets through, of the smallest input that was found."""

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=random is None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(reader.inputs)
    def read(one: Any) -> None:
        with place.guard.watching():
            reader.read(place, one)

    before, tempfile.tempdir = os.getcwd(), str(place.home)  # Keras unpacks models in a temporary folder
    os.chdir(place.home)  # so that "../x" leads out of it
    try:
        with nothing_starts():
            (read if random is None else seed(random)(read))()
    finally:
        os.chdir(before)
        tempfile.tempdir = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    given_ = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        place = prepare(pathlib.Path(root))
        chosen = {name: one for name, one in readers(place.home).items() if given_.only in name}
        total = sum(one.share for one in chosen.values())
        for name, reader in chosen.items():
            examples = max(1, given_.examples * reader.share // total)
            run_reader(reader, place, examples, random=given_.seed)
            print(f"{name}: {examples} inputs, each read or refused in a sentence", flush=True)


if __name__ == "__main__":
    main()
