"""A complete training that is asked for more epochs ends as one that was asked for them at first."""

import pytest
from trainings import EPOCHS, Fits, train

NAMES = ("everything", "a pipeline", "a generator", "several epochs a call", "averages")


@pytest.mark.parametrize("name", NAMES)
def test_more_epochs_equal_a_longer_run(tmp_path, name: str) -> None:
    wanted = train(name, Fits(epochs=EPOCHS + 2))
    train(name, Fits(tmp_path))
    assert train(name, Fits(tmp_path, epochs=EPOCHS + 2)) == wanted


def test_a_complete_run_is_not_trained_again(tmp_path) -> None:
    wanted = train("everything", Fits(tmp_path))
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "1").glob("*.safetensors")}
    assert train("everything", Fits(tmp_path)) == wanted
    assert there == {path: path.stat().st_mtime_ns for path in (tmp_path / "1").glob("*.safetensors")}
