"""The command `kopt report`: the page of a search, once or again and again while the search is at work."""

import itertools
import os
import time

from kopt.tuning.page.live import EVERY, LivePage
from kopt.tuning.reopened import reopened_search
from kopt.tuning.report import write_report
from kopt.values.texts import printable

__all__ = ["report_search"]


def report_search(
    folder: str | os.PathLike[str],
    *,
    storage: str | None = None,
    live: bool = False,
    every: float = EVERY,
    times: int | None = None,
) -> None:
    """Write report.html into the folder of a search, and print where it is.

    Args:
        folder: The folder of the search.
        storage: As the `storage` of its `Tuner`; None for the journal in the folder.
        live: Whether to write it again until Ctrl-C; it then loads itself again, and the last one does not.
        every: Seconds between two writings, > 0.
        times: How often a live page is written; None for until Ctrl-C.

    Raises:
        ValueError: When there is no such search, or it has no complete trial and the page is not live.

    Example:
        >>> report_search("nowhere")
        Traceback (most recent call last):
        ValueError: folder must be that of a search, with a journal.log, got 'nowhere'.
    """
    oracle = reopened_search(folder, storage)
    file = oracle.folder.path / "report.html"
    if not live:
        print(printable(write_report(oracle)))
        return
    page = LivePage(oracle)
    try:
        for number in itertools.count(1):
            page.write()
            if number == 1:
                print(
                    f"{printable(file.absolute().as_uri())}: written again every {every:g} s, Ctrl-C ends", flush=True
                )
            if number == times:
                break
            time.sleep(every)
            oracle.reload()
    except KeyboardInterrupt:
        print("ended by Ctrl-C; the page stays as it is now")
    page.write(live=False)
