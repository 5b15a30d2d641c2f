"""The command `kopt`, also `python -m kopt`."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence

import rich.box
import rich.console
import rich.table
import rich.text
import tensorflow as tf
import tyro

from kopt import distribute
from kopt.distribute.launch import launch, launch_tuners
from kopt.distribute.processes import GRACE
from kopt.experiment.exit_codes import exit_codes
from kopt.experiment.export import export_run
from kopt.experiment.predict_cli import evaluate_file, predict_file
from kopt.experiment.recipe_cli import resume_run
from kopt.experiment.serve import serve as serve_run
from kopt.report import Run, compare_figure, differences, found_runs, read_run, read_runs
from kopt.report.run_watch import watch_runs
from kopt.training.execute.program_files import ProgramFiles, place
from kopt.training.signals import DEFAULT, raise_at_once, replace_handlers
from kopt.values import checks
from kopt.values.places import as_path
from kopt.values.texts import clipped, printable

__all__ = ["main"]

WIDE = 200  # columns, where the output is no terminal


def report(folder: tyro.conf.Positional[str], storage: str | None = None, live: bool = False) -> None:
    """Write the page of a search, report.html in its folder.

    Args:
        folder: <directory>/<project_name> of the search.
        storage: The storage of its Tuner, when that is not the journal in the folder.
        live: Whether to write it again every 5 s until Ctrl-C, for a browser that shows a search at work.
    """
    importlib.import_module("kopt.tuning.report_command").report_search(folder, storage=storage, live=live)


def devices(devices: str = "auto") -> None:
    """List the devices, and print which of them a recipe would train on.

    Args:
        devices: The `devices` of a recipe.
    """
    for device in tf.config.list_logical_devices():
        print(device.name)
    chosen = distribute.choose(devices)
    strategy = chosen.strategy
    print(f"{devices} -> {chosen.reason}: {type(strategy).__name__}, {strategy.num_replicas_in_sync} replicas")


def show(folder: tyro.conf.Positional[str]) -> None:
    """Print the recipe and the results of a run.

    Args:
        folder: saved_models/<recipe>/<run>.
    """
    run = read_run(folder)
    print(printable(run.recipe))
    for name, value in run.metrics.items():
        print(f"{clipped(name):14} {clipped(value)}")


def compare(folders: tyro.conf.Positional[tuple[str, ...]], picture: str = "compare.png") -> None:
    """Print how the recipes and results of runs differ, and draw their curves into one picture.

    Args:
        folders: saved_models/<recipe>/<run>, two or more.
        picture: The file of the picture.
    """
    place = as_path(picture, "picture")
    known = os.path.isdir(place.parent) and place.suffix in (".png", ".svg", ".pdf")
    checks.require(known, "picture", "must be a .png, .svg or .pdf in a folder that is there", picture)
    found, broken = read_runs(folders)
    left_out(broken)
    checks.require(len(found) >= 2, "folders", "must be of two whole runs or more", len(found))
    print_table(["", *map(called, found)], [[name, *row] for name, row in differences(found)])
    try:
        compare_figure(found).savefig(place, dpi=110)
    except OSError as error:
        raise ValueError(f"picture must be one that can be written, got {picture!r} ({error.strerror}).") from error
    print(f"picture: {printable(picture)}")


def runs(folder: str = "saved_models", sort: str = "folder", watch: bool = False) -> None:
    """List runs with their scores and baselines.

    Args:
        folder: The folder with a folder for each recipe.
        sort: "folder"; "value" for the best of each metric first; "seconds" or "parameters" for the least first.
        watch: Whether to show them again and again until Ctrl-C, those at work with epoch, score so far and time left.
    """
    if watch:
        watch_runs(folder)
        return
    found, broken = found_runs(folder, sort)
    if found:
        print_table(["run", "metric", "value", "baseline", "seconds", "parameters"], [row_of(run) for run in found])
    else:
        print(f"no runs in {printable(folder)}: they are <folder>/<recipe>/<run>")
    for run in found:
        if "unfinished" in run.metrics:
            print(f"unfinished: {clipped(called(run))}: {clipped(run.metrics['unfinished'])}", file=sys.stderr)
    left_out(broken)


def row_of(run: Run) -> list[str]:
    """Return the cells of a run in the list."""
    results = run.metrics
    value = "-" if results["value"] is None else f"{results['value']:.4f}"
    numbers = f"{results['baseline']:.4f}", f"{results['seconds']:.1f}", f"{results['parameters']:,}"
    return [called(run), results["metric"], value, *numbers]


def called(run: Run) -> str:
    return f"{run.recipe.name}/{run.folder.name}"


def resume(run: tyro.conf.Positional[str], epochs: int | None = None) -> None:
    """Go on with a run of a recipe that was killed, stopped by a signal or ended by an error.

    Args:
        run: saved_models/<recipe>/<run>.
        epochs: Number of epochs, as many as the run was to have or more; when not given, as many.
    """
    resume_run(run, epochs)


def predict(
    run: tyro.conf.Positional[str], file: tyro.conf.Positional[str], output: str = "-", format: str | None = None
) -> None:
    """Predict the rows of a file by the model of a run, in the names of its data.

    Args:
        run: saved_models/<recipe>/<run>.
        file: A .csv, .parquet, .npy, .npz or .txt file, an image, a folder of images or texts; - for standard input.
        output: A .csv or .jsonl file; - for standard output.
        format: csv or jsonl; left out, what the output ends in, and csv on standard output.
    """
    predict_file(run, file, output, format)


def evaluate(run: tyro.conf.Positional[str], file: tyro.conf.Positional[str]) -> None:
    """Print the score and the loss of a run's model on the rows of a file that has the targets too.

    Args:
        run: saved_models/<recipe>/<run>.
        file: A .csv, .parquet or .npz file, or a folder with a folder for each class; - for standard input.
    """
    evaluate_file(run, file)


def export(run: tyro.conf.Positional[str], format: str, quantize: str | None = None, output: str | None = None) -> None:
    """Write the model of a run for other programs, and print how it compares with the Keras model on the test split.

    Args:
        run: saved_models/<recipe>/<run>.
        format: saved_model, litert or onnx.
        quantize: int8, for litert and onnx; left out, the numbers stay as they are.
        output: A .tflite or .onnx file, or the folder of a saved_model; when not given, one in the run's folder.
    """
    export_run(run, format, quantize, output)


def serve(run: tyro.conf.Positional[str], port: int = 8501) -> None:
    """Serve a page on this machine alone that takes input of a run's model and shows the answer, until Ctrl-C.

    Args:
        run: saved_models/<recipe>/<run>.
        port: The port on 127.0.0.1.
    """
    serve_run(run, port)


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of texts from files, without markup and control characters."""
    plain = lambda text: rich.text.Text(clipped(text))
    table = rich.table.Table(box=rich.box.SIMPLE)
    for name in names:
        table.add_column(plain(name))
    for row in rows:
        table.add_row(*map(plain, row))
    console = rich.console.Console(width=None if sys.stdout.isatty() else WIDE)
    with console.capture() as drawn:  # rich ends the program with code 1 when nothing reads its output any longer
        console.print(table)
    print(drawn.get(), end="")


