"""SamplePredictions: tables of what a model says, by task, which change nothing of training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kopt.callbacks import SamplePredictions
from kopt.callbacks.sample_tables import in_columns, in_markdown_table, sample_table, written_on
from kopt.training import fit


def test_tables_by_task() -> None:
    one_hot, probabilities = np.array([[0, 1], [1, 0]]), np.array([[0.2, 0.8], [0.4, 0.6]])
    found = sample_table("classification", probabilities, one_hot, ("a", "b"), logits=False)
    assert found == {"truth": ["b", "a"], "prediction": ["b", "b"], "probability": ["0.800", "0.600"]}
    found = sample_table("classification", np.array([[np.log(3)], [-1e3]]), np.array([[1.0], [1.0]]))
    assert found == {"truth": ["1", "1"], "prediction": ["1", "0"], "probability": ["0.750", "1.000"]}
    found = sample_table("forecast", np.array([[1.0, 2, 3, 4, 5, 6]]), np.array([[1.0, 2, 3, 4, 5, 9]]))
    assert found == {"truth": ["1 2 3 4 5 ..."], "prediction": ["1 2 3 4 5 ..."], "error": ["0.5"]}
    scores, relevant = np.arange(8.0)[None], np.array([[1, 0, 0, 0, 0, 0, 1, 1]])
    assert sample_table("ranking", scores, relevant)["hits"] == ["2"]
    assert sample_table("ranking", scores, None) == {"prediction": ["7, 6, 5, 4, 3"]}


def test_a_language_model_writes_by_its_probabilities() -> None:
    """A model that says after "a": "b" or "c", alike; after both "a"."""
    after = np.full((3, 3), -1e9)
    after[0, 1] = after[0, 2] = after[1, 0] = after[2, 0] = 0.0
    table = written_on(lambda tokens: after[tokens], np.array([[1, 0]] * 2), 1000, "abc")
    assert table["start"] == ["ba", "ba"] and set(table["continuation"][0][1::2]) == {"a"}
    drawn = table["continuation"][0][::2]
    assert 200 < drawn.count("b") < 300 and drawn.count("c") == 500 - drawn.count("b")
    assert written_on(lambda tokens: after[tokens], np.array([[1, 0]] * 2), 1000, "abc") == table


def test_tables_are_aligned_and_escaped() -> None:
    table = {"truth": ["a|b", "\x1b[31m"], "prediction": ["c", "d" * 80]}
    assert in_columns(table).splitlines()[0] == "truth     prediction" and "\x1b" not in in_columns(table)
    assert max(map(len, in_columns(table).splitlines())) == len("\\x1b[31m") + 2 + 60
    assert in_markdown_table(table).splitlines()[2] == "| a\\|b | c |"


@pytest.mark.parametrize("loop", [False, True])
def test_every_few_epochs_a_table_is_printed_and_written_and_training_is_as_without(
    loop: bool, network, points, capsys, tmp_path
) -> None:
    def run(*listed):
        model = network(steps_per_execution=3)
        train = (lambda *data, **how: fit(model, *data, **how)) if loop else model.fit
        return train(*points, epochs=4, shuffle=False, verbose=0, callbacks=list(listed)).history, model

    few = points[0][:3], points[1][:3]
    samples = SamplePredictions(*few, task="regression", every="2 epochs", folder=tmp_path)
    (history, model), (without, _) = run(samples), run()
    assert history == without
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("epoch")] == ["epoch 2", "epoch 4"] and len(lines) == 2 * 5
    said = [f"{value:.4g}" for value in model.predict(few[0], verbose=0).ravel()]
    assert samples.table["prediction"] == said and [line.split()[1] for line in lines[-3:]] == said
    records = [record for file in tmp_path.iterdir() for record in tf.compat.v1.train.summary_iterator(str(file))]
    texts = [(record.step, value.tensor.string_val[0]) for record in records for value in record.summary.value]
    assert [step for step, _ in texts] == [1, 3] and texts[1][1].decode() == in_markdown_table(samples.table)


def test_a_byte_model_and_inputs_by_name(capsys) -> None:
    model = keras.Sequential([keras.Input((4,), dtype="int32"), keras.layers.Embedding(256, 256)])
    model.layers[0].embeddings.assign(np.roll(np.eye(256), 1, 1) * 1e3)  # the next byte is the one that follows
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.array([list(b"abcd")])
    model.optimizer.learning_rate = 0.0
    model.fit(x, x, verbose=0, callbacks=[SamplePredictions(x, task="language", length=3)])
    assert capsys.readouterr().out.splitlines()[-1].split() == ["abcd", "efg"]
    inputs = {name: keras.Input((1,), name=name) for name in "ab"}
    model = keras.Model(inputs, keras.layers.Add()(list(inputs.values())))
    samples = SamplePredictions({"a": np.ones((2, 1)), "b": np.ones((2, 1))}, task="regression")
    samples.set_model(model)
    samples.on_epoch_end(0)
    assert samples.table == {"prediction": ["2", "2"]}


@pytest.mark.parametrize(
    ("how", "rule"),
    [
        ({"task": "poetry"}, "task must be one of"),
        ({"every": "5 steps"}, "every must be a number of epochs"),
        ({"length": 0}, "length must be a whole number >= 1"),
        ({"y": np.zeros(3)}, "y must have a target for each row of x"),
        ({"x": np.zeros((0, 2))}, "x must have 1 to 100 rows"),
        ({"x": np.zeros((101, 2))}, "x must have 1 to 100 rows"),
    ],
)
def test_bad_arguments_are_refused(how, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{rule}"):
        SamplePredictions(**{"x": np.zeros((2, 2)), "task": "regression"} | how)
