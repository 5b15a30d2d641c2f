"""Files of compiled programs, and the folder, flags and processor they go by; nothing is compiled."""

import concurrent.futures
import os
import pathlib
import time

import pytest

from kopt.__main__ import main
from kopt.training.execute import xla_flags
from kopt.training.execute.program_files import LIMIT, ProgramFiles, place, processor


@pytest.fixture
def files(tmp_path: pathlib.Path) -> ProgramFiles:
    files = ProgramFiles(tmp_path, "2.21.0-this")
    for program in ("kopt_1", "kopt_2"):
        files.write(program, "a.pb", program.encode() * 100)
    return files


def paths(files: ProgramFiles) -> list[pathlib.Path]:
    return sorted(files.folder.iterdir())


def test_what_was_written_is_read_by_another_of_the_same_kind(files) -> None:
    files.write("kopt_1", "b.pb", b"")
    same, other = (ProgramFiles(files.root, kind) for kind in (files.kind, "2.21.0-other"))
    assert same.read("kopt_1") == {"a.pb": b"kopt_1" * 100, "b.pb": b""} and same.read("kopt_3") == {}
    assert other.read("kopt_1") == {} and other.size() == same.size() == (3, 2 * 600 + 3 * 32)
    assert files.folder.stat().st_mode & 0o077 == 0
    files.forget("kopt_1")
    assert files.read("kopt_1") == {} and files.read("kopt_2") != {}


@pytest.mark.parametrize(
    "damage",
    [lambda was: b"", lambda was: was[:-1], lambda was: was[:50] + b"?" + was[51:], lambda was: was + b"0"],
    ids=["empty", "cut off", "one byte changed", "one byte more"],
)
def test_a_damaged_file_is_removed_and_not_used(files, damage) -> None:
    path = paths(files)[0]
    path.write_bytes(damage(path.read_bytes()))
    assert files.read("kopt_1") == {} and files.read("kopt_2") != {} and not path.exists()


def test_a_file_under_the_name_of_another_is_not_used(files) -> None:
    path = paths(files)[0]
    path.rename(path.with_name(path.name.replace("a.pb", "b.pb")))
    assert files.read("kopt_1") == {}


def test_what_was_not_used_for_longest_is_removed_first(files) -> None:
    first, second = paths(files)
    for age, path in ((60, first), (30, second)):
        os.utime(path, (time.time() - age,) * 2)
    assert files.prune() == 0  # within the limit
    assert files.read("kopt_1") != {}  # used: now the other is older
    assert ProgramFiles(files.root, "another", limit=700).prune() == 1 and paths(files) == [first]
    assert ProgramFiles(files.root, "another", limit=0).prune() == 1 and LIMIT == 2**30


def test_what_would_crowd_out_the_rest_is_not_written(files) -> None:
    small = ProgramFiles(files.root, files.kind, limit=8000)
    for size in (1000, 1001):
        small.write(f"kopt_{size}", "a.pb", b"1" * size)
    assert small.read("kopt_1000") != {} and small.read("kopt_1001") == {}


def test_what_a_killed_process_left_unfinished_is_removed_after_an_hour(files) -> None:
    new, old = files.folder / "new.part", files.folder / "old.part"
    for age, path in ((60, new), (7200, old)):
        path.write_bytes(b"1")
        os.utime(path, (time.time() - age,) * 2)
    assert files.prune() == 1 and new.exists() and not old.exists()


def test_many_at_once_read_whole_files_or_none(files) -> None:
    contents = [bytes([number]) * 100_000 for number in range(4)]

    def use(number: int) -> bool:
        for _ in range(50):
            files.write("kopt_3", "a.pb", contents[number])
            found = files.read("kopt_3")
            if found and found["a.pb"] not in contents:
                return False
            ProgramFiles(files.root, limit=150_000).prune()  # one of two
        return True

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert all(threads.map(use, range(4)))
    assert [path.suffix for path in paths(files)] == [".xla"] * len(paths(files))


