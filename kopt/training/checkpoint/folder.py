"""Folder: the checkpoints of one training, the newest whole one, the best one, and the removal of old ones."""

import contextlib
import errno
import logging
import os
import pathlib
import re
import secrets
from collections.abc import Iterator

from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.files import UNFINISHED, Damaged, read_file, sync_folder, write_file
from kopt.training.checkpoint.lock import LOCK, locked
from kopt.values.checks import is_whole, require
from kopt.values.places import as_path

__all__ = ["CheckpointFolder"]

log = logging.getLogger("kopt")

DIGITS = 12
BEST = "best.safetensors"
STEP = re.compile(rf"step-(\d{{{DIGITS}}})\.safetensors", re.ASCII)
LEFT = re.compile(rf"\.(?:trial|best\.safetensors|{STEP.pattern})\.\d+-[0-9a-f]+{re.escape(UNFINISHED)}", re.ASCII)
NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


class CheckpointFolder:
    """The checkpoints of one training: `step-000000001200.safetensors` by the number of updates, and the best one.

    Their order is that of their steps; times of files are never read.

    Args:
        folder: The folder, which `locked` makes.
        keep: The number of the newest checkpoints that are kept, >= 1; the best one is kept besides.

    Raises:
        ValueError: When an argument is another.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = CheckpointFolder(root)
        ...     with folder.locked():
        ...         for step in (1, 2, 3):
        ...             path = folder.write(step, Content({}, {"step": step}), best=step == 1)
        ...     path.name, folder.steps(), folder.read().values, folder.read_best().values
        ('step-000000000003.safetensors', [2, 3], {'step': 3}, {'step': 1})
    """

    def __init__(self, folder: str | os.PathLike[str], *, keep: int = 2):
        require(is_whole(keep) and keep >= 1, "keep", "must be a whole number >= 1", keep)
        self.folder = as_path(folder, "checkpoint").absolute()
        self.keep = int(keep)
        self.torn: set[int] = set()  # steps whose files `read` found damaged

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, hold its lock in the block, and remove what killed writes have left.

        Raises:
            ValueError: When the folder is a file, cannot be written to, or another process trains in it.
        """
        with locked(self.folder):
            for name in os.listdir(self.folder):
                if LEFT.fullmatch(name):
                    (self.folder / name).unlink()
            yield

    def path(self, step: int) -> pathlib.Path:
        """Return the file of a step."""
        require(is_whole(step) and step < 10**DIGITS, "step", f"must be a whole number of <= {DIGITS} digits", step)
        return self.folder / f"step-{step:0{DIGITS}d}.safetensors"

    def steps(self) -> list[int]:
        """Return the steps that have a file, whole or not, from the oldest to the newest."""
        if not self.folder.is_dir():
            return []
        with os.scandir(self.folder) as found:
            names = [one.name for one in found if not one.is_dir(follow_symlinks=False)]
        return sorted(int(match[1]) for name in names if (match := STEP.fullmatch(name)))

    def write(self, step: int, content: Content, *, best: bool = False) -> pathlib.Path:
        """Write the checkpoint of a step, and then remove old ones.

        Nothing is removed before the new file is on the disk.

        Args:
            step: The number of updates, which is the name of the file; a file of this step is replaced.
            content: The arrays and the values.
            best: Whether this is the best checkpoint so far; `best.safetensors` is replaced then, before the step's.

        Returns:
            The file.

        Raises:
            OSError: When the disk is full, and so on; the older checkpoints are as they were.
        """
        path = self.path(step)
        if best:  # before its step is there: a kill between the two is made good by the training that goes on
            write_file(self.folder / BEST, content)
            self.link(path, content)
        else:
            write_file(path, content)
        self.torn.discard(step)
        self.prune(step)
        return path

    def link(self, path: pathlib.Path, content: Content) -> None:
        """Make the best checkpoint that of a step too: a second name, or a second file where links cannot be."""
        aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{UNFINISHED}")
        try:
            os.link(self.folder / BEST, aside)
            os.replace(aside, path)
        except BaseException as error:
            aside.unlink(missing_ok=True)
            if not isinstance(error, OSError) or error.errno not in NO_LINKS:
                raise
            write_file(path, content)
            return
        sync_folder(self.folder)

    def prune(self, step: int) -> None:
        """Remove all but the newest checkpoints, and those that were found damaged; never that of a step."""
        whole = [one for one in self.steps() if one not in self.torn]
        kept = {step, *whole[-self.keep :]}
        for one in self.steps():
            if one not in kept:
                self.path(one).unlink(missing_ok=True)
        self.torn &= kept

    def read(self) -> Content | None:
        """Return the newest whole checkpoint, or None when there is none at all; log each newer one that is damaged.

        Raises:
            Damaged: When there are checkpoints, and none is whole.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return read_file(self.path(step))
            except Damaged as error:
                self.torn.add(step)
                log.warning("%s An older checkpoint is looked for.", error)
        if not steps:
            return None
        best = (
            f", or copy a whole file there ({BEST}, if it is one) to the name of its step," if self.has_best() else ""
        )
        raise Damaged(
            f"No checkpoint in {self.folder} is whole (each is named in the log): move the folder away to begin "
            f"anew{best} and start again."
        )

    def has_best(self) -> bool:
        """Return whether there is a best checkpoint."""
        return os.path.lexists(self.folder / BEST)

    def read_best(self) -> Content | None:
        """Return the best checkpoint, or None when there is none.

        Raises:
            Damaged: When it is not whole.
        """
        return read_file(self.folder / BEST) if self.has_best() else None

    def remove(self) -> None:
        """Remove the checkpoints, and the folder unless something else is in it too; call it when nothing trains there.

        Example:
            >>> CheckpointFolder("nowhere").remove()
        """
        if self.folder.is_symlink() or not self.folder.is_dir():
            return
        for name in os.listdir(self.folder):
            if name in (BEST, LOCK) or STEP.fullmatch(name) or LEFT.fullmatch(name):
                (self.folder / name).unlink()
        with contextlib.suppress(OSError):  # files of the user are in it
            self.folder.rmdir()
