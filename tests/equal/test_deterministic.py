"""deterministic=True: two runs are the same to the bit, programs from before are traced anew, refusals are a sentence.

In a process of its own, because TensorFlow's switch is for the whole process and cannot be undone.
"""

import json

CODE = """
import hashlib, json, pathlib, tempfile
import keras, numpy as np, tensorflow as tf
import kopt
from kopt.augment import Rotate, Shift
from kopt.keras_internals import is_deterministic

tf.config.threading.set_inter_op_parallelism_threads(4)
tf.config.threading.set_intra_op_parallelism_threads(4)
found = {"before": is_deterministic()}


class Drawing(keras.layers.Layer):
    '''A layer that draws without a seed where nobody asks for determinism.'''

    def call(self, x):
        begin, _, _ = tf.raw_ops.SampleDistortedBoundingBox(image_size=[8, 8, 3], bounding_boxes=[[[0.0, 0, 1, 1]]])
        return x + tf.reduce_sum(tf.cast(begin, x.dtype)) * 0


def fit(model, **how):
    return kopt.Loop(model, **how).fit(np.eye(4), np.ones((4, 1)), epochs=1, verbose=0)


def refusal(act):
    try:
        act()
    except ValueError as error:
        return str(error)


def drawing():
    model = keras.Sequential([keras.Input((4,)), Drawing(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


traced = drawing()
fit(traced, seed=0)  # its program is there before the switch is turned on
found["no_seed"] = refusal(lambda: kopt.Loop(traced, deterministic=True))
found["no_bool"] = refusal(lambda: kopt.Loop(traced, seed=0, deterministic=1))
found["still"] = is_deterministic()
found["traced"] = refusal(lambda: fit(traced, seed=0, deterministic=True))
found["new"] = refusal(lambda: fit(drawing(), seed=0, deterministic=True))
found["on"] = is_deterministic()

recipe = kopt.Recipe(
    "same",
    kopt.data.Digits(examples=200),
    augment=Shift(0.06, 0.06).then(Rotate(0.03)),
    model=kopt.models.ConvNet((8, 8, 1), 10, width=4, dropout=0.3, scale=1 / 16),
    schedule=kopt.schedules.Cosine(1e-2),
    training=kopt.Training(epochs=2, batch_size=32, deterministic=True),
)
found["runs"] = []
for seed in (0, 0, 1):
    with tempfile.TemporaryDirectory() as root:
        run = kopt.run(kopt.values.replace(recipe, {"seed": seed}), folder=root, verbose=False)
        weights = keras.saving.load_model(run.folder / "model.keras").get_weights()
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in weights)).hexdigest()
        history = {name: values for name, values in run.history.items() if name != "seconds"}
        found["says"] = json.loads((run.folder / "environment.json").read_text())["deterministic"]
        found["runs"].append([digest, history, run.metrics["value"], run.metrics["loss"]])
print(json.dumps(found))
"""


def test_two_runs_are_the_same_to_the_bit_and_refusals_are_a_sentence(python) -> None:
    found = json.loads(python("-c", CODE, KOPT_CACHE="off").stdout.splitlines()[-1])
    first, second, other = found["runs"]
    assert first == second and set(first[1]) >= {"loss", "val_loss", "accuracy", "learning_rate"}
    assert other[0] != first[0] and other[1] != first[1]
    assert found["says"] is True and (found["before"], found["still"], found["on"]) == (False, False, True)
    assert found["no_seed"] == "seed must be given where deterministic=True, got None."
    assert found["no_bool"] == "deterministic must be True or False, got 1."
    for said in (found["traced"], found["new"]):
        assert said.startswith("deterministic must be False for this model, TensorFlow says: ") and "\n" not in said
        assert "When determinism is enabled, random ops must have a seed specified" in said
