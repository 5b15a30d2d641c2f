"""The command that installs an extra of kopt: every error that advises an install takes it from here."""

import pathlib

__all__ = ["DISTRIBUTION", "install_command"]

DISTRIBUTION = "kopt-keras"  # the name on the public index, where `kopt` is a package of others
PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def install_command(extra: str, package: pathlib.Path = PACKAGE) -> str:
    """Return the command that installs an extra: of the checkout when kopt lies in one, else of the public index.

    Args:
        extra: An extra in setup.cfg, such as "tune".
        package: The folder of kopt; a setup.cfg of kopt beside it makes it a checkout.

    Returns:
        The command.

    Example:
        >>> install_command("tune", pathlib.Path("site-packages/kopt"))
        'python -m pip install "kopt-keras[tune]"'
    """
    setup = package.parent / "setup.cfg"
    named = f"\nname = {DISTRIBUTION}\n"  # a setup.cfg of another project may stand beside a copy of kopt
    checkout = setup.is_file() and named in setup.read_text(encoding="utf-8", errors="replace")
    return f'python -m pip install {"-e " if checkout else ""}"{"." if checkout else DISTRIBUTION}[{extra}]"'
