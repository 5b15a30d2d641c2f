"""2,000 damaged and hostile inputs: each is read or refused in one sentence; none runs code or leaves its folder."""

import os
import pathlib
import subprocess

import fuzz
import inputs
import pytest
from hypothesis import strategies as some

TOTAL = int(os.environ.get("KOPT_FUZZ_EXAMPLES", "2000"))
NAMES = ("values", "texts of values", "run folders", "models", "journals", "progress", "trials", "names", "kopt")
NAMES += ("recipes", "checkpoints")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> fuzz.Place:
    return fuzz.prepare(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def readers(place) -> dict[str, fuzz.Reader]:
    return fuzz.readers(place.home)


def test_the_shares_are_of_2000(readers) -> None:
    assert set(NAMES) == set(readers) and sum(one.share for one in readers.values()) >= 2000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_every_input_is_read_or_refused_in_one_sentence(name: str, place, readers) -> None:
    outside = sorted(os.listdir(place.home.parent)), (place.home.parent / "outside" / "secret.txt").read_text()
    fuzz.run_reader(readers[name], place, TOTAL * readers[name].share // 2000)
    assert sorted(os.listdir(place.home.parent)) == outside[0] and outside[1] == "secret"
    assert os.listdir(place.home.parent / "outside") == ["secret.txt"]


def write_outside(place: fuzz.Place, _: object) -> None:
    pathlib.Path("../outside/secret.txt").write_text("secret")


def write_through_a_link(place: fuzz.Place, _: object) -> None:
    (place.home / "link" / "secret.txt").write_text("secret")


def remove_outside(place: fuzz.Place, _: object) -> None:
    (place.home.parent / "modules" / "nothing").unlink(missing_ok=True)


def start_a_process(place: fuzz.Place, _: object) -> None:
    subprocess.run(["true"], check=True)


def raise_a_key_error(place: fuzz.Place, _: object) -> None:
    with fuzz.refused():
        raise KeyError("x")


def raise_a_kind_of_value_error(place: fuzz.Place, _: object) -> None:
    with fuzz.refused():
        "\ud800".encode()


def say_two_sentences(place: fuzz.Place, _: object) -> None:
    with fuzz.refused():
        raise ValueError("one\ntwo")


def end_with_a_code(place: fuzz.Place, _: object) -> None:
    fuzz.command(lambda args: exit(1), [])


def steer_the_terminal(place: fuzz.Place, _: object) -> None:
    fuzz.command(lambda args: print("\x1b[31m"), [])


def unpickle(place: fuzz.Place, _: object) -> None:
    import pickle

    pickle.loads(pickle.dumps(pathlib.Path("x")))


def import_the_canary(place: fuzz.Place, _: object) -> None:
    __import__(inputs.CANARY)


FAULTS = (write_outside, write_through_a_link, remove_outside, start_a_process, raise_a_key_error, unpickle)
FAULTS += (raise_a_kind_of_value_error, say_two_sentences, end_with_a_code, steer_the_terminal, import_the_canary)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_would_be_seen(fault, place, monkeypatch) -> None:
    try:
        with pytest.raises((fuzz.Broken, KeyError, UnicodeEncodeError)):
            fuzz.run_reader(fuzz.Reader(1, some.just(None), fault), place, 1)
    finally:
        monkeypatch.delitem(fuzz.sys.modules, inputs.CANARY, raising=False)
        fuzz.sys.modules.pop(inputs.CANARY, None)
