"""The trainings of this folder, importable in its tests."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
