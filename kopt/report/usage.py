"""How a saved model is used: the part of a model card with its outputs and code, which tests run as it is written."""

import numpy as np

from kopt.report.evidence import Evidence
from kopt.report.run import Run
from kopt.values.texts import in_code, in_markdown

__all__ = ["INFERENCE", "usage"]

INFERENCE = "inference.keras"
MOST_NAMES = 100  # of classes or items that are listed
FEW_NUMBERS = 20  # of an example that are written out
TEXT = 60  # characters of a text that are written out

OUTPUTS = {
    "classification": "`outputs[i, j]` is the probability of class `j` for row `i`",
    "regression": "`outputs[i, j]` is the predicted value of target `j` for row `i`",
    "forecast": "`outputs[i, j]` is the value `j + 1` steps after the end of window `i`",
    "ranking": "`outputs[i, j]` is the score of item `j` for row `i`, where only the order counts; what is in the row "
    "scores -1e9",
    "language": "`outputs[i, j, k]` is the probability that byte `k` comes after the first `j + 1` bytes of window `i`",
}


def usage(run: Run, evidence: Evidence) -> str:
    """Return what the outputs of a run's model are, and code that loads it, in Markdown.

    Args:
        run: The run.
        evidence: The outputs of the model on the test split.

    Returns:
        Sentences and a block of code for Keras alone; for kopt when there is no inference copy.

    Example:
        >>> import pathlib
        >>> found = Evidence("regression", np.ones((2, 3), "float32"), np.zeros(2), np.zeros((2, 1)))
        >>> print(usage(Run(pathlib.Path("run"), None, {}, {}), found))
        The model takes raw input. `outputs[i, 0]` is the predicted value of the target for row `i`.
        ...
        model = keras.saving.load_model("inference.keras")
        x = np.array([[1, 1, 1], [1, 1, 1]], "float32")
        outputs = model.predict(x)
        ```
        ...

    Source:
        Mitchell et al., Model Cards for Model Reporting, 2019.
    """
    why = run.metrics.get("not_written", {}).get(INFERENCE)
    frame = "`kopt predict` and `kopt.predict` give the same as a table with names."
    if why is None:
        name, needs, alone = INFERENCE, "import keras", "Keras loads `inference.keras` without kopt:"
    else:
        name, needs = "model.keras", "import keras, kopt"
        alone = f"There is no `inference.keras` ({in_markdown(why)}). `model.keras` needs kopt and gives logits:"
    lines = [needs, "import numpy as np", "", f'model = keras.saving.load_model("{name}")', f"x = {literal(evidence)}"]
    code = in_code("\n".join([*lines, "outputs = model.predict(x)", *best(evidence)]))
    meaning = OUTPUTS[evidence.task]
    if evidence.task == "regression" and np.shape(evidence.outputs)[1:] == (1,):
        meaning = "`outputs[i, 0]` is the predicted value of the target for row `i`"
    said = f"The model takes raw input. {meaning}{named(evidence)}. {frame}"
    return f"{said}\n\n{alone}\n\n```python\n{code}\n```\n{training(why)}"


def training(why: str | None) -> str:
    """Return what `model.keras` is for, where there is a copy too."""
    if why is not None:
        return ""
    return "\n`model.keras` has the optimizer and the penalties too, to go on training with kopt: `kopt.load_model`.\n"


def named(evidence: Evidence) -> str:
    """Return the order of the classes or items."""
    if evidence.task not in ("classification", "ranking") or not evidence.labels:
        return ""
    shown = ", ".join(f"{number} {in_markdown(name)}" for number, name in enumerate(evidence.labels[:MOST_NAMES]))
    more = len(evidence.labels) - MOST_NAMES
    rest = f" and {more} more, which are `run.recipe.data.labels`" if more > 0 else ""
    return f"; in order: {shown}{rest}"


def best(evidence: Evidence) -> list[str]:
    """Return lines of code that make names of the outputs."""
    if evidence.task == "ranking":
        return ["best = outputs.argsort(1)[:, ::-1][:, :10]"]
    if evidence.task != "classification":
        return []
    if not 0 < len(evidence.labels) <= MOST_NAMES:
        return ["classes = outputs.argmax(1)"]
    return [f"names = np.array({list(evidence.labels)})", "classes = names[outputs.argmax(1)]"]


def literal(evidence: Evidence) -> str:
    """Return code for two raw examples, or for zeros of their shape where they are large."""
    x = evidence.x
    if isinstance(x, dict):
        columns = [f'    "{name}": {column_literal(column)},' for name, column in sorted(x.items())]
        return "\n".join(["{", *columns, "}"])
    if x.dtype.kind == "O":
        return column_literal(x)
    if x.ndim == 2 and x.shape[1] <= FEW_NUMBERS:
        return f'np.array([{", ".join(map(numbers, x[:2]))}], "{x.dtype.name}")'
    return f'np.zeros({(2, *x.shape[1:])}, "{x.dtype.name}")  # put your rows here'


def column_literal(column: np.ndarray) -> str:
    """Return code for the first two cells of a column; of NumPy's kinds of texts, Keras takes objects."""
    if column.dtype.kind in "OUS":
        return f"np.array({[str(text)[:TEXT] for text in column[:2]]}, dtype=object)"
    return f'np.array({numbers(column[:2])}, "{column.dtype.name}")'


def numbers(cells: np.ndarray) -> str:
    """Return code for a list of numbers, where NaN is a missing value."""
    shown = ["np.nan" if one != one else f"{one:.6g}" if isinstance(one, float) else str(one) for one in cells.tolist()]
    return f"[{', '.join(shown)}]"
