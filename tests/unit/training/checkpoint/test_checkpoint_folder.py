"""A folder's newest whole checkpoint, the best one, what is removed and what never is, one training a folder."""

import errno
import logging
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from kopt.training.checkpoint import folder as folder_module
from kopt.training.checkpoint import lock
from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.files import Damaged, write_file
from kopt.training.checkpoint.folder import CheckpointFolder


def of(step: int) -> Content:
    return Content({"w": np.full(3, step)}, {"step": step})


def step_read(folder: CheckpointFolder) -> int | None:
    content = folder.read()
    return None if content is None else content.values["step"]


def cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_the_newest_are_kept_by_step_whatever_the_clock_says(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    for step in (1, 9, 10, 100):
        os.utime(folder.write(step, of(step)), (0, 10**9 - 10**6 * step))  # a later one has an earlier time
    assert sorted(os.listdir(tmp_path)) == [f"step-{step:012d}.safetensors" for step in (9, 10, 100)]
    assert folder.steps() == [9, 10, 100] and step_read(folder) == 100


def test_nothing_is_read_from_a_folder_that_is_empty_or_absent(tmp_path) -> None:
    (tmp_path / "step-1.safetensors").touch()  # not a name of ours
    (tmp_path / "step-000000000001.safetensors.bak").touch()
    (tmp_path / "step-000000000002.safetensors").mkdir()
    for folder in (CheckpointFolder(tmp_path), CheckpointFolder(tmp_path / "absent")):
        assert folder.read() is None and folder.read_best() is None and folder.steps() == []


def test_a_torn_one_is_logged_and_the_older_is_used(tmp_path, caplog) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    for step in (1, 2, 3):
        folder.write(step, of(step))
    cut(folder.path(3))
    folder.path(2).write_bytes(b"")
    with caplog.at_level(logging.WARNING, "kopt"):
        assert step_read(folder) == 1
    first, second = (record.getMessage() for record in caplog.records)
    assert str(folder.path(3)) in first and "must have" in first and str(folder.path(2)) in second


@pytest.mark.parametrize("keep", [1, 2])
def test_a_torn_newer_one_does_not_push_out_the_whole_ones(keep, tmp_path) -> None:
    folder = CheckpointFolder(tmp_path, keep=keep)
    for step in (50, 90):
        write_file(folder.path(step), of(step))
    cut(folder.path(90))
    assert step_read(folder) == 50
    folder.write(60, of(60))
    assert folder.steps() == [50, 60][-keep:] and step_read(folder) == 60


def test_one_just_written_is_never_removed_even_below_newer_ones(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    write_file(folder.path(90), of(90))
    cut(folder.path(90))
    CheckpointFolder(tmp_path, keep=1).write(60, of(60))  # which has not read, and so does not know
    assert step_read(folder) == 60


def test_no_whole_one_is_an_error_that_says_what_to_do(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    cut(folder.write(1, of(1)))
    with pytest.raises(Damaged, match="No checkpoint in .* is whole .* move the folder away to begin anew and start"):
        folder.read()
    folder.write(2, of(2), best=True)
    cut(folder.write(2, of(2)))
    with pytest.raises(Damaged, match="or copy a whole file there \\(best.safetensors"):
        folder.read()


def test_the_older_ones_stay_until_the_new_one_is_on_the_disk(monkeypatch, tmp_path) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.write(1, of(1))
    seen: list[str] = []
    fsync, unlink = os.fsync, os.unlink
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append("sync"), fsync(file)))
    monkeypatch.setattr(pathlib.Path, "unlink", lambda path, missing_ok=False: (seen.append(path.name), unlink(path)))
    folder.write(2, of(2))
    assert seen == ["sync", "sync", folder.path(1).name]


def test_a_step_that_is_written_again_replaces_its_file_and_leaves_the_best(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write(1, Content({}, {"step": 1}), best=True)
    folder.write(1, Content({}, {"step": 1, "again": True}))
    assert folder.read().values == {"step": 1, "again": True} and folder.read_best().values == {"step": 1}


def test_the_best_is_a_second_name_and_outlives_its_step(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    path = folder.write(1, of(1), best=True)
    assert os.path.samefile(path, tmp_path / "best.safetensors")
    for step in (2, 3):
        folder.write(step, of(step))
    assert folder.steps() == [3] and folder.read_best().values == {"step": 1}
    folder.write(4, of(4), best=True)
    assert folder.read_best().values == {"step": 4}
    assert sorted(os.listdir(tmp_path)) == ["best.safetensors", folder.path(4).name]
    cut(tmp_path / "best.safetensors")
    with pytest.raises(Damaged, match="best.safetensors cannot be read"):
        folder.read_best()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_the_best_is_a_copy_where_links_cannot_be(number, monkeypatch, tmp_path) -> None:
    def no_link(*names: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_link)
    folder = CheckpointFolder(tmp_path)
    path = folder.write(1, of(1), best=True)
    assert not os.path.samefile(path, tmp_path / "best.safetensors") and folder.read_best().values == {"step": 1}
    assert len(os.listdir(tmp_path)) == 2


def test_a_full_disk_at_the_link_leaves_the_older_step_and_nothing_aside(monkeypatch, tmp_path) -> None:
    def full(*names: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = CheckpointFolder(tmp_path)
    folder.write(1, of(1), best=True)
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        folder.write(2, of(2), best=True)
    assert folder.read_best().values == {"step": 2} and step_read(folder) == 1 and len(os.listdir(tmp_path)) == 2


def test_the_best_is_never_behind_the_steps(monkeypatch, tmp_path) -> None:
    """A training that goes on from a step believes that its best one was written."""
    folder = CheckpointFolder(tmp_path)
    replace, seen = os.replace, []

    def replaced(source: object, target: os.PathLike[str]) -> None:
        replace(source, target)
        seen.append((os.path.basename(target), folder.steps()))

    monkeypatch.setattr(os, "replace", replaced)
    folder.write(1, of(1), best=True)
    assert seen == [("best.safetensors", []), (folder.path(1).name, [1])]


def test_what_killed_writes_left_is_removed_and_nothing_else(tmp_path) -> None:
    left = [
        f".step-{7:012d}.safetensors.12-ab.unfinished",
        ".best.safetensors.9-0f.unfinished",
        ".trial.1-a.unfinished",
    ]
    others = ["notes.txt", ".my.unfinished", ".step-1.safetensors.1-a.unfinished", "a.unfinished"]
    for name in left + others:
        (tmp_path / name).touch()
    with CheckpointFolder(tmp_path).locked():
        assert sorted(os.listdir(tmp_path)) == sorted([*others, "lock"])


@pytest.mark.parametrize("step", [-1, 1.0, True, "1", 10**12, "../1"])
def test_a_step_that_is_no_number_of_updates_is_refused(step, tmp_path) -> None:
    with pytest.raises(ValueError, match="step must be a whole number"):
        CheckpointFolder(tmp_path).write(step, of(1))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("keep", [0, -1, 1.5, True, None])
def test_keep_is_refused_unless_one_is_kept(keep, tmp_path) -> None:
    with pytest.raises(ValueError, match="keep must be a whole number >= 1"):
        CheckpointFolder(tmp_path, keep=keep)


def test_nothing_outside_the_folder_is_written_through_links(tmp_path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    inside.mkdir()
    outside.write_text("mine")
    folder = CheckpointFolder(inside, keep=1)
    for name in (
        "best.safetensors",
        folder.path(1).name,
        folder.path(2).name,
        f".{folder.path(1).name}.1-a.unfinished",
    ):
        (inside / name).symlink_to(outside)
    with folder.locked():
        with pytest.raises(Damaged):  # a link is not read either
            folder.read()
        folder.write(2, of(2), best=True)
        folder.write(3, of(3))
    assert outside.read_text() == "mine" and sorted(os.listdir(tmp_path)) == ["inside", "outside"]
    assert not any(path.is_symlink() for path in inside.iterdir())


def test_a_lock_that_is_a_link_is_refused(tmp_path) -> None:
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "lock").symlink_to("../outside")
    with pytest.raises(ValueError, match="its file `lock` is a link"), CheckpointFolder(tmp_path / "inside").locked():
        pass
    assert (tmp_path / "outside").read_text() == "mine"


def test_a_folder_that_is_a_link_is_the_folder_it_names(tmp_path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "mine").symlink_to("scratch")
    folder = CheckpointFolder(tmp_path / "mine")
    with folder.locked():
        folder.write(1, of(1))
    assert len(os.listdir(tmp_path / "scratch")) == 2


def test_the_folder_stays_where_it_was_when_the_process_moves(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = CheckpointFolder("mine")
    with folder.locked():
        monkeypatch.chdir("/")
        assert folder.write(1, of(1)).parent == tmp_path / "mine"


def refusal(folder: pathlib.Path) -> str:
    with pytest.raises(ValueError) as caught, CheckpointFolder(folder).locked():
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_or_a_folder_within_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "a").write_text("mine")
    assert refusal(tmp_path / "a") == f"checkpoint must be a folder, got '{tmp_path / 'a'}', which is a file."
    assert "must be a folder that can be written to" in refusal(tmp_path / "a" / "b")
    assert (tmp_path / "a").read_text() == "mine"


def test_a_folder_on_a_disk_that_is_read_only_is_refused(small_disk) -> None:
    (small_disk / "mine").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for name in ("mine", "new"):
        assert "must be a folder that can be written to, got" in (text := refusal(small_disk / name))
        assert "(Read-only file system)" in text


def test_a_folder_that_may_not_be_written_to_is_refused(monkeypatch, tmp_path) -> None:
    """Root may write anywhere, so the refusal is put in its place; the lock that is there may be opened."""
    (tmp_path / "lock").touch()
    opened = os.open

    def denied(path: os.PathLike[str], flags: int, *mode: int, **more: int) -> int:
        if flags & os.O_CREAT and not os.path.exists(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, *mode, **more)

    monkeypatch.setattr(os, "open", denied)
    text = refusal(tmp_path)
    monkeypatch.undo()
    assert text == f"checkpoint must be a folder that can be written to, got '{tmp_path}' (Permission denied)."
    assert os.listdir(tmp_path) == ["lock"]


HOLD = """
with CheckpointFolder(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(child, tmp_path) -> None:
    first = child(HOLD, tmp_path)
    assert first.stdout.readline() == "held\n"
    text = refusal(tmp_path)
    assert (
        f"checkpoint must be a folder that no other process trains in, got '{tmp_path}' (process {first.pid} on" in text
    )
    first.send_signal(signal.SIGKILL)
    first.wait()
    with CheckpointFolder(tmp_path).locked():
        second = child(HOLD, tmp_path)
        assert f"process {os.getpid()} on" in second.communicate()[1]
    assert second.returncode == 1
    third = child(HOLD, tmp_path)
    assert third.stdout.readline() == "held\n"


FORKED = """
with CheckpointFolder(sys.argv[1]).locked():
    if os.fork() == 0:
        time.sleep(100)
    exec_child = __import__("subprocess").Popen(["sleep", "100"], close_fds=False)
    print(exec_child.pid, flush=True)
    time.sleep(100)
"""


def test_children_of_a_killed_training_do_not_hold_its_lock(child, tmp_path) -> None:
    first = child(FORKED, tmp_path)
    sleeper = int(first.stdout.readline())
    children = pathlib.Path(f"/proc/{first.pid}/task/{first.pid}/children")
    pids = list(map(int, children.read_text().split())) if children.exists() else [sleeper]
    try:
        assert "no other process" in refusal(tmp_path)
        first.kill()
        first.wait()
        with CheckpointFolder(tmp_path).locked():
            pass
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def test_a_second_training_of_this_process_is_refused_and_admitted_after_an_error(tmp_path) -> None:
    with pytest.raises(RuntimeError), CheckpointFolder(tmp_path).locked():
        assert f"(process {os.getpid()} on" in refusal(tmp_path)
        raise RuntimeError
    with CheckpointFolder(tmp_path).locked():
        pass
    assert not lock.held


def test_an_owner_that_is_not_known_or_forged_is_one_line(child, tmp_path) -> None:
    first = child(HOLD, tmp_path)
    first.stdout.readline()
    (tmp_path / "lock").write_bytes(b"\xff\n\x1b[31m" + b"x" * 10**5)
    text = refusal(tmp_path)
    assert len(text) < 1000 and text.isprintable()
    (tmp_path / "lock").write_bytes(b"")
    assert "(a process that is not known)" in refusal(tmp_path)


def test_windows_is_refused_by_name(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert "which has no flock" in refusal(tmp_path)


KILLED = """
folder = CheckpointFolder(sys.argv[1], keep=2)
with folder.locked():
    found = folder.read()
    step = 0 if found is None else found.values["step"]
    assert folder.torn == set()
    print(step, flush=True)
    while True:
        step += 1
        folder.write(step, Content({"w": np.full(200_000, step)}, {"step": step}), best=step % 3 == 0)
        print(step, flush=True)
"""


def test_a_kill_at_any_moment_leaves_the_newest_that_was_written(child, tmp_path, caplog) -> None:
    """24 kills: nothing is torn, no step that was reported is lost, and what was left aside is removed."""
    print("seed", seed := int(np.random.default_rng().integers(2**32)))
    moments = np.random.default_rng(seed)
    folder, last, left = CheckpointFolder(tmp_path), 0, 0
    for _ in range(24):
        process = child(KILLED, tmp_path)
        begin = int(process.stdout.readline())
        assert begin >= last
        try:
            process.wait(timeout=moments.uniform(0, 0.06))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        out, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors
        reported = max([begin, *map(int, out.split())])
        left += any(folder_module.LEFT.fullmatch(name) for name in os.listdir(tmp_path))
        found = folder.read()
        last = 0 if found is None else found.values["step"]
        assert last in (reported, reported + 1)
        assert found is None or (found.arrays["w"] == last).all()
        best = folder.read_best()
        assert (0 if best is None else best.values["step"]) in (last - last % 3, (last + 1) // 3 * 3)
    print(last, "steps,", left, "left aside")
    assert last > 0 and left > 0 and not caplog.records  # some were killed in the middle of a write
    with folder.locked():
        folder.write(last + 1, of(last + 1))
    names = {"best.safetensors", "lock", folder.path(last).name, folder.path(last + 1).name}
    assert set(os.listdir(tmp_path)) | {"best.safetensors"} == names


def test_what_is_not_of_the_folder_stays_when_it_is_removed(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path / "mine")
    folder.remove()  # it is not there
    for kept in (["note.txt"], []):
        with folder.locked():
            folder.write(1, of(1), best=True)
            (folder.folder / f".step-{1:012}.safetensors.7-0a.unfinished").touch()
        for name in kept:
            (folder.folder / name).touch()
        folder.remove()
        assert sorted(path.name for path in tmp_path.rglob("*")) == (["mine", *kept] if kept else [])
        (folder.folder / "note.txt").unlink(missing_ok=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "lock").touch()
    (tmp_path / "mine").symlink_to(tmp_path / "other")
    folder.remove()
    assert (tmp_path / "other" / "lock").exists()
