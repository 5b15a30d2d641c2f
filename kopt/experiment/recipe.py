"""Recipe: one frozen value that names a whole training run; and the command line over its fields."""

import argparse
import contextlib
import dataclasses
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from typing import Annotated, Literal, NamedTuple, TypeVar

import tyro

from kopt.augment import Augmentation
from kopt.callbacks.averaging import Averaging, averagings
from kopt.data import Data
from kopt.experiment.command_texts import of_user, refuse_usual, say_head
from kopt.models import Model
from kopt.models.of_keras import as_model
from kopt.regularizers import Regularizer
from kopt.report import find_if_any
from kopt.rules import Adam, Rule
from kopt.rules import registry as rules
from kopt.schedules import Cosine, Schedule
from kopt.training.steps.clips import GradientClip
from kopt.training.steps.clips import registry as clips
from kopt.training.steps.sharpness import Sharpness
from kopt.training.steps.sharpness import registry as sharpness
from kopt.values.checks import require
from kopt.values.field_paths import paths, replace
from kopt.values.fields import Named, Number, Value
from kopt.values.registry import Registry
from kopt.values.types import Json

__all__ = ["Command", "Recipe", "Script", "Training", "command_line", "script_line"]

registry: Registry[Value] = Registry("recipes")


@registry.register
class Training(Value):
    """The length of training, and the size and precision of batches.

    Args:
        epochs: Number of epochs, >= 1.
        batch_size: Number of examples of an update, over all devices, >= 1, or "full".
        micro_batches: Number of parts in which a batch is computed, to save memory; >= 1.
        precision: The dtype policy of layers; weights stay float32 under the mixed ones.
        patience: Number of epochs without a better score on the validation split after which training ends, >= 1; the
            weights of the best epoch are kept. None for all epochs and the last weights.
        deterministic: Whether two runs give the same bits: TensorFlow's operations become deterministic, in the whole
            process and for good. XLA is not used then, and training may take longer.

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
    deterministic: bool = False

    def check(self) -> None:
        require(self.epochs >= 1, "epochs", "must be >= 1", self.epochs)
        require(self.micro_batches >= 1, "micro_batches", "must be >= 1", self.micro_batches)
        require(self.patience is None or self.patience >= 1, "patience", "must be >= 1 or None", self.patience)
        require(
            self.batch_size == "full" or self.batch_size >= 1, "batch_size", "must be >= 1 or 'full'", self.batch_size
        )


@registry.register
class Recipe(Named):
    """A training run as one value, with its parts in the order in which `kopt.run` uses them.

    Args:
        name: The name of the recipe and of its folder.
        data: The data set.
        augment: Random changes of training batches; None for no changes.
        model: The model: a value; or a built Keras model, or a function of (inputs, outputs) that builds one, kept by
            its Keras config (`models.of_keras`). Sizes that are left out are found in the data; None takes the usual
            model for the task and the kind of the data (`models.base.choices`).
        schedule: The learning rate over epochs; an open duration ends with the run. By default the cosine from 0.001
            to 0, after a rise over half an epoch.
        rule: The update rule.
        clip: The bound of gradients before the update; None for no bound.
        sharpness: Where steps of two gradients take the second, such as `SAM(0.05)`; None for one gradient.
        regularizer: The penalty of kernels that is added to the loss; None for no penalty.
        average: The average of weights that is validated and kept; None for the weights themselves.
        training: Epochs, batch size and precision.
        devices: As for `distribute.choose`.
        collectives: As for `distribute.choose`.
        seed: The seed of weights, order and dropout, >= 0.
        target: The score to reach on the test split; None for no target.

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
    model: Model | None = None
    schedule: Schedule = Cosine(1e-3).warmup(0.5)
    rule: Rule = Adam()
    clip: GradientClip | None = None
    sharpness: Sharpness | None = None
    regularizer: Regularizer | None = None
    average: Averaging | None = None
    training: Training = Training()
    devices: str = "auto"
    collectives: str = "auto"
    seed: int = 0
    target: Number | None = None

    def __post_init__(self) -> None:
        if isinstance(self.data, Data):
            object.__setattr__(self, "model", as_model(self.model, self.data.task))
        super().__post_init__()

    def check(self) -> None:
        require(self.name.isidentifier(), "name", "must be letters, digits and underscores", self.name)
        require(0 <= self.seed < 2**32, "seed", "must be in [0, 2 ** 32)", self.seed)
        if self.model is not None:
            same, task = self.model.task == self.data.task, self.data.task
            require(same, "model.task", f"must be {task!r} for these data", self.model.task)
        averages = self.average is not None and self.rule.has_evaluation_weights
        require(not averages, "average", f"must be None for {self.rule!r}, which averages itself", self.average)
        self.schedule.resolve(float(self.training.epochs))  # refuses a schedule that is longer than the run


@registry.register
class Command(Value):
    """The command line of a recipe script; the paths of the recipe are its own.

    Args:
        of: The recipe.
        quick: Train for a moment, to see that everything works.
        check_target: Train from three seeds, and end with code 1 when the mean of their scores misses the target.
        folder: The folder of all run folders.
        resume: Go on with an unfinished run: its folder, or "latest" for the newest one; "auto" for the newest one if
            there is one, else a new run. Fields are then those of that run, and only --training.epochs may grow.
        track: Other tools that keep the run too: mlflow, wandb, or both with a comma between.
    """

    of: Annotated[Recipe, tyro.conf.arg(name="")]
    _: KW_ONLY
    quick: bool = False
    check_target: bool = False
    folder: str = "saved_models"
    resume: str | None = None
    track: str | None = None


