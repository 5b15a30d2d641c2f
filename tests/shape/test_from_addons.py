"""docs/from_tensorflow_addons.md has each optimizer, loss and callback of tensorflow-addons 0.23, and names what is."""

import importlib
import pathlib
import re

import pytest

import kopt

PAGE = pathlib.Path(kopt.__file__).resolve().parent.parent / "docs" / "from_tensorflow_addons.md"

# The public names of the wheel's __init__ files.
OPTIMIZERS = """AdaBelief AdamW AveragedOptimizerWrapper COCOB ConditionalGradient CyclicalLearningRate
DecoupledWeightDecayExtension ExponentialCyclicalLearningRate KerasLegacyOptimizer LAMB LazyAdam Lookahead MovingAverage
MultiOptimizer NovoGrad ProximalAdagrad RectifiedAdam SGDW SWA Triangular2CyclicalLearningRate
TriangularCyclicalLearningRate Yogi extend_with_decoupled_weight_decay"""
LOSSES = """ContrastiveLoss GIoULoss LiftedStructLoss NpairsLoss NpairsMultilabelLoss PinballLoss
SigmoidFocalCrossEntropy SparsemaxLoss TripletHardLoss TripletSemiHardLoss WeightedKappaLoss contrastive_loss giou_loss
lifted_struct_loss npairs_loss npairs_multilabel_loss pinball_loss sigmoid_focal_crossentropy sparsemax_loss
triplet_hard_loss triplet_semihard_loss"""
CALLBACKS = "AverageModelCheckpoint TQDMProgressBar TimeStopping"


def table(text: str, module: str) -> dict[str, str]:
    """Return name -> where it is now, of a module's table."""
    rows = re.search(rf"^\| tfa\.{module} \|.*?\n\|[-|]+\|\n(.*?)\n\n", text, re.S | re.M)
    assert rows, module
    found = [row.split(" | ") for row in rows[1].splitlines()]
    return {name: row[1].strip() for row in found for name in row[0].strip("| ").split(", ")}


@pytest.mark.parametrize(
    ("module", "names"), [("optimizers", OPTIMIZERS), ("losses", LOSSES), ("callbacks", CALLBACKS)]
)
def test_each_name_has_a_row(module: str, names: str) -> None:
    found = table(PAGE.read_text(), module)
    assert sorted(found) == sorted(names.split())
    assert all(where.startswith(("nowhere", "`kopt.", "`keras.")) for where in found.values())


def resolves(name: str) -> bool:
    package, *parts = name.split(".")
    thing = importlib.import_module(package)
    for part in parts:
        thing = getattr(thing, part, None)
    return thing is not None


def test_each_name_that_is_given_is_there() -> None:
    names = sorted(set(re.findall(r"`((?:kopt|keras)(?:\.\w+)+)", PAGE.read_text())))
    assert len(names) > 30 and [name for name in names if not resolves(name)] == []
    assert not resolves("kopt.rules.Nothing") and not resolves("keras.losses.GIoU")
