"""Signals: the first is remembered, the second raises, handlers of others stay, and nothing is lost or left behind."""

import os
import signal
import threading

import pytest

from kopt.experiment.signals import SignalStop
from kopt.training import signals as module
from kopt.training.signals import DEFAULT, Signals, exception_of

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


@pytest.fixture(autouse=True)
def python_own():
    """Python's own handlers, whatever runs the tests has installed; all of them are there after a test."""
    own = {name: signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL for name in NAMES}
    before = {name: signal.signal(signal.Signals[name], handler) for name, handler in own.items()}
    yield
    left = {name: signal.signal(signal.Signals[name], handler) for name, handler in before.items()}
    assert left == own and module.inside == []


def send(name: str) -> None:
    os.kill(os.getpid(), signal.Signals[name])


def test_the_exception_of_a_signal() -> None:
    assert isinstance(exception_of(signal.SIGINT), KeyboardInterrupt)
    assert [exception_of(number).code for number in (signal.SIGTERM, signal.SIGHUP)] == [143, 129]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_is_remembered_and_raised_at_the_end(name: str) -> None:
    seen = []
    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended, Signals(NAMES) as signals:
        seen.append((signals.received, signals.name))
        send(name)
        seen.append((signals.received, signals.name))
    assert seen == [(None, None), (signal.Signals[name], name)]
    assert repr(ended.value) == repr(exception_of(signal.Signals[name]))


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
def test_a_second_one_raises_at_once(second: str) -> None:
    reached = False
    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended, Signals() as signals:
        send("SIGTERM")
        assert signals.name == "SIGTERM"
        send(second)
        reached = True
    assert not reached and repr(ended.value) == repr(exception_of(signal.Signals[second]))


def test_what_the_block_raises_goes_first() -> None:
    with pytest.raises(ZeroDivisionError), Signals():
        send("SIGTERM")
        1 / 0  # noqa: B018


def test_a_block_may_be_entered_again_but_not_twice_at_a_time() -> None:
    signals = Signals()
    with pytest.raises(SystemExit), signals:
        send("SIGTERM")
    with signals:
        assert signals.received is None
        with (
            pytest.raises(ValueError, match=r"^signals must not be entered twice at a time, got \('SIGINT', "),
            signals,
        ):
            pass


def test_an_inner_block_shares_what_is_received() -> None:
    """The inner block adds a signal; what comes within it, or before it, is the outer one's as well."""
    for when in ("before", "within"):
        ended = False
        with pytest.raises(SystemExit) as left, Signals() as outer:
            if when == "before":
                send("SIGHUP")
            with Signals((*DEFAULT, "SIGUSR1")) as inner:
                if when == "within":
                    send("SIGUSR1")
                assert inner.received == outer.received is not None
            ended = True
            assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
            assert inner.name == outer.name == ("SIGHUP" if when == "before" else "SIGUSR1")
        assert ended and left.value.code == 128 + outer.received


def test_a_second_signal_within_an_inner_block_raises_at_once() -> None:
    with pytest.raises(SystemExit) as left, Signals():
        send("SIGTERM")
        with Signals(("SIGUSR2",)):
            send("SIGUSR2")
            pytest.fail("the second signal was deferred")
    assert left.value.code == 128 + signal.SIGUSR2


def test_within_a_run_that_defers_the_end_is_the_runs() -> None:
    with SignalStop() as stop:
        with pytest.raises(SystemExit) as left, stop.deferred():
            with Signals() as inner:
                send("SIGTERM")
                assert inner.received == stop.received == signal.SIGTERM
            assert stop.name == "SIGTERM"
        assert left.value.code == 143


def test_within_a_run_that_does_not_defer_the_inner_block_does() -> None:
    with SignalStop():
        with pytest.raises(SystemExit), Signals() as inner:
            send("SIGTERM")
            seen = inner.name
        assert seen == "SIGTERM"
        with pytest.raises(SystemExit):  # and afterwards a signal raises at once again
            send("SIGHUP")


def test_a_users_handler_stays_also_one_from_within() -> None:
    seen = []
    users = lambda number, frame: seen.append(number)
    signal.signal(signal.SIGTERM, users)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    with Signals() as signals:
        send("SIGTERM")
        send("SIGHUP")
        signal.signal(signal.SIGINT, users)
        send("SIGINT")
        assert signals.received is None
    found = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    assert found == [users, signal.SIG_IGN, users] and seen == [signal.SIGTERM, signal.SIGINT]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def test_another_thread_receives_nothing() -> None:
    found = []

    def work() -> None:
        with Signals() as signals:
            found.append((signal.getsignal(signal.SIGTERM), signals.received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(signal.SIG_DFL, None)]


def test_a_forked_process_ends_at_its_first_signal_and_may_defer_its_own(monkeypatch) -> None:
    """A pool ends its processes by SIGTERM; nothing is forked here, where TensorFlow has threads."""
    with Signals() as of_parent, monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit), Signals() as own:
            signal.raise_signal(signal.SIGTERM)
            seen = own.name
        assert (seen, of_parent.received) == ("SIGTERM", None)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("SIGTERM", "signals must be a list of names such as 'SIGTERM', got 'SIGTERM'."),
        (["TERM"], "signals must be names such as 'SIGTERM', got 'TERM'."),
        (["SIG_IGN"], "signals must be names such as 'SIGTERM', got 'SIG_IGN'."),
        ([15], "signals must be names such as 'SIGTERM', got 15."),
        (["SIGKILL"], "signals must be names of signals that a program can receive, got 'SIGKILL'."),
        (["SIGSEGV"], "signals must be names of signals that a program can receive, got 'SIGSEGV'."),
    ],
)
def test_names_are_checked(names, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Signals(names)
    assert str(caught.value) == message
