"""The command `kopt cache`."""

import os

from kopt.training.execute.program_files import ProgramFiles, place
from kopt.values.texts import printable


def cache(clear: bool = False) -> None:
    """Print where compiled programs are kept on disk, their number and their size.

    Args:
        clear: Whether to remove them.
    """
    folder = place(os.environ)
    if folder is None:
        print("compiled programs are not kept on disk: KOPT_CACHE is off, or there is no home")
        return
    programs = ProgramFiles(folder)
    number, size = programs.size()
    print(f"{printable(str(folder))}: {number} files, {size:,} bytes")
    if clear:
        print(f"removed: {programs.clear()} files")
