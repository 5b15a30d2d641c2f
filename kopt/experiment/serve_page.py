"""The page of `kopt serve`, which Streamlit runs: fields for the raw input of a task, and its answer."""

import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from kopt.data import Data
from kopt.data.base import take
from kopt.data.files import IMAGES
from kopt.experiment.predict import model_of, predictions, recipe_of
from kopt.experiment.writing import writing
from kopt.values.checks import needs
from kopt.values.types import ArrayLike

__all__ = ["page"]

FEW = 12  # numbers of a row that have a field each


def page(folder: str) -> None:
    """Show the fields of a run's model, and its answer when there is input.

    Args:
        folder: The folder of a run.

    Raises:
        ValueError: When there is no such run.

    Example:
        >>> page("nowhere")
        Traceback (most recent call last):
        ValueError: folder must be a run's, with a recipe.json, got 'nowhere'.

    Source:
        Streamlit's execution model: the script is run again whenever a field changes.
    """
    st = needs("streamlit", "serve")
    data, model = recipe_of(folder).data, model_of(folder)
    st.set_page_config(page_title=recipe_of(folder).name, layout="centered")
    st.title(recipe_of(folder).name.replace("_", " "))
    if data.task == "language":
        show_writing(data, model)
        return
    with tempfile.TemporaryDirectory() as aside:
        rows = asked(data, model, pathlib.Path(aside))
        if rows is None:
            return
        try:
            found = predictions(folder, rows)
        except ValueError as error:
            st.error(str(error))
            return
    show(data, found)


def asked(data: Data, model: keras.Model, aside: pathlib.Path) -> ArrayLike | None:
    """Show the fields for a row as a model takes it, and return the row; None until it is given."""
    st = needs("streamlit", "serve")
    if isinstance(model.input, Mapping):
        return asked_columns(data, model)
    if model.input.dtype == "string":
        text = st.text_area("Text", placeholder="Write or paste a text")
        return [text] if text.strip() else None
    if len(model.input_shape) == 4:
        return asked_image(aside)
    if data.task == "ranking":
        known = st.multiselect("Known and liked", data.labels or range(model.input_shape[-1]))
        places = {name: place for place, name in enumerate(data.labels)}
        return one_hot([places.get(name, name) for name in known], model.input_shape[-1]) if known else None
    return asked_numbers(data, model)


def asked_columns(data: Data, model: keras.Model) -> dict[str, list[str]] | None:
    """Show a field for each column, of the name that it has in the source."""
    st = needs("streamlit", "serve")
    with st.form("row"):
        names = {name: data.name_in_source(name) for name in model.input}
        given = {source: st.text_input(source, key=name) for name, source in names.items()}
        sent = st.form_submit_button("Predict")
    return {name: [text.strip()] for name, text in given.items()} if sent else None


def asked_image(aside: pathlib.Path) -> list[str] | None:
    """Show a field for the file of an image, and return the path of a copy."""
    st = needs("streamlit", "serve")
    given = st.file_uploader("Image", [ending.lstrip(".") for ending in IMAGES])
    if given is None:
        return None
    st.image(given, width=240)
    file = aside / f"image{pathlib.Path(given.name).suffix.lower()}"
    file.write_bytes(given.getvalue())
    return [str(file)]


def asked_numbers(data: Data, model: keras.Model) -> np.ndarray | None:
    """Show a field for each of a few numbers; for a longer row a file, or the number of one of the test split."""
    st = needs("streamlit", "serve")
    shape = model.input_shape[1:]
    if len(shape) == 1 and shape[0] <= FEW:
        whole = "int" in model.input.dtype
        with st.form("row"):
            fields = [st.number_input(f"Number {one + 1}", value=0 if whole else 0.0) for one in range(shape[0])]
            return np.array([fields]) if st.form_submit_button("Predict") else None
    given = st.file_uploader(f"A .npy file of an array of the shape {shape}", ["npy"])
    if given is not None:
        array = np.load(given, allow_pickle=False)
        return array if array.ndim > len(shape) else array[None]
    test = st.cache_resource(lambda: data.load().test, show_spinner="reading the data")()
    place = st.number_input("Or a row of the test split", 0, len(test.y) - 1, value=None)
    return None if place is None else take(test.x, slice(place, place + 1))


def one_hot(places: Sequence[int], size: int) -> np.ndarray:
    """Return a row of zeros with ones at places."""
    row = np.zeros((1, size), "float32")
    row[0, list(places)] = 1
    return row


def show(data: Data, found: Mapping[str, np.ndarray]) -> None:
    """Show the answer for one row: a class and probabilities, items and scores, a forecast, or a number."""
    st = needs("streamlit", "serve")
    first = next(iter(found))
    if data.task == "classification":
        st.metric("Class", str(found[first][0]))
        chances = {name: float(column[0]) for name, column in found.items() if name != first}
        st.bar_chart(
            {"class": list(chances), "probability": list(chances.values())}, x="class", y="probability", horizontal=True
        )
    elif data.task == "ranking":
        count = len(found) // 2
        numbers = range(1, count + 1)
        items = [str(found[f"item {one}"][0]) for one in numbers]
        st.table({"item": items, "score": [float(found[f"score {one}"][0]) for one in numbers]})
    elif data.task == "forecast":
        steps = list(range(1, len(found) + 1))
        values = [float(column[0]) for column in found.values()]
        st.line_chart({"steps ahead": steps, "forecast": values}, x="steps ahead", y="forecast")
    else:
        for name, column in found.items():
            st.metric(name, f"{column[0]:.6g}")


def show_writing(data: Data, model: keras.Model) -> None:
    """Show a field for the start of a text, and how a language model writes on, token by token."""
    st = needs("streamlit", "serve")
    with st.form("start"):
        start = st.text_area("Start", placeholder="Write the start of a text")
        said = "Below 1 the likely is written more often than the model says, above 1 less often."
        temperature = st.slider("Temperature", 0.1, 2.0, 1.0, 0.1, help=said)
        length = st.slider("Length", 10, 1000, 200, 10, help="Tokens that are written.")
        seed = st.number_input("Seed", 0, value=0, help="Another number gives another text.")
        sent = st.form_submit_button("Write")
    if not sent:
        return
    place = st.empty()
    try:
        for text in writing(model, start, data.labels, length=length, temperature=temperature, seed=seed):
            place.code(text, language=None, wrap_lines=True)
    except ValueError as error:
        st.error(str(error))


if __name__ == "__main__":
    page(sys.argv[1])
