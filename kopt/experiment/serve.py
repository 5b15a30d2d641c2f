"""serve: a page on this machine that takes raw input of a run's model and shows the answer."""

import pathlib
import socket

from kopt.experiment.inference import INFERENCE
from kopt.experiment.predict import recipe_of
from kopt.values.checks import is_whole, needs, require
from kopt.values.places import as_path
from kopt.values.texts import printable

__all__ = ["serve"]

HOST = "127.0.0.1"
PAGE = pathlib.Path(__file__).with_name("serve_page.py")
# No other host is told anything; the source is not watched, and the menu is that of a viewer.
OPTIONS = {
    "browser_gatherUsageStats": False,
    "browser_serverAddress": HOST,
    "client_toolbarMode": "minimal",
    "global_developmentMode": False,
    "server_address": HOST,
    "server_fileWatcherType": "none",
    "server_headless": True,
}


def serve(run: str, port: int = 8501) -> None:
    """Serve a page for the model of a run on the loopback interface, until Ctrl-C.

    Args:
        run: The folder of a run.
        port: The port, 1 to 65,535.

    Raises:
        ImportError: When Streamlit is not installed.
        ValueError: When there is no such run, or the port is in use.

    Example:
        >>> serve("nowhere")
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        `streamlit run`.
    """
    recipe_of(run)  # or its refusal
    folder = as_path(run, "run").absolute()
    require((folder / INFERENCE).is_file(), "run", f"must have an {INFERENCE} in its folder", str(folder))
    require(is_whole(port) and 1 <= port < 2**16, "port", "must be in [1, 65535]", port)
    require(is_free(port), "port", "must be one that nothing listens on", port)
    bootstrap = needs("streamlit.web.bootstrap", "serve")
    print(f"{printable(folder)}: http://{HOST}:{port} until Ctrl-C", flush=True)
    options = OPTIONS | {"server_port": port}
    bootstrap.load_config_options(options)
    bootstrap.run(str(PAGE), False, [str(folder)], options)


def is_free(port: int) -> bool:
    """Return whether nothing listens on a port of the loopback interface."""
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((HOST, port)) != 0
