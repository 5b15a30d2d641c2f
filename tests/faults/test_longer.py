"""A complete training that is asked for more epochs, and a script with two fits, go on as if they had never ended."""

import keras
import pytest
from killed_trainings import EPOCHS, Fits, train
from killing import Stopped, counted, stop

NAMES = ("everything", "a pipeline", "averages")


@pytest.mark.parametrize("name", NAMES)
def test_more_epochs_equal_a_longer_run(tmp_path, name: str) -> None:
    wanted = train(name, Fits(epochs=EPOCHS + 2))
    train(name, Fits(tmp_path))
    assert train(name, Fits(tmp_path, epochs=EPOCHS + 2)) == wanted


def test_a_complete_run_is_not_trained_again(tmp_path) -> None:
    wanted = train("a generator", Fits(tmp_path))
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "1").glob("*.safetensors")}
    assert train("a generator", Fits(tmp_path)) == wanted
    assert there == {path: path.stat().st_mtime_ns for path in (tmp_path / "1").glob("*.safetensors")}


def test_a_script_that_is_stopped_in_its_second_fit_goes_on_there(tmp_path) -> None:
    wanted = train("a schedule over two fits", Fits())
    with pytest.raises(Stopped), counted(keras.callbacks.CallbackList, "on_train_batch_end", 6 * EPOCHS + 9, stop):
        train("a schedule over two fits", Fits(tmp_path, every="1 steps"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
    assert train("a schedule over two fits", Fits(tmp_path)) == wanted
