"""What TensorBoard shows of a run, read from its events by TensorBoard's own readers."""

import io

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from examples import RECIPE
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

import kopt
from kopt.report.event_summaries import hyperparameters
from kopt.report.run_writer import write_events
from kopt.values.field_paths import replace


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> kopt.report.Run:
    return kopt.run(replace(RECIPE, {"training.epochs": 2}), folder=tmp_path_factory.mktemp("runs"), verbose=False)


@pytest.fixture(scope="module")
def events(done) -> EventAccumulator:
    found = EventAccumulator(str(done.folder / "logs"), size_guidance={"images": 0})
    return found.Reload()


def text(events: EventAccumulator, tag: str) -> str:
    (event,) = events.Tensors(tag)
    return tf.make_ndarray(event.tensor_proto).item().decode()


def test_the_recipe_is_there_as_text(done, events: EventAccumulator) -> None:
    shown = text(events, "recipe")
    assert "schedule=Cosine(0.01).warmup(1)" in shown and "rule=Adam()" not in shown  # as it is written: no defaults
    assert f"value {done.metrics['value']}" in text(events, "results")


def test_fields_of_the_recipe_are_hyperparameters_of_one_row(done, events: EventAccumulator) -> None:
    tag = metadata.SESSION_START_INFO_TAG
    start = metadata.parse_session_start_info_plugin_data(events.SummaryMetadata(tag).plugin_data.content)
    assert start.group_name == done.folder.name
    fields = start.hparams
    assert fields["schedule.rate"].number_value == 0.01 and fields["rule"].string_value == "Adam"
    assert fields["training.deterministic"].bool_value is False
    assert fields["training.deterministic"].WhichOneof("kind") == "bool_value"
    assert set(fields) == set(hyperparameters(done.recipe)) and "training.patience" not in fields
    end = metadata.parse_session_end_info_plugin_data(
        events.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    )
    assert end.status == api_pb2.STATUS_SUCCESS


def test_the_score_on_the_test_split_stands_beside_the_curves(done, events: EventAccumulator) -> None:
    (score,) = events.Tensors("test_accuracy")
    assert tf.make_ndarray(score.tensor_proto) == pytest.approx(done.metrics["value"]) and score.step == 2
    curves = EventAccumulator(str(done.folder / "logs" / "validation")).Reload()
    assert "epoch_accuracy" in curves.Tags()["tensors"]


def test_the_pictures_of_the_report_are_there_to_the_pixel(done, events: EventAccumulator) -> None:
    files = sorted((done.folder / "plots").iterdir())
    shown = sorted(tag for tag in events.Tags()["tensors"] if tag.startswith("report/"))
    assert shown == [f"report/{file.stem}" for file in files] and len(files) == 3
    for file, tag in zip(files, shown):
        (event,) = events.Tensors(tag)
        image = matplotlib.image.imread(io.BytesIO(tf.make_ndarray(event.tensor_proto)[2]))
        np.testing.assert_array_equal(image[..., :3], matplotlib.image.imread(file)[..., :3])


def test_events_that_cannot_be_written_at_the_end_are_named(done, monkeypatch) -> None:
    def fails(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kopt.report.run_writer.write_outcome", fails)
    assert write_events(done.folder, done, []) == {"logs": "No space left on device"}
