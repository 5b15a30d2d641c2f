"""From messy CSV files to predictions in plain Keras: three tables, each in a few lines, read again without kopt."""

import json
import pathlib
import subprocess
import sys

import messy_tables
import numpy as np
import pandas
import pytest

import kopt
from kopt import data

EPOCHS = 6
TABLES = {
    "houses": (messy_tables.houses, "price", {"texts": ("zip",), "ignore": ("House ID", "country")}),
    "sales": (messy_tables.sales, "sold", {"split": "time"}),
    "patients": (messy_tables.patients, "diagnosis", {"split": "group", "ignore": ("part",)}),
}
WITHOUT_KOPT = """
import json, pathlib, sys
sys.modules["kopt"] = None  # an import of it raises
import keras
import numpy as np
for place in map(pathlib.Path, sys.argv[1:]):
    model = keras.saving.load_model(place / "inference.keras")
    rows = json.loads((place / "rows.json").read_text())
    kind = lambda cells: object if isinstance(cells[0], str) else "float32"
    columns = {name: np.array(cells, dtype=kind(cells)) for name, cells in rows.items()}
    np.save(place / "outputs.npy", model.predict(columns, verbose=0))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, tuple[kopt.report.Run, pathlib.Path]]:
    """A run on each table, and its file; the columns of the splits are named by the makers."""
    found = {}
    for name, (make, target, fields) in TABLES.items():
        folder = tmp_path_factory.mktemp(name)
        columns = make()
        by = {"time": "when", "group": "patient"}.get(fields.get("split", ""))
        path = messy_tables.write(folder / f"{name}.csv", columns)
        given = data.csv(path, target, missing="impute", **fields, **({"by": by} if by else {}))
        recipe = kopt.Recipe(name, given, training=kopt.Training(epochs=EPOCHS))
        found[name] = kopt.run(recipe, folder=folder, verbose=False), pathlib.Path(path)
    return found


def test_what_was_inferred_is_on_the_card_and_the_model_beats_a_guess(runs) -> None:
    for name, (run, _) in runs.items():
        card = (run.folder / "README.md").read_text()
        assert "What was inferred or left out" in card and "inference.keras" in card, name
        y = run.recipe.data.load().test.y
        guess = y.std() if run.metrics["metric"] == "rmse" else np.bincount(y).max() / len(y)
        better = run.metrics["value"] < guess if run.metrics["metric"] == "rmse" else run.metrics["value"] > guess
        assert better, (name, run.metrics["value"], guess)


def test_rows_of_the_file_are_predicted_alike_by_kopt_and_by_keras_without_it(runs) -> None:
    for run, path in runs.values():
        rows = pandas.read_csv(path, dtype=str, keep_default_na=False).head(50)
        inputs = run.recipe.data.columns_of(rows)
        plain = {key: [one if isinstance(one, str) else float(one) for one in column] for key, column in inputs.items()}
        (run.folder / "rows.json").write_text(json.dumps(plain))
    places = [str(run.folder) for run, _ in runs.values()]
    subprocess.run([sys.executable, "-c", WITHOUT_KOPT, *places], check=True, capture_output=True, timeout=300)
    for name, (run, path) in runs.items():
        outputs = np.load(run.folder / "outputs.npy")
        found = kopt.predict(run, pandas.read_csv(path, dtype=str, keep_default_na=False).head(50))
        numbers = found[[column for column in found if column != "class"]].to_numpy("float64")
        np.testing.assert_allclose(numbers, outputs.reshape(numbers.shape), rtol=1e-5, atol=1e-5, err_msg=name)
