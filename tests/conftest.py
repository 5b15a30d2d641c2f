"""What every test has: a quiet TensorFlow, a fixed seed, small data, and Python in a fresh process."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["KOPT_CACHE"] = "off"  # not the user's, whatever it holds: tests would find what others compiled

import gc  # noqa: E402
import pathlib  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from typing import Any  # noqa: E402

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from kopt import callbacks  # noqa: E402
from kopt.keras_internals.tuning import forgetting_gradients  # noqa: E402
from kopt.training.execute import estimate  # noqa: E402
from kopt.tuning.space.pruners import PRUNERS  # noqa: E402
from kopt.tuning.space.samplers import SAMPLERS  # noqa: E402
from kopt.values import serialization  # noqa: E402
from kopt.values.fields import Value  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent


# Files and folders whose tests train nothing: `-m fast` runs them in less than a minute on 2 cores.
FAST = (
    "kopt/values/",
    "kopt/regularizers/",
    "kopt/schedules/",
    "kopt/select/",
    "tests/contracts/test_kinds.py",
    "tests/contracts/test_values.py",
    "tests/golden/test_regularizers.py",
    "tests/golden/test_schedules.py",
    "tests/shape/test_counts.py",
    "tests/shape/test_docstrings.py",
    "tests/unit/test_main.py",
    "tests/unit/tasks/",
    "tests/unit/select/",
    "tests/unit/values/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the fast tests by where they are."""
    for item in items:
        if item.path.relative_to(ROOT).as_posix().startswith(FAST):
            item.add_marker(pytest.mark.fast)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Call a test by the value that it is of; without folders, which are others in each process."""
    return re.sub(r"'[^']*/", "'", repr(val))[:60] if isinstance(val, Value) else None


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def forgotten_programs() -> Iterator[None]:
    """Free what a test has traced: thousands of programs would fill 12 GB, which every garbage collection walks."""
    with forgetting_gradients():
        yield


def registered() -> dict[str, list[object]]:
    """Return what stands in the registries, which all tests of a process share."""
    return {
        "values": list(serialization.packages),
        "callbacks": list(callbacks.registry),
        "samplers": list(SAMPLERS),
        "pruners": list(PRUNERS),
    }


@pytest.fixture(autouse=True, scope="module")
def unchanged_registries() -> Iterator[None]:
    """Refuse a file of tests that leaves something in a registry: another file's laws would be about it too."""
    before = registered()
    yield
    assert registered() == before


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Obey SIGINT and SIGHUP in tests that are run in the background, where shells have them ignored."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


next_collection = [0.0]  # when, by the CPU time of this process


@pytest.fixture(autouse=True, scope="module")
def fast_collection() -> Iterator[None]:
    """Leave a million older objects out of garbage collections, for Keras collects at each new session.

    They are collected themselves only now and then: that takes a second, which most files do not.
    """
    if time.process_time() > next_collection[0]:
        gc.collect()
        next_collection[0] = time.process_time() + 60
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def xla_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `jit="auto"` take XLA for the few steps of a test, wherever it may at all."""
    monkeypatch.setattr(estimate, "COMPILE_SECONDS", 0.0)
    monkeypatch.setattr(estimate, "LAUNCH_SECONDS", 0.0)


@pytest.fixture(scope="session")
def points() -> tuple[np.ndarray, np.ndarray]:
    """100 rows of 10 numbers, and a target that a small network can learn."""
    x = np.random.default_rng(0).normal(size=(100, 10)).astype("float32")
    y = (2 * x[:, :1] + np.sin(x[:, 1:2])).astype("float32")
    for array in (x, y):
        array.flags.writeable = False  # for all tests share them
    return x, y


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in a fresh process, from the project's folder; a variable that is None is taken away."""

    def run(*arguments: str, expect: int = 0, **environment: str | None) -> subprocess.CompletedProcess[str]:
        wanted = {**os.environ, **environment}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={name: value for name, value in wanted.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def network() -> Callable[..., Any]:
    """Build the textbook's 10-5-1 ReLU network, always with the same weights."""

    def build(optimizer: Any = "sgd", *, regularizer: Any = None, with_input: bool = True, **compiled: Any) -> Any:
        keras.utils.set_random_seed(1)
        hidden = keras.layers.Dense(5, activation="relu", kernel_regularizer=regularizer)
        layers = [keras.Input((10,))] if with_input else []
        model = keras.Sequential([*layers, hidden, keras.layers.Dense(1)])
        model.compile(optimizer, "mse", metrics=["mae"], **compiled)
        return model

    return build
