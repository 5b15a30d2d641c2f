"""Keras callbacks, for `model.fit` and for `kopt.fit`."""

from kopt.callbacks.average import Average
from kopt.callbacks.averaging import EMA, LAWA, SWA, averagings
from kopt.callbacks.base import registry
from kopt.callbacks.batch_logs import BatchLogs
from kopt.callbacks.condition import Condition, conditions, metric
from kopt.callbacks.condition_text import parse_condition
from kopt.callbacks.diagnosis import Diagnosis, Verdict, diagnose
from kopt.callbacks.epoch_time import EpochTime
from kopt.callbacks.gradient_monitor import GradientMonitor
from kopt.callbacks.layer_rates import LayerRates
from kopt.callbacks.learning_rate import LearningRate
from kopt.callbacks.plateau import ReduceOnPlateau
from kopt.callbacks.sample_predictions import SamplePredictions
from kopt.callbacks.scheduled import Scheduled
from kopt.callbacks.spike_guard import SpikeGuard
from kopt.callbacks.stop_when import StopWhen
from kopt.callbacks.throughput import Throughput
from kopt.callbacks.time_budget import TimeBudget
from kopt.callbacks.validate_every import ValidateEvery
from kopt.training.callback import Callback
from kopt.training.checkpoint.callback import Checkpoint
from kopt.training.rule_weights import RuleWeights
from kopt.training.steps.update_hooks import Update

__all__ = [
    "EMA",
    "LAWA",
    "SWA",
    "Average",
    "BatchLogs",
    "Callback",
    "Checkpoint",
    "Condition",
    "Diagnosis",
    "EpochTime",
    "GradientMonitor",
    "LayerRates",
    "LearningRate",
    "ReduceOnPlateau",
    "RuleWeights",
    "SamplePredictions",
    "Scheduled",
    "SpikeGuard",
    "StopWhen",
    "Throughput",
    "TimeBudget",
    "Update",
    "ValidateEvery",
    "Verdict",
    "averagings",
    "conditions",
    "diagnose",
    "metric",
    "parse_condition",
    "registry",
]
