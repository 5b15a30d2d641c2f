"""export: a run's model in a format that runs without Keras, compared with the model on the test split."""

import functools
import importlib.util
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping

import keras
import numpy as np
from keras.ops import convert_to_numpy as to_numpy

from kopt.data.base import Inputs, take
from kopt.experiment.export_check import BATCH, Compared, compared, latencies, size
from kopt.experiment.export_formats import FORMATS, Format, lacking_layers, tensors_for
from kopt.experiment.inference import INFERENCE
from kopt.experiment.predict import Place, model_of, recipe_of
from kopt.keras_internals.models import flat_layers
from kopt.report import Run
from kopt.tasks import Direction
from kopt.values.checks import needs, require, unknown
from kopt.values.places import as_path
from kopt.values.texts import printable
from kopt.values.types import Json

__all__ = ["export", "export_run"]

CLOSE = 1e-4  # of the largest output
COARSE = 0.02  # of the largest output, where layers compute in float16 or bfloat16
WORSE = 0.01  # of the Keras model's score: by more the table calls that of an int8 model worse


def export(
    run: Place, format: str, *, quantize: str | None = None, output: str | os.PathLike[str] | None = None
) -> dict[str, Json]:
    """Write the model of a run in another format, after a comparison with the Keras model on the whole test split.

    The model goes from raw input to probabilities, numbers or scores where the format has what that takes; else the
    network alone is written, and `inference.keras` has its preprocessing.

    Args:
        run: A run, or its folder.
        format: "saved_model", "litert" or "onnx".
        quantize: "int8" for LiteRT or ONNX with kernels in 8 bits (dynamic range); None for none.
        output: The file, or the folder of a SavedModel; None for `model.tflite`, `model.int8.tflite`, `model.onnx`,
            `model.int8.onnx` or `saved_model` in the run's folder.

    Returns:
        The report, which also stands beside the exported model as <its name>.json: sizes in bytes, the largest
        difference of outputs, the score before and after, the median time of a call in milliseconds.

    Raises:
        ImportError: When a package of the format is not installed.
        ValueError: When there is no such run or format, the target is something else, the model has nothing that can be
            quantized, or outputs differ by more than 0.0001 of the largest (0.02 in float16 and bfloat16; no bound for
            int8, whose report says by which share the score is worse). Then nothing has been written.

    Example:
        >>> export("nowhere", "onnx")
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        `keras.Model.export`; Jacob et al., Quantization and training of neural networks for efficient
        integer-arithmetic-only inference, 2018.
    """
    recipe, folder = recipe_of(run), run.folder if isinstance(run, Run) else as_path(run, "run")
    kind = checked(format, quantize)
    target = target_for(folder, format, quantize, output)
    copy = copy_of(folder)
    encoder, network, lacks = parts(copy, format)
    splits = recipe.data.load()
    encode = functools.partial(encoded, encoder)
    batch = encode(take(splits.test.x, slice(BATCH)))
    network(tensors_for(network, take(batch, slice(1))))  # Keras exports no model to ONNX that was never called
    report: dict[str, Json] = {"format": format, "quantize": quantize, "raw_input": encoder is None, "lacks": lacks}
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as aside:
        written = pathlib.Path(aside) / target.name
        kind.write(network, written, quantize)
        predict = kind.open(written)
        found = compared(recipe.data, splits.test, model_of(run), encode, predict)
        require_close(found, network, format, quantize)
        report |= figures(recipe.data.score().name, found, size(folder / INFERENCE), size(written))
        report["worse"] = worse(found, recipe.data.direction) if quantize else None
        report |= latencies(network, predict, batch, min(BATCH, found.rows))
        put(written, target)
        note = pathlib.Path(aside) / "report.json"
        note.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        note.replace(target.with_name(f"{target.name}.json"))
    return report | {"path": str(target)}


