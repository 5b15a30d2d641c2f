"""The command `kopt report`, of a search."""

import tyro

from kopt.values import parts


def report(folder: tyro.conf.Positional[str], storage: str | None = None, live: bool = False) -> None:
    """Write the page of a search, report.html in its folder.

    Args:
        folder: <directory>/<project_name> of the search.
        storage: The storage of its Tuner, when that is not the journal in the folder.
        live: Whether to write it again every 5 s until Ctrl-C, for a browser that shows a search at work.
    """
    parts.needed("kopt.tuning.report_command").report_search(folder, storage=storage, live=live)
