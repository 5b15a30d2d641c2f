"""Overfitting: what L1, L2, dropout and early stopping do for an over-sized network that sees 100 digits.

Command   python recipes/overfitting.py
Data      digits, as in vision.py, but only the first 100 of the training split; validation and test stay whole
Baseline  the same network with nothing done; each strength is chosen on the validation split with seed 0
Target    none: test log loss and accuracy over 5 seeds are printed, losses as well as wins
Time      about 2 minutes on 2 cores
Result    test log loss 0.452 with nothing; less by 0.060 L1, 0.059 L2, 0.068 L2 and dropout (each +- 0.02 or less), by
          0.017 dropout alone (+- 0.025) and 0.027 early stopping by validation accuracy (spread 0.04 over seeds);
          accuracy 0.896 with nothing, 0.882 to 0.896 else
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import kopt
from kopt.experiment.ablation import Variant, ablate
from kopt.experiment.recipe import script_line
from kopt.regularizers import L1, L2
from kopt.report.gallery import curves_figure
from kopt.values.field_paths import replace

RECIPE = kopt.Recipe(
    "overfitting",
    kopt.data.Digits(),
    model=kopt.models.MLP((8, 8, 1), 10, units=(256, 256), scale=1 / 16),
    schedule=kopt.schedules.Cosine(0.003),
    training=kopt.Training(epochs=60, batch_size=10),
)
# The settings of each variant: path in the recipe -> value.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "nothing": [{}],
    "L1": [{"regularizer": L1(strength)} for strength in (1e-4, 3e-4, 1e-3)],
    "L2": [{"regularizer": L2(strength)} for strength in (1e-3, 3e-3, 1e-2)],
    "dropout": [{"model.dropout": share} for share in (0.5, 0.7, 0.8)],
    "early stopping": [{"training.patience": 5}],
    "L2 and dropout": [{"regularizer": L2(strength), "model.dropout": 0.3} for strength in (1e-3, 3e-3, 1e-2)],
}


def summary(variant: Variant) -> str:
    """Return a line with the chosen setting, and its means and spreads over seeds."""
    chosen = ", ".join(f"{path.split('.')[-1]} {value}" for path, value in variant.changes.items())
    scores = [variant.scores(name) for name in ("loss", "accuracy")]
    loss, accuracy = (f"{values.mean():.3f} +- {values.std(ddof=1):.3f}" for values in scores)
    return f"{variant.name:14} {chosen:35} test log loss {loss}, accuracy {accuracy}"


@kopt.exit_codes()
def main(args: Sequence[str] | None = None) -> Path:
    """Choose the strength of each variant, train it from every seed, and write a table and a picture."""
    quick, folder = script_line(args, description=__doc__)
    recipe, seeds = replace(RECIPE, {"training.epochs": 2} if quick else {}), 2 if quick else 5
    variants = {name: VARIANTS[name][:1] for name in ("nothing", "L2")} if quick else VARIANTS
    splits = recipe.data.load()
    splits = splits._replace(train=kopt.data.Split(*(array[:100] for array in splits.train)))
    lines: list[str] = []
    panels: dict[str, dict[str, Any]] = {}
    with kopt.report.run_folder(folder, recipe.name) as (unfinished, final):
        for variant in ablate(recipe, variants, splits=splits, seeds=seeds):
            lines.append(summary(variant))
            print(lines[-1], flush=True)
            first = variant.trials[0].history
            nothing = panels["nothing"]["validation"] if panels else first["val_loss"]
            panels[variant.name] = {"validation": first["val_loss"], "train": first["loss"], "nothing done": nothing}
        curves_figure(panels, xlabel="epoch", ylabel="log loss").savefig(unfinished / "curves.png", dpi=100)
        (unfinished / "results.txt").write_text("\n".join(lines) + "\n")
    print(f"run folder: {final}")
    return final


if __name__ == "__main__":
    main()
