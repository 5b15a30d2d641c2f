"""State: live numbers and arrays that are saved with a model, and models loaded with theirs."""

from kopt.state.knobs import Knob, Slots, held_knob, held_slots
from kopt.state.loading import load_model

__all__ = ["Knob", "Slots", "held_knob", "held_slots", "load_model"]
