"""Canary: the log of TensorFlow 2.21's compiled parts can be silenced for a while."""

import pytest

from kopt import keras_internals as internals
from kopt.keras_internals.native_log import FATAL, level


def test_errors_are_not_logged_meanwhile() -> None:
    log = level()
    assert log is not None
    before = log.read()
    log.write(1)
    try:
        with pytest.raises(KeyError), internals.without_native_errors():
            with internals.without_native_errors():
                assert log.read() == FATAL
            assert log.read() == FATAL
            raise KeyError
        assert log.read() == 1
    finally:
        log.write(before)
