"""LivePage: the page of a search that is written again while the search is at work."""

import logging
import time

from kopt.tuning.page.trials import under_way
from kopt.tuning.report import write_report
from kopt.tuning.search.oracle import StudyOracle
from kopt.values.texts import clipped

__all__ = ["LivePage"]

log = logging.getLogger("kopt")

EVERY = 5.0  # seconds between two writings, at least
SHARE = 0.05  # of the time of a process that its writings may take, at most


class LivePage:
    """Writes the page of a search again when something has changed, but not so often that trials have to wait.

    Each process of a search writes it after its own epochs and trials. A page that cannot be written is named in the
    log, and the search goes on.

    Args:
        oracle: The oracle of the search.

    Example:
        >>> import tempfile
        >>> from kopt.tuning.tuner import Tuner
        >>> class Search(Tuner):
        ...     def run_trial(self, trial, **_):
        ...         return trial.hyperparameters.Float("x", 0, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = Search(max_trials=3, directory=folder)
        ...     page = LivePage(tuner.oracle)
        ...     page.write()
        ...     "no trial yet" in (tuner.oracle.folder.path / "report.html").read_text()
        True
    """

    def __init__(self, oracle: StudyOracle):
        self.oracle = oracle
        self.next = 0.0  # when the page may be written again, in time.monotonic()

    def __call__(self, *, ended: bool = False) -> None:
        """Write the page when it is time, and at the end of the search in any case."""
        if ended or time.monotonic() >= self.next:
            try:
                self.write(live=not ended or bool(under_way(self.oracle)))
            except OSError as error:
                log.warning("report.html could not be written: %s", clipped(error))

    def write(self, *, live: bool = True) -> None:
        """Write the page now.

        Args:
            live: Whether it loads itself again.
        """
        started = time.monotonic()
        write_report(self.oracle, live=live, empty=True)
        now = time.monotonic()
        self.next = now + max(EVERY, (now - started) / SHARE)
