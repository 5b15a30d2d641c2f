"""Keras callbacks, for `model.fit` and for `kopt.fit`."""

from kopt.callbacks.average import Average
from kopt.callbacks.averaging import EMA, LAWA, SWA, averagings
from kopt.callbacks.base import registry
from kopt.callbacks.diagnosis import Diagnosis, Verdict, diagnose
from kopt.callbacks.epoch_time import EpochTime
from kopt.callbacks.gradient_monitor import GradientMonitor
from kopt.callbacks.layer_rates import LayerRates
from kopt.callbacks.learning_rate import LearningRate
from kopt.callbacks.plateau import ReduceOnPlateau
from kopt.callbacks.scheduled import Scheduled
from kopt.callbacks.spike_guard import SpikeGuard
from kopt.callbacks.throughput import Throughput
from kopt.callbacks.time_budget import TimeBudget
from kopt.training.callback import Callback
from kopt.training.checkpoint.callback import Checkpoint
from kopt.training.rule_weights import RuleWeights
from kopt.training.steps.update_hooks import Update

__all__ = [
    "EMA",
    "LAWA",
    "SWA",
    "Average",
    "Callback",
    "Checkpoint",
    "Diagnosis",
    "EpochTime",
    "GradientMonitor",
    "LayerRates",
    "LearningRate",
    "ReduceOnPlateau",
    "RuleWeights",
    "Scheduled",
    "SpikeGuard",
    "Throughput",
    "TimeBudget",
    "Update",
    "Verdict",
    "averagings",
    "diagnose",
    "registry",
]
