"""Recipe: one frozen value that names a whole training run; and the command line over its fields."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from typing import Annotated, Literal, NamedTuple, TypeVar

import tyro

from kopt.augment import Augmentation
from kopt.callbacks.averaging import Averaging
from kopt.data import Data
from kopt.models import Model
from kopt.regularizers import Regularizer
from kopt.rules import Adam, Rule
from kopt.schedules import Schedule
from kopt.training.steps.clips import Clip
from kopt.values.checks import require
from kopt.values.fields import Named, Number, Value, replace
from kopt.values.registry import Registry
from kopt.values.types import Json

__all__ = ["Command", "Recipe", "Script", "Training", "command_line", "script_line"]

registry: Registry[Value] = Registry("recipes")


@registry.register
class Training(Value):
    """How long to train, and on how much at once.

    Args:
        epochs: Number of epochs, >= 1.
        batch_size: Examples an update over all devices, >= 1, or "full".
        micro_batches: In how many parts a batch is computed, to save memory; >= 1.
        precision: Of what layers compute; weights stay float32 under the mixed ones.
        patience: Epochs without a better score on the validation split after which training ends, >= 1; the best
            epoch's weights are kept. None for all epochs and the last weights.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> Training(epochs=5, batch_size="full")
        Training(5, batch_size='full')

    Source:
        `keras.Model.fit`.
    """

    epochs: int = 20
    batch_size: int | Literal["full"] = 32
    micro_batches: int = 1
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    patience: int | None = None

    def check(self) -> None:
        require(self.epochs >= 1, "epochs", "must be >= 1", self.epochs)
        require(self.micro_batches >= 1, "micro_batches", "must be >= 1", self.micro_batches)
        require(self.patience is None or self.patience >= 1, "patience", "must be >= 1 or None", self.patience)
        require(
            self.batch_size == "full" or self.batch_size >= 1, "batch_size", "must be >= 1 or 'full'", self.batch_size
        )


@registry.register
class Recipe(Named):
    """A training run as one value, its parts in the order in which `kopt.run` uses them.

    Args:
        name: Of the recipe, and of its folder of runs.
        data: What to train on.
        augment: How training batches are changed at random; None for not at all.
        model: What to train.
        schedule: The learning rate over epochs; an open duration ends with the run.
        rule: How gradients become updates.
        clip: What bounds the gradient before the update; None for nothing.
        regularizer: What is added to the loss for the kernels; None for nothing.
        average: Which average of the weights is validated and kept; None for the weights themselves.
        training: How long, and on how much at once.
        devices: As for `distribute.choose`.
        collectives: As for `distribute.choose`.
        seed: Of weights, order and dropout, >= 0.
        target: What the first metric should reach on the test split; None for no target.

    Raises:
        ValueError: When a part is of the wrong kind or out of range.

    Example:
        >>> from kopt import data, models, schedules
        >>> Recipe("digits", data.Digits(), model=models.MLP((8, 8, 1), 10), schedule=schedules.Cosine(1e-3)).training
        Training()

    Source:
        The frozen experiment values of big_vision's and scenic's config files.
    """

    name: tyro.conf.Suppress[str]
    data: Data
    _: KW_ONLY
    augment: Augmentation | None = None
    model: Model
    schedule: Schedule
    rule: Rule = Adam()
    clip: Clip | None = None
    regularizer: Regularizer | None = None
    average: Averaging | None = None
    training: Training = Training()
    devices: str = "auto"
    collectives: str = "auto"
    seed: int = 0
    target: Number | None = None

    def check(self) -> None:
        require(self.name.isidentifier(), "name", "must be letters, digits and underscores", self.name)
        require(0 <= self.seed < 2**32, "seed", "must be in [0, 2 ** 32)", self.seed)
        require(
            self.model.task == self.data.task,
            "model.task",
            f"must be {self.data.task!r} for these data",
            self.model.task,
        )
        self.schedule.resolve(float(self.training.epochs))  # refuses one that such a run is too short for


@registry.register
class Command(Value):
    """What a recipe script's command line says; paths pass through to the recipe.

    Args:
        of: The recipe.
        quick: Train for a moment only, to see that everything works.
        check_target: Train from three seeds, and end with code 1 when the mean of their scores misses the target.
        folder: Where run folders go.
    """

    of: Annotated[Recipe, tyro.conf.arg(name="")]
    _: KW_ONLY
    quick: bool = False
    check_target: bool = False
    folder: str = "saved_models"


Given = TypeVar("Given", bound=Command)


def command_line(
    command: Given, *, quick: Mapping[str, Json], args: Sequence[str] | None = None, description: str | None = None
) -> Given:
    """Read a command line over every field of a recipe, by its path: `--training.epochs 2 --schedule.rate 0.01`.

    `--help` lists the fields with their docs; an unknown one ends the program and names the nearest.

    Args:
        command: The defaults.
        quick: Path -> value: what `--quick` changes in the defaults.
        args: The arguments; those of the process when None.
        description: What `--help` says first.

    Returns:
        The command with the fields that were given.

    Raises:
        SystemExit: With a message and code 2, when an argument is unknown or refused; with 0 after `--help`.

    Example:
        >>> from kopt import data, models, schedules
        >>> recipe = Recipe("digits", data.Digits(), model=models.MLP((8, 8, 1), 10), schedule=schedules.Cosine(1e-3))
        >>> args = ["--quick", "--schedule.rate", "0.1"]
        >>> command = command_line(Command(recipe), quick={"training.epochs": 1}, args=args)
        >>> command.of.training.epochs, command.of.schedule.rate
        (1, 0.1)

    Source:
        `tyro.cli`.
    """
    args = sys.argv[1:] if args is None else args
    default = replace(command, quick) if "--quick" in args else command
    options = (tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff)
    try:
        return tyro.cli(type(command), default=default, args=args, description=description, config=options)
    except ValueError as error:  # a value of the whole recipe that is refused; tyro says those of its parts
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


class Script(NamedTuple):
    """What the command line of a script without a recipe of its own says.

    Args:
        quick: Run for a moment only, to see that everything works.
        folder: Where run folders go.
    """

    quick: bool = False
    folder: str = "saved_models"


def script_line(args: Sequence[str] | None = None, *, description: str | None = None) -> Script:
    """Read the command line of a script that compares several trainings: `--quick`, `--folder`.

    Args:
        args: The arguments; those of the process when None.
        description: What `--help` says first.

    Returns:
        What was given.

    Raises:
        SystemExit: With a message and code 2, when an argument is unknown; with 0 after `--help`.

    Example:
        >>> script_line(["--quick"])
        Script(quick=True, folder='saved_models')

    Source:
        `tyro.cli`.
    """
    options = (tyro.conf.FlagCreatePairsOff,)
    return tyro.cli(Script, args=args, description=description, config=options)
