"""Writer: checkpoints written by a thread, off the path of training."""

import logging
import threading
from typing import Literal

from kopt.training.checkpoint.content import Content
from kopt.training.checkpoint.folder import CheckpointFolder
from kopt.values.checks import is_among, require

__all__ = ["NotWritten", "Writer"]

log = logging.getLogger("kopt")


class NotWritten(OSError):
    """A checkpoint that could not be written; the text names the folder, the reason, and what is left.

    Example:
        >>> raise NotWritten("The checkpoint of step 3 was not written into runs: No space left on device.")
        Traceback (most recent call last):
        kopt.training.checkpoint.writer.NotWritten: The checkpoint of step 3 was not written into runs: No space left...
    """


class Writer:
    """Writes the checkpoints of a folder, at most one at a time, each in a thread that ends with it.

    Python waits for the thread before it ends, and nothing needs to be closed when training raises. Arrays that are
    handed over must not change until they are written.

    Args:
        folder: The folder, which the caller has locked.
        on_error: "raise" raises an error of the disk at the next call; "warn" logs each kind of it once, and
            training goes on. Other errors are always raised.

    Raises:
        ValueError: When an argument is another.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = CheckpointFolder(root)
        ...     writer = Writer(folder)
        ...     begun = writer.submit(1, Content({}, {"epoch": 1}))
        ...     writer.close()
        ...     begun, folder.read().values
        (True, {'epoch': 1})
    """

    def __init__(self, folder: CheckpointFolder, *, on_error: Literal["raise", "warn"] = "raise"):
        require(is_among(on_error, "raise", "warn"), "on_error", "must be 'raise' or 'warn'", on_error)
        self.folder = folder
        self.on_error = on_error
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.warned: set[int | None] = set()  # errno of what was logged

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self.thread is not None and self.thread.is_alive()

    def submit(self, step: int, content: Content, best: bool = False) -> bool:
        """Begin to write a checkpoint, unless the one before is still being written.

        Args:
            step: The number of updates.
            content: The arrays and the values.
            best: Whether this is the best checkpoint so far.

        Returns:
            False when the one before is not done: nothing was begun, and the caller may try again later.

        Raises:
            NotWritten: When the one before was not written.
        """
        if self.busy:
            return False
        self.close()
        self.thread = threading.Thread(target=self.attempt, args=(step, content, best), name="kopt-checkpoint")
        self.thread.start()
        return True

    def write(self, step: int, content: Content, best: bool = False) -> None:
        """Wait for the checkpoint that is being written, then write one before returning.

        Args:
            step: The number of updates.
            content: The arrays and the values.
            best: Whether this is the best checkpoint so far.

        Raises:
            NotWritten: When one of them was not written.
        """
        self.close()
        self.attempt(step, content, best)
        self.close()

    def close(self) -> None:
        """Wait for the checkpoint that is being written; each error is raised once.

        Raises:
            NotWritten: When it was not written.
        """
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        error, self.error = self.error, None
        if error is not None:
            raise error

    def attempt(self, step: int, content: Content, best: bool) -> None:
        """Write a checkpoint, and keep an error for the next call in the thread of training."""
        try:
            self.folder.write(step, content, best=best)
        except OSError as error:
            self.failed(step, error)
        except (ValueError, TypeError, MemoryError) as error:  # of content that cannot be kept
            self.error = error

    def failed(self, step: int, error: OSError) -> None:
        """Keep an error of the disk as one sentence, or log it."""
        why = error.strerror or str(error)
        text = f"The checkpoint of step {step} was not written into {self.folder.folder}: {why}. {self.older()}"
        if self.on_error == "raise":
            self.error = NotWritten(text)
            self.error.__cause__ = error
        elif error.errno not in self.warned:
            self.warned.add(error.errno)
            log.warning("%s Training goes on; this is not logged again.", text)

    def older(self) -> str:
        """Return a sentence on the checkpoint from which the training can be resumed."""
        try:
            steps = [one for one in self.folder.steps() if one not in self.folder.torn]
        except OSError as error:
            return f"The folder cannot be listed either: {error.strerror}."
        if not steps:
            return "There is no older one."
        return f"The older one, {self.folder.path(steps[-1]).name}, is whole."
