"""The model card of a run: recipe, data, score, baseline and largest errors."""

from collections.abc import Sequence

from kopt.callbacks import diagnose
from kopt.report.evidence import Evidence, worst
from kopt.report.run import Run
from kopt.report.usage import usage
from kopt.values.fields import Named, written_arguments
from kopt.values.texts import in_code, in_markdown

__all__ = ["model_card"]

LONGEST = 1000  # characters of an argument of the recipe
PICTURES = {
    "curves": "Loss, score and learning rate by epoch",
    "confusion": "Targets and outputs of the test split, class by class",
    "residuals": "Outputs against targets of the test split",
    "forecasts": "Errors by time ahead, and three windows of the test split",
    "recall": "Recall by how many are recommended",
    "places": "Bits a character by place in the window",
    "worst": "The images of the test split with the largest errors",
}


def model_card(run: Run, evidence: Evidence, pictures: Sequence[str]) -> str:
    """Return the text of the README of a run folder.

    Args:
        run: The run.
        evidence: The outputs of the model on the test split.
        pictures: The names of the pictures in plots/.

    Returns:
        Markdown.

    Example:
        >>> import numpy as np, pathlib
        >>> from kopt import Recipe, data, models, schedules
        >>> recipe = Recipe("digits", data.Digits(), model=models.MLP((8, 8, 1), 10), schedule=schedules.Cosine(0.01))
        >>> result = {"metric": "accuracy", "value": 0.98, "baseline_name": "SVC", "baseline": 0.99, "target": None}
        >>> result |= {"parameters": 4810, "seconds": 2.0, "devices": "cpu"}
        >>> evidence = Evidence("classification", np.zeros((1, 2)), np.array([0]), np.zeros((1, 10)))
        >>> print(model_card(Run(pathlib.Path("run"), recipe, {"loss": [1.0]}, result), evidence, ["curves"]))
        # digits, run
        ...

    Source:
        Mitchell et al., Model Cards for Model Reporting, 2019.
    """
    metrics = run.metrics
    rows = [("this run", metrics["value"]), (metrics["baseline_name"], metrics["baseline"])]
    rows += [("target", metrics["target"])] if metrics["target"] is not None else []
    table = "\n".join(f"| {in_markdown(name)} | {value:.4f} |" for name, value in rows)
    findings = "\n".join(f"- {in_markdown(finding)}" for finding in [*gap(run), *diagnose(run.history)])
    notes = as_list("What was inferred or left out when the data were read:", evidence.notes)
    shown = "\n\n".join(f"![{PICTURES[name]}](plots/{name}.png)" for name in pictures)
    return f"""# {run.recipe.name}, {run.folder.name}

| test {in_markdown(metrics["metric"])} | |
|---|---|
{table}

{metrics["parameters"]:,} parameters, {trained(run)}

What the curves say:

{findings}

{shown}

{notes}{"" if "worst" in pictures else worst_table(evidence)}The recipe:

```python
{in_code(written_recipe(run.recipe))}
```

{usage(run, evidence)}"""


def as_list(heading: str, sentences: Sequence[str]) -> str:
    """Return sentences as a list with a heading, or an empty text when there are none."""
    lines = "\n".join(f"- {in_markdown(sentence)}" for sentence in sentences)
    return f"{heading}\n\n{lines}\n\n" if lines else ""


def trained(run: Run) -> str:
    """Return how long and on what a run was trained, and when it was resumed."""
    metrics, times = run.metrics, run.metrics.get("resumed", ())
    line = f"trained in {metrics['seconds']:.1f} s on {in_markdown(metrics['devices'])}."
    if not times:
        return line
    how_often = "once" if len(times) == 1 else f"{len(times)} times"
    return f"{line} It was stopped and resumed {how_often}: {', '.join(map(in_markdown, times))}."


def gap(run: Run) -> list[str]:
    """Return a line about the final difference of training and validation in the score."""
    name, history = run.metrics["metric"], run.history
    if f"val_{name}" not in history:
        return []
    training, validation = history[name][-1], history[f"val_{name}"][-1]
    return [f"gap: {name} {training:.4f} in training, {validation:.4f} on validation, at the end."]


def worst_table(evidence: Evidence) -> str:
    """Return a table of the examples with the largest errors, with a heading."""
    rows = [[*map(in_markdown, words), f"{error:.3f}"] for *words, error in worst(evidence)]
    lines = ["| input | target | output | error |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "The largest errors on the test split:\n\n" + "\n".join(lines) + "\n\n"


def written_recipe(recipe: Named) -> str:
    """Return a recipe as code; an argument as long as a Keras config is cut, for recipe.json has it whole."""
    return "Recipe(\n" + "".join(f"    {cut(argument)},\n" for argument in written_arguments(recipe)) + ")"


def cut(text: str) -> str:
    """Return a text without its middle when it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