def checked(format: str, quantize: str | None) -> Format:
    """Return the format of a name, or refuse the name, the quantization, or a package that is not there."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    kind = FORMATS[format]
    allowed = (None, "int8") if kind.int8 else (None,)
    require(quantize in allowed, "quantize", "must be int8, with the format litert or onnx, or left out", quantize)
    for package in kind.packages:
        if importlib.util.find_spec(package) is None:
            needs(package, "export")
    return kind


def target_for(
    folder: pathlib.Path, format: str, quantize: str | None, output: str | os.PathLike[str] | None
) -> pathlib.Path:
    """Return where to write, or refuse a place that is something else."""
    ending = FORMATS[format].ending
    default = folder / (f"model{'.int8' if quantize else ''}{ending}" if ending else "saved_model")
    target = default if output is None else as_path(output, "output")
    rule = f"must end in {ending or 'no .'}, in a folder that is there"
    require(target.suffix == ending and target.parent.is_dir(), "output", rule, str(target))
    same = target.is_file() if ending else (target / "saved_model.pb").is_file()
    require(same or not target.exists(), "output", f"must be new, or a {format} to be replaced", str(target))
    return target


def copy_of(folder: pathlib.Path) -> keras.Model:
    """Return the inference copy of a run."""
    path = folder / INFERENCE
    require(path.is_file(), "run", f"must have an {INFERENCE} in its folder", str(folder))
    return keras.saving.load_model(path, compile=False)


def parts(copy: keras.Model, format: str) -> tuple[keras.Model | None, keras.Model, list[str]]:
    """Return the preprocessing that stays outside or None, what is exported, and the layers that the format lacks."""
    lacks = lacking_layers(copy, FORMATS[format])
    if not lacks:
        return None, copy, []
    inner = {layer.name: layer for layer in copy.layers}
    network = inner.get("network") if "preprocessing" in inner else None
    within = lacks if network is None else lacking_layers(network, FORMATS[format])
    require(not within, "format", f"must hold the layers of the network: {format} does not hold these", within)
    return inner["preprocessing"], network, lacks


def encoded(encoder: keras.Model | None, x: Inputs) -> Inputs:
    """Return rows as the exported model takes them."""
    return x if encoder is None else to_numpy(encoder(tensors_for(encoder, x)))


def require_close(found: Compared, network: keras.Model, format: str, quantize: str | None) -> None:
    """Refuse an exported model with other outputs; of int8 only outputs that are no numbers."""
    coarse = {layer.compute_dtype for layer in flat_layers(network)} & {"float16", "bfloat16"}
    bound = float(np.finfo("float32").max) if quantize else COARSE if coarse else CLOSE
    off = found.difference / found.largest
    rule = (
        "must give finite outputs"
        if quantize
        else f"must give the outputs of the model, within {bound:g} of the largest"
    )
    require(bool(off <= bound), format, rule, off)


def figures(metric: str, found: Compared, before: int, after: int) -> dict[str, Json]:
    """Return the figures of a comparison by name."""
    return {
        "test_rows": found.rows,
        "max_difference": found.difference,
        "largest_output": found.largest,
        "metric": metric,
        "keras_value": found.before,
        "exported_value": found.after,
        "keras_bytes": before,
        "exported_bytes": after,
    }


def worse(found: Compared, direction: Direction) -> float:
    """Return by which share of the Keras model's score the exported model is worse; below 0 when it is better."""
    off = found.before - found.after if direction == "max" else found.after - found.before
    return off / abs(found.before) if found.before else off


def put(written: pathlib.Path, target: pathlib.Path) -> None:
    """Give a written file or folder its name; an old folder is set aside first and put back when that fails."""
    if not target.is_dir():
        written.replace(target)
        return
    old = written.with_name(f"{written.name}.old")
    target.replace(old)
    try:
        written.replace(target)
    except BaseException:
        old.replace(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def export_run(run: str, format: str, quantize: str | None = None, output: str | None = None) -> None:
    """Export the model of a run, and print the table of the comparison.

    Args:
        run: The folder of a run.
        format: As for `export`.
        quantize: As for `export`.
        output: As for `export`.

    Raises:
        ValueError: As for `export`.

    Example:
        >>> export_run("nowhere", "onnx")
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        See `export`.
    """
    print("\n".join(lines(export(run, format, quantize=quantize, output=output))))


def lines(report: Mapping[str, Json]) -> list[str]:
    """Return the table of a report as lines."""
    rows: list[tuple[str, ...]] = [
        ("", "keras", "exported"),
        ("bytes", *(f"{report[f'{way}_bytes']:,}" for way in ("keras", "exported"))),
    ]
    name = f"test {report['metric']}"
    rows.append((name, f"{report['keras_value']:.6g}", f"{report['exported_value']:.6g}"))
    counts = [key.rpartition("_")[2] for key in report if key.startswith("keras_ms_of_")]
    for count in counts:
        cells = (f"{report[f'{way}_ms_of_{count}']:.3g}" for way in ("keras", "exported"))
        rows.append((f"ms for {count} row{'' if count == '1' else 's'}", *cells))
    table = [f"{first:22} {second:>14} {third:>14}" for first, second, third in rows]
    raw = "included" if report["raw_input"] else f"left out: no {', '.join(report['lacks'])}; {INFERENCE} has it"
    off = f"{report['max_difference']:.3g} of outputs up to {report['largest_output']:.4g}, {report['test_rows']} rows"
    ends = [f"{'max difference':22} {off}", f"{'preprocessing':22} {raw}"]
    if report["quantize"]:
        within = report["worse"] <= WORSE  # which NaN is not
        said = f"{'within' if within else 'WORSE by'} {WORSE if within else report['worse']:.2g} of the Keras model's"
        ends += [f"{'int8':22} {FORMATS[report['format']].int8}", f"{'int8 score':22} {said}"]
    return [*table, *ends, f"{'written':22} {printable(report['path'])}"]
