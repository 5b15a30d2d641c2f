"""A search's journal: cut at any byte, or left in pieces by a power failure, it goes on; broken, it is refused."""

import json
import random

import optuna
import pytest
from searches import interruptible

from kopt.tuning.search.storage import Journal


def test_a_journal_cut_at_any_byte_goes_on_from_its_last_whole_entry(tmp_path, caplog) -> None:
    first = interruptible(tmp_path, 4)
    first.search()
    file = tmp_path / "line" / "journal.log"
    whole = file.read_bytes()
    for cut in [0, 1, *random.Random(0).sample(range(len(whole)), 12), len(whole) - 1]:
        file.write_bytes(whole[:cut])
        caplog.clear()
        tuner = interruptible(tmp_path, 4)
        kept = whole[: whole[:cut].rfind(b"\n") + 1]
        assert file.read_bytes().startswith(kept)
        assert ("were cut off" in caplog.text) == (len(kept) < cut)
        tuner.search()
        lines = file.read_text().splitlines()
        assert all(isinstance(json.loads(one), dict) for one in lines)
        states = [trial.state.name for trial in tuner.study.trials]
        lost_ones = {number for trial in tuner.study.trials for number in trial.user_attrs.get("tries", [])}
        assert [state for number, state in enumerate(states) if number not in lost_ones] == ["COMPLETE"] * 4


@pytest.mark.parametrize(
    "tail",
    [
        b"\0",
        b"\0" * 5000,
        b'{"op_code":4,"trial\0\0\0',
        b"\0\0\n\0\n",
        b'{"op_code":4\0\0\n{"op_code":5,"worker_id":"a"}\n',  # a page is lost, and the next one is not
    ],
    ids=["one", "many", "after half an entry", "lines", "before entries"],
)
def test_a_journal_with_what_a_power_failure_leaves_goes_on_and_loses_no_byte(tail, tmp_path, caplog) -> None:
    interruptible(tmp_path, 2).search()
    file = tmp_path / "line" / "journal.log"
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    tuner = interruptible(tmp_path, 3)
    assert file.read_bytes().startswith(whole) and b"\0" not in file.read_bytes()
    assert (tmp_path / "line" / "journal.log.cut").read_bytes() == tail
    assert f"a power failure: the {len(tail)} bytes after the last whole entry were cut off" in caplog.text
    tuner.search()
    assert [trial.state.name for trial in interruptible(tmp_path, 3).study.trials] == ["COMPLETE"] * 3


def test_empty_lines_in_a_journal_are_passed_over(tmp_path) -> None:
    first = interruptible(tmp_path, 2)
    first.search()
    values = [trial.value for trial in first.study.trials]
    file = tmp_path / "line" / "journal.log"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("\n" + "".join(lines[:3]) + "\n\n" + "".join(lines[3:]) + " \n")
    tuner = interruptible(tmp_path, 4)
    assert [trial.value for trial in tuner.study.trials] == values
    with open(file, "a") as running:
        running.write("\n")
    tuner.search()
    assert [trial.state.name for trial in interruptible(tmp_path, 4).study.trials] == ["COMPLETE"] * 4
    journal = Journal(file)
    whole = list(journal.read_logs(0))
    for start in (5, 2, len(whole), 0):
        assert list(journal.read_logs(start)) == list(Journal(file).read_logs(start)) == whole[start:]


def test_a_journal_that_is_broken_in_its_middle_is_refused_with_a_way_out(tmp_path) -> None:
    interruptible(tmp_path, 2).search()
    file = tmp_path / "line" / "journal.log"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:3], lines[3][:10] + "\n", *lines[4:]]))
    told = r"^storage must be a whole journal, .*journal.log is broken in line 4 \(`head -n 3` keeps what is before\), "
    with pytest.raises(ValueError, match=told):
        interruptible(tmp_path, 4)
    file.write_text("".join(lines[:3]))  # as it says
    interruptible(tmp_path, 4).search()


def test_a_journal_that_is_cut_while_it_is_searched_is_refused(tmp_path) -> None:
    journal = Journal(tmp_path / "journal.log")
    journal.append_logs([{"op_code": 0}])
    (tmp_path / "journal.log").write_text("")
    with pytest.raises(ValueError, match="^storage must not be cut while it is searched"):
        list(journal.read_logs(0))
    with pytest.raises(ValueError, match="^storage must not be cut while it is searched"):
        journal.append_logs([{"op_code": 0}])


def test_optunas_own_journal_is_broken_for_good_by_half_an_entry(tmp_path) -> None:
    """The counter-test: what Journal mends, Optuna's own backend does not."""
    path = tmp_path / "journal.log"
    path.write_text('{"op_code"')
    own = optuna.storages.journal.JournalFileBackend(str(path))
    own.append_logs([{"op_code": 0}])
    own.append_logs([{"op_code": 0}])
    with pytest.raises(ValueError):
        list(own.read_logs(0))