Given = TypeVar("Given", bound=Command)
# What an option names by a text.
PARTS: dict[str, Registry] = {"rule": rules, "clip": clips, "sharpness": sharpness, "average": averagings}
PARTS_HELP = (
    "--rule TEXT takes another update rule, such as momentum or 'lookahead(adam(0.8))'; --rule.* are its fields. "
    "So do --clip TEXT, as 'global_norm(1.0)', --sharpness TEXT, as 'sam(0.05)', and --average TEXT, as 'ema(0.99)'; "
    "none removes them."
)


def command_line(
    command: Given, *, quick: Mapping[str, Json], args: Sequence[str] | None = None, description: str | None = None
) -> Given:
    """Read a command line with an option for every field of a recipe: `--training.epochs 2 --schedule.rate 0.01`.

    `--rule TEXT` takes another update rule, by its name or as code: `--rule "lookahead(adam(0.8))"`; the options
    `--rule.<field>` are then those of that rule. So do `--clip TEXT`, `--average TEXT` and `--sharpness TEXT`, as
    `"sam(0.05)"`, which `none` removes. `--help` lists the fields with their docs; for an unknown field the error names
    the nearest one, and for a usual name of other libraries, as `--lr`, the option that is meant. With `--resume` the
    defaults are the fields of the run that goes on.

    Args:
        command: The defaults.
        quick: The changes of the defaults by `--quick`, path -> value.
        args: The arguments; None for those of the process.
        description: The first lines of `--help`.

    Returns:
        The command, with the fields from the arguments.

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
    say_head(args, [description or "", PARTS_HELP])
    try:
        default, args = with_parts(resumed(command, args), args)
        default = replace(default, quick) if "--quick" in args else default
        refuse_usual(args, paths(default))
        return parsed(type(command), default, args)
    except ValueError as error:  # the recipe refuses a combination of fields; tyro reports refusals of its parts
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def parsed(kind: type[Given], default: Given, args: Sequence[str]) -> Given:
    """Parse the arguments; errors have the paths that users write."""
    options = (tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff)
    if sys.stderr is None:  # closed, as some schedulers of jobs do
        return tyro.cli(kind, default=default, args=args, description="", config=options)
    errors = io.BytesIO()
    with io.TextIOWrapper(errors, sys.stderr.encoding, "backslashreplace", write_through=True) as text:
        try:
            with contextlib.redirect_stderr(text):
                return tyro.cli(kind, default=default, args=args, description="", config=options)
        finally:
            print(of_user(errors.getvalue().decode(text.encoding)), end="", file=sys.stderr)


def with_parts(command: Given, args: Sequence[str]) -> tuple[Given, Sequence[str]]:
    """Return the defaults with the parts that options such as `--rule TEXT` name, and the other arguments."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in PARTS:
        options.add_argument(f"--{name}")
    try:
        given, others = options.parse_known_args(args)
    except argparse.ArgumentError:  # the name is missing, which the parser of all options refuses
        return command, args
    texts = {name: text for name, text in vars(given).items() if text is not None}
    parts = {
        name: None if text.lower() == "none" and name != "rule" else PARTS[name].parse(text)
        for name, text in texts.items()
    }
    return dataclasses.replace(command, of=replace(command.of, parts)), others


def resumed(command: Given, args: Sequence[str]) -> Given:
    """Return the defaults with the recipe of the run that `--resume` names; as they are where there is none."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    options.add_argument("--resume")
    options.add_argument("--folder", default=command.folder)
    try:
        given, _ = options.parse_known_args(args)
    except argparse.ArgumentError:  # a value is missing, which the parser of all options refuses
        return command
    found = find_if_any(given.resume, given.folder, command.of.name)
    if found is None:
        return command
    recipe = found.recipe
    require(isinstance(recipe, Recipe), "resume", "must be of a run of a kopt.Recipe", recipe)
    assert isinstance(recipe, Recipe)
    return dataclasses.replace(command, of=recipe)


class Script(NamedTuple):
    """The command line of a script without a recipe of its own.

    Args:
        quick: Run for a moment, to see that everything works.
        folder: The folder of all run folders.
    """

    quick: bool = False
    folder: str = "saved_models"


def script_line(args: Sequence[str] | None = None, *, description: str | None = None) -> Script:
    """Read the command line of a script that compares several trainings: `--quick`, `--folder`.

    Args:
        args: The arguments; None for those of the process.
        description: The first lines of `--help`.

    Returns:
        The arguments that were given.

    Raises:
        SystemExit: With a message and code 2, when an argument is unknown; with 0 after `--help`.

    Example:
        >>> script_line(["--quick"])
        Script(quick=True, folder='saved_models')

    Source:
        `tyro.cli`.
    """
    say_head(sys.argv[1:] if args is None else args, [description or ""])
    return tyro.cli(Script, args=args, description="", config=(tyro.conf.FlagCreatePairsOff,))
