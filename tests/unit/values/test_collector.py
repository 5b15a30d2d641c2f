"""Python's garbage collector is as before after it was held back, whatever happened meanwhile."""

import gc
import subprocess
import sys

import pytest

from kopt.values import collector


def test_a_pause_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), collector.paused():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()


def test_who_has_no_collector_gets_none() -> None:
    gc.disable()
    try:
        with collector.paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


PROGRAM = """
import gc, weakref
from kopt.values import collector

class Cycle:
    def __init__(self):
        self.me = self

before, kept = weakref.ref(Cycle()), Cycle()
with collector.frozen():
    assert before() is None, "garbage of before is freed"
    meanwhile, there = weakref.ref(Cycle()), weakref.ref(kept)
    del kept
    gc.collect()
    assert meanwhile() is None, "garbage of meanwhile is freed"
    assert there() is not None, "what was there is not looked at"
gc.collect()
assert there() is None and gc.get_freeze_count() == 0, "all is looked at again"

gc.freeze()
with collector.frozen():
    pass
assert gc.get_freeze_count() > collector.PYTHONS_OWN, "what the program has frozen stays so"
"""


def test_frozen_objects_are_left_out_until_the_end() -> None:
    """In a process of its own, for the tests' process has frozen objects."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
