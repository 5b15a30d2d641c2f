"""The command `kopt resume`."""

import tyro

from kopt.values import parts


def resume(run: tyro.conf.Positional[str], epochs: int | None = None) -> None:
    """Go on with a run of a recipe that was killed, stopped by a signal or ended by an error.

    Args:
        run: saved_models/<recipe>/<run>.
        epochs: Number of epochs, as many as the run was to have or more; when not given, as many.
    """
    parts.needed("kopt.experiment.recipe_cli").resume_run(run, epochs)