def test_a_write_that_fails_leaves_nothing(files, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kopt.training.execute.program_files.os.replace", full)
    before = paths(files)
    with pytest.raises(OSError, match="No space"):
        files.write("kopt_3", "a.pb", b"1")
    assert paths(files) == before


def test_the_folder_is_named_by_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    assert place({}) == place({"KOPT_CACHE": "on"}) == pathlib.Path("/home/a/.cache/kopt/xla")
    assert place({"XDG_CACHE_HOME": "relative"}) == place({})
    assert place({"KOPT_CACHE": "~/mine"}) == pathlib.Path("/home/a/mine/xla")
    monkeypatch.setattr("os.path.expanduser", lambda text: text)  # as for a user without a home
    assert place({}) is None and place({"XDG_CACHE_HOME": "/x"}) == pathlib.Path("/x/kopt/xla")


def test_processors_differ_by_model_and_features(tmp_path) -> None:
    text = "processor\t: 0\nmodel name\t: A\ncpu MHz\t\t: 2600\nflags\t\t: sse avx\n\nprocessor\t: 1\nmodel name\t: B\n"
    told = {}
    for name, one in (("this", text), ("slower", text.replace("2600", "800")), ("older", text.replace("avx", ""))):
        (tmp_path / name).write_text(one)
        told[name] = processor(str(tmp_path / name))
    assert told["this"] == told["slower"] != told["older"] and "modelname:A" in told["this"]
    assert processor() == processor()


def test_the_kind_tells_versions_and_flags_apart(monkeypatch) -> None:
    before = xla_flags.kind()
    monkeypatch.setenv("TF_XLA_FLAGS", xla_flags.OURS)
    assert xla_flags.kind() == before
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert xla_flags.kind() != before and xla_flags.kind().partition("-")[0] == before.partition("-")[0]


def test_flags_of_a_user_stay(monkeypatch) -> None:
    monkeypatch.setattr("kopt.keras_internals.devices_started", lambda: False)
    ours = xla_flags.OURS

    def flags(given: str, **environment: str) -> str:
        environment |= {"TF_XLA_FLAGS": given}
        xla_flags.install(environment)
        return environment["TF_XLA_FLAGS"]

    assert flags("") == flags(ours) == ours and flags("--a=1") == flags(f"--a=1 {ours}") == f"--a=1 {ours}"
    for theirs in ("--tf_xla_persistent_cache_directory=/mine", "/a/file/of/flags"):
        assert flags(theirs) == theirs
    assert flags(f"--a=1 {ours}", KOPT_CACHE="off") == "--a=1"
    monkeypatch.setattr("kopt.training.execute.xla_flags.known", lambda: False)
    assert flags("--a=1") == "--a=1"  # a TensorFlow without them would end the process
    monkeypatch.setattr("kopt.training.execute.xla_flags.known", lambda: True)
    monkeypatch.setattr("kopt.keras_internals.devices_started", lambda: True)
    assert flags("--a=1") == "--a=1"  # too late


def test_this_tensorflow_knows_the_flags() -> None:
    assert xla_flags.known()


def test_the_command_shows_and_clears(files, monkeypatch, capsys) -> None:
    monkeypatch.setenv("KOPT_CACHE", str(files.root / "none"))
    main(["cache"])
    assert capsys.readouterr().out == f"{files.root}/none/xla: 0 files, 0 bytes\n"
    ProgramFiles(files.root / "none" / "xla", "kind").write("kopt_1", "a.pb", b"1" * 1000)
    main(["cache", "--clear"])
    assert capsys.readouterr().out.endswith("/xla: 1 files, 1,032 bytes\nremoved: 1 files\n")
    assert list((files.root / "none" / "xla").glob("*/*")) == []
    monkeypatch.setenv("KOPT_CACHE", "off")
    main(["cache"])
    assert "KOPT_CACHE is off" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are those of POSIX")
def test_a_folder_that_others_may_write_to_is_left_alone(tmp_path) -> None:
    files = ProgramFiles(tmp_path, "kind")
    files.write("kopt_1", "a.pb", b"code")
    assert (tmp_path / "kind").stat().st_mode & 0o077 == 0
    (tmp_path / "kind").chmod(0o777)
    for use in (lambda: files.read("kopt_1"), lambda: files.write("kopt_1", "b.pb", b"code")):
        with pytest.raises(PermissionError, match="belongs to another user, or others may write to it"):
            use()
    (tmp_path / "kind").chmod(0o700)
    assert files.read("kopt_1") == {"a.pb": b"code"}
