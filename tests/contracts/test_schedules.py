"""What holds of every schedule."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from examples import SCHEDULES

from kopt.schedules import Schedule
from kopt.values import bind, number_paths, read, replace

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)
TIMES = np.linspace(0, 30, 61)


@every_schedule
def test_is_finite_and_not_negative(schedule: Schedule) -> None:
    values = keras.ops.convert_to_numpy(schedule(TIMES))
    assert np.all(np.isfinite(values)) and np.all(values >= 0)
    assert values.dtype == keras.config.floatx()


@every_schedule
def test_eager_graph_xla_and_table_agree(schedule: Schedule) -> None:
    eager = np.array([float(schedule(step)) for step in range(20)])
    for jit in (False, True):
        graph = tf.function(schedule, jit_compile=jit)
        np.testing.assert_allclose([float(graph(tf.constant(step))) for step in range(20)], eager, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(schedule.table(20), eager, rtol=1e-6, atol=1e-9)


@every_schedule
@pytest.mark.parametrize("jit", [False, True])
def test_mapped_over_bound_numbers_equals_single_calls(schedule: Schedule, jit: bool) -> None:
    """The law of values: K schedules as one program."""
    times = np.array([0.0, 2.5, 7.0])
    around = lambda path: read(schedule, path) * np.linspace(*accepted(schedule, path), 5)
    columns = {path: around(path) for path in number_paths(schedule)}

    def mapped(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        of = lambda path: tf.vectorized_map(lambda number: bind(schedule, {path: number})(times), columns[path])
        return {path: of(path) for path in columns}

    found = tf.function(mapped, jit_compile=jit)({path: tf.constant(numbers) for path, numbers in columns.items()})
    for path, numbers in columns.items():
        single = [replace(schedule, {path: number})(times) for number in numbers]
        np.testing.assert_allclose(found[path], single, rtol=1e-6, atol=1e-9, err_msg=path)


def accepted(schedule: Schedule, path: str) -> tuple[float, float]:
    """Factors of a number that the schedule accepts: a growth may not fall under 1."""
    try:
        replace(schedule, {path: 0.7 * read(schedule, path)})
    except ValueError:
        return 1.0, 1.3
    return 0.7, 1.0


@every_schedule
def test_holds_its_last_value(schedule: Schedule) -> None:
    assert schedule.total is not None
    if schedule.total < np.inf:
        last = float(schedule(schedule.total))
        np.testing.assert_allclose(schedule(schedule.total + np.array([0.1, 1, 1000])), last, rtol=1e-6, atol=1e-9)


@every_schedule
def test_scaling_and_warmup_keep_the_shape(schedule: Schedule) -> None:
    np.testing.assert_allclose((3 * schedule)(TIMES), 3 * schedule(TIMES), rtol=1e-6)
    warmed = schedule.warmup(4, start=0.02)
    assert float(warmed(0)) == pytest.approx(0.02)
    assert float(warmed(2)) == pytest.approx((0.02 + float(schedule(0))) / 2)
    np.testing.assert_allclose(warmed(TIMES + 4), schedule(TIMES), rtol=1e-6, atol=1e-9)
    assert warmed.total == schedule.total + 4  # type: ignore[operator]


@every_schedule
def test_drives_a_keras_optimizer_and_survives_its_config(schedule: Schedule) -> None:
    optimizer = keras.optimizers.SGD(schedule)
    variable = keras.Variable([1.0])
    taken = []
    for _ in range(6):
        before = float(variable.numpy()[0])
        optimizer.apply([keras.ops.ones((1,))], [variable])
        taken.append(before - float(variable.numpy()[0]))
    np.testing.assert_allclose(taken, schedule.table(6), atol=2e-7)
    assert keras.optimizers.SGD.from_config(optimizer.get_config())._learning_rate == schedule


@every_schedule
def test_a_model_compiled_with_it_survives_a_keras_file(schedule: Schedule, tmp_path) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(schedule), "mse")
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").optimizer._learning_rate == schedule
