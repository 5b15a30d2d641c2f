"""Texts of the command line of recipes: the head of --help, usual names of other libraries, and errors."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["USUAL", "fitted", "of_user", "refuse_usual", "say_head"]

# What an option is called elsewhere -> paths of ours, of which the first that the recipe has is suggested.
USUAL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("lr", "learning_rate", "max_lr", "rate"), ("schedule.rate",)),
    **dict.fromkeys(("warmup", "warmup_epochs"), ("schedule.warmup_duration",)),
    **dict.fromkeys(("batch", "batch_size", "bs"), ("training.batch_size",)),
    **dict.fromkeys(("epoch", "epochs", "max_epochs", "num_epochs"), ("training.epochs",)),
    **dict.fromkeys(("gradient_accumulation_steps", "micro_batches"), ("training.micro_batches",)),
    **dict.fromkeys(("early_stopping", "patience"), ("training.patience",)),
    **dict.fromkeys(("dtype", "precision"), ("training.precision",)),
    **dict.fromkeys(("random_seed", "random_state"), ("seed",)),
    **dict.fromkeys(("opt", "optimizer"), ("rule",)),
    **dict.fromkeys(("clip_norm", "grad_clip", "max_grad_norm"), ("clip",)),
    **dict.fromkeys(("l2", "wd", "weight_decay"), ("rule.weight_decay", "regularizer.strength")),
    **dict.fromkeys(("device", "gpu", "gpus"), ("devices",)),
    **dict.fromkeys(("out", "output", "output_dir", "save_dir"), ("folder",)),
    **dict.fromkeys(("drop", "dropout"), ("model.dropout",)),
    "validation_split": ("data.validation",),
    "test_size": ("data.test",),
}
HEAD = re.compile(r"(?:[A-Z]\w*)?  +")  # "Command   python ...", and a line that goes on with it
INSIDE = re.compile(r"(?<=Error parsing )of[\w.]*(?=:)")


def fitted(text: str, width: int | None = None) -> str:
    """Return a text with its lines as they are, those that are longer than the terminal going on under their text.

    Args:
        text: The text.
        width: The number of columns; None for those of the terminal.

    Example:
        >>> print(fitted("Command   python recipes/vision.py\\nTime      about 20 s on 2 cores", 24))
        Command   python
                  recipes/vision.py
        Time      about 20 s on
                  2 cores
    """
    width = width or shutil.get_terminal_size().columns
    lines = []
    for line in text.strip("\n").splitlines():
        begin = HEAD.match(line)
        indent = " " * (begin.end() if begin else 0)
        wrapped = textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
        lines += wrapped or [""]
    return "\n".join(lines)


def say_head(args: Sequence[str], texts: Sequence[str]) -> None:
    """Print the first lines of --help where it is asked for; the parser would make one paragraph of them.

    Args:
        args: The arguments.
        texts: The texts, of which empty ones are left out.

    Example:
        >>> say_head(["--quick"], ["Digits."])
    """
    if not {"-h", "--help"}.isdisjoint(args):
        print("\n\n".join(fitted(text) for text in texts if text), end="\n\n")


def refuse_usual(args: Sequence[str], known: Iterable[str]) -> None:
    """Refuse an option that has another name here, and say which.

    Args:
        args: The arguments.
        known: The paths of the recipe and of its command.

    Raises:
        ValueError: When there is one.

    Example:
        >>> refuse_usual(["--lr", "0.1"], ["schedule.rate"])
        Traceback (most recent call last):
        ValueError: option must be --schedule.rate, got '--lr'.
    """
    paths = set(known)
    for argument in args:
        option = argument.partition("=")[0]
        name = option.lstrip("-").replace("-", "_")
        if option.startswith("-") and name not in paths:
            path = next((path for path in USUAL.get(name, ()) if path in paths), None)
            if path is not None:
                raise ValueError(f"option must be --{path}, got {option!r}.")


def of_user(text: str) -> str:
    """Return an error of the parser with the paths that users write, without the `of` of wrappers.

    Args:
        text: What the parser prints.

    Example:
        >>> of_user("│ Error parsing of.schedule.of: rate must be >= 0, got -1.0.  │")
        '│ Error parsing schedule: rate must be >= 0, got -1.0.        │'
    """
    return "".join(map(line_of_user, text.splitlines(keepends=True)))


def line_of_user(line: str) -> str:
    """Return a line with the paths that users write, as long as it was, for a frame may end it."""
    plain = INSIDE.sub(lambda found: ".".join(part for part in found[0].split(".") if part != "of") or "options", line)
    text, end = (plain[:-1], "\n") if plain.endswith("\n") else (plain, "")
    lost = " " * (len(line) - len(plain))
    body, frame, _ = text.rpartition("│")
    return f"{body}{lost}{frame}{end}" if frame else f"{text}{lost}{end}"