def left_out(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        print(f"left out: {printable(sentence)}", file=sys.stderr)


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


def cluster(
    command: tyro.conf.Positional[tuple[str, ...]],
    workers: int = 2,
    tuners: int | None = None,
    gpus: str | None = None,
    recycle: int | None = None,
    restarts: int = 0,
    grace: float = GRACE,
) -> None:
    """Run a script as several processes on this machine, a training cluster or tuners; its options come after it.

    Args:
        command: The script and its arguments, such as `recipes/vision.py --training.epochs 5`.
        workers: Number of processes of a training cluster.
        tuners: Number of processes that share a search, instead of a cluster.
        gpus: Which GPUs the tuners share out, such as 0,1,2,3; all when it is not given.
        recycle: Number of trials after which a new process replaces a tuner's; never when it is not given.
        restarts: How often all workers are started again when one fails; their script goes on from its checkpoint.
        grace: Seconds that a worker has to write a checkpoint when it is to end.
    """
    of_tuners, of_workers = (gpus, recycle), (restarts, grace)
    checks.require(
        tuners is not None or of_tuners == (None, None), "gpus and recycle", "must come with tuners", of_tuners
    )
    alone = tuners is None or of_workers == (0, GRACE)
    checks.require(alone, "restarts and grace", "must come without tuners", of_workers)
    replace_handlers(DEFAULT, raise_at_once)  # so that the started processes are ended
    if tuners is None:
        sys.exit(launch(command, workers=workers, restarts=restarts, grace=grace))
    listed = None if gpus is None else gpus.split(",")
    sys.exit(launch_tuners(command, tuners=tuners, gpus=listed, recycle=recycle))


def main(args: Sequence[str] | None = None) -> None:
    """Run one of the subcommands.

    Args:
        args: The arguments; those of the process when None.
    """
    given = list(sys.argv[1:] if args is None else args)
    # The arguments after the script are the script's: "--" keeps the parser from reading them.
    script = next((place for place, one in enumerate(given) if one.endswith(".py")), None)
    if given[:1] == ["launch"] and script is not None and "--" not in given[:script]:
        given.insert(script, "--")
    commands: dict[str, Callable[..., None]] = {
        "cache": cache,
        "compare": compare,
        "devices": devices,
        "evaluate": evaluate,
        "export": export,
        "launch": cluster,
        "predict": predict,
        "report": report,
        "resume": resume,
        "runs": runs,
        "serve": serve,
        "show": show,
    }
    with exit_codes():
        tyro.extras.subcommand_cli_from_dict(commands, prog="kopt", description=__doc__, args=given)


if __name__ == "__main__":
    main()
