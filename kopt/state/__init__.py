"""State: live numbers and arrays that are saved with a model, models loaded with theirs, and what training changes."""

from kopt.state.knob import Knob, held_knob
from kopt.state.loading import load_model
from kopt.state.slots import Slots, held_slots
from kopt.state.snapshot import GraphSnapshot, Snapshot, knob_variables, training_variables

__all__ = [
    "GraphSnapshot",
    "Knob",
    "Slots",
    "Snapshot",
    "held_knob",
    "held_slots",
    "knob_variables",
    "load_model",
    "training_variables",
]
