"""What `import kopt` loads and says, in fresh processes."""

import json


def test_import_is_light_and_refuses_another_backend(python) -> None:
    code = """
import json, os, sys
import keras, tensorflow
before, environment = set(sys.modules), dict(os.environ)
import kopt
assert os.environ == environment
assert keras.saving.get_registered_object("kopt.schedules>Cosine") is kopt.schedules.Cosine
names = ("optuna", "keras_tuner", "sklearn", "matplotlib.figure", "IPython")
late = [name for name in names if name in set(sys.modules) - before]
missing = [name for name in kopt.__all__ if not hasattr(kopt, name)]
print(json.dumps([late, missing]))
"""
    late, missing = json.loads(python("-c", code).stdout.splitlines()[-1])
    assert missing == [] and late == []
    done = python("-c", "import kopt", expect=1, KERAS_BACKEND="jax")
    assert (
        "ImportError: the Keras backend must be tensorflow for kopt, got 'jax': set KERAS_BACKEND=tensorflow."
        in done.stderr
    )
