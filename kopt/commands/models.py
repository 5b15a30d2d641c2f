"""The commands that use the model of a run: `kopt predict`, `evaluate`, `export` and `serve`."""

import tyro

from kopt.values import parts


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
    parts.needed("kopt.experiment.predict_cli").predict_file(run, file, output, format)


def evaluate(run: tyro.conf.Positional[str], file: tyro.conf.Positional[str]) -> None:
    """Print the score and the loss of a run's model on the rows of a file that has the targets too.

    Args:
        run: saved_models/<recipe>/<run>.
        file: A .csv, .parquet or .npz file, or a folder with a folder for each class; - for standard input.
    """
    parts.needed("kopt.experiment.predict_cli").evaluate_file(run, file)


def export(run: tyro.conf.Positional[str], format: str, quantize: str | None = None, output: str | None = None) -> None:
    """Write the model of a run for other programs, and print how it compares with the Keras model on the test split.

    Args:
        run: saved_models/<recipe>/<run>.
        format: saved_model, litert or onnx.
        quantize: int8, for litert and onnx; left out, the numbers stay as they are.
        output: A .tflite or .onnx file, or the folder of a saved_model; when not given, one in the run's folder.
    """
    parts.needed("kopt.experiment.export").export_run(run, format, quantize, output)


def serve(run: tyro.conf.Positional[str], port: int = 8501) -> None:
    """Serve a page on this machine alone that takes input of a run's model and shows the answer, until Ctrl-C.

    Args:
        run: saved_models/<recipe>/<run>.
        port: The port on 127.0.0.1.
    """
    parts.needed("kopt.experiment.serve").serve(run, port)
