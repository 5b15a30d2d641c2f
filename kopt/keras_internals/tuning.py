"""Private APIs of KerasTuner, under names of kopt's; only kopt.tuning imports this, for KerasTuner loads slowly."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import keras
import keras_tuner
from keras_tuner.src.engine.conditions import Condition
from keras_tuner.src.engine.objective import MultiObjective
from keras_tuner.src.engine.oracle import Display
from tensorflow.python.framework import ops

from kopt.keras_internals.resuming import build_optimizers, optimized_places
from kopt.keras_internals.types import HyperParameter, PrivateModel
from kopt.values.checks import require
from kopt.values.types import Config, HyperParameters, Json, KerasCallback, KerasModel, Nest, TrialOfTuner

__all__ = [
    "DrawnHyperParameters",
    "FilelessOracle",
    "MultiObjective",
    "TrialTuner",
    "ScopedHyperParameters",
    "forgetting_gradients",
    "infer_direction",
]


Drawn: TypeAlias = Json  # the value of a hyperparameter
Symbolic: TypeAlias = Callable[[Json], Nest]  # the description of inputs -> symbolic tensors


class ScopedHyperParameters(keras_tuner.HyperParameters):
    """Hyperparameters whose conditional scopes may be nested, on the same parent or on a conditional one.

    KerasTuner looks up a scope's parent under the conditions of the place of the scope, where it is not defined.
    """

    def _exists(self, name: str, conditions: Sequence[Condition] | None = None) -> bool:
        return bool(self._hps.get(name)) if conditions is None else super()._exists(name, conditions)

    def copy(self) -> "ScopedHyperParameters":
        """Return hyperparameters of the same space and values, which draw nothing."""
        return ScopedHyperParameters.of(self)

    @staticmethod
    def of(hp: HyperParameters) -> "ScopedHyperParameters":
        """Return a copy of hyperparameters of KerasTuner's."""
        return ScopedHyperParameters.from_config(hp.get_config())


class DrawnHyperParameters(ScopedHyperParameters):
    """Hyperparameters that are drawn when the model first asks for each.

    KerasTuner draws a whole space before the model is built, so it records values that never ran, and one of two
    hyperparameters with the same name and different conditions gets the other's value.

    Args:
        draw: A function that returns the value of a definition.
        declared: Definitions that replace the model's own, and that `get` may ask for by name.
    """

    def __init__(self, draw: Callable[[HyperParameter], Drawn], declared: Sequence[HyperParameter] = ()):
        super().__init__()
        self.draw, self.declared = draw, list(declared)
        self.first: dict[str, HyperParameter] = {}  # name -> the definition by which the value was drawn

    def _retrieve(self, hp: HyperParameter) -> Drawn:
        same = (one for one in self.declared if (one.name, one.conditions) == (hp.name, hp.conditions))
        return super()._retrieve(next(same, hp))

    def _register(self, hp: HyperParameter, overwrite: bool = False) -> Drawn:
        if self.is_active(hp):
            if hp.name not in self.values:
                self.values[hp.name], self.first[hp.name] = self.draw(hp), hp
            elif hp.name in self.first:
                self._require_alike(hp, self.first[hp.name])
        return super()._register(hp)

    def _require_alike(self, hp: HyperParameter, first: HyperParameter) -> None:
        """Raise when two definitions of one name that hold at once differ in more than their conditions."""
        one, other = (
            {key: value for key, value in definition.get_config().items() if key not in ("conditions", "default")}
            for definition in (hp, first)
        )
        if type(hp) is not type(first) or one != other:
            raise keras_tuner.errors.FatalValueError(
                f"{hp.name} must be defined alike where two definitions of one name hold at once, got {hp} and {first}."
            )

    def get(self, name: str) -> Drawn:
        self._draw_declared(self._get_name(name))
        return super().get(name)

    def _exists(self, name: str, conditions: Sequence[Condition] | None = None) -> bool:
        if conditions is None:
            self._draw_declared(name)
        return super()._exists(name, conditions)

    def _draw_declared(self, name: str) -> None:
        if name not in self.values:
            for hp in self.declared:
                if hp.name == name and self.is_active(hp):
                    self._retrieve(hp)

    def ensure_active_values(self) -> None:
        """Do nothing: the values are exact; KerasTuner's method would drop values with an inactive namesake."""


class LateDisplay(Display):
    """A display that shows the values of a trial once they are drawn, and again at its end if more were drawn since."""

    def __init__(self, oracle: keras_tuner.Oracle, verbose: int):
        super().__init__(oracle, verbose)
        self.shown: dict[str, Config] = {}

    def show_hyperparameter_table(self, trial: TrialOfTuner) -> None:
        """Print KerasTuner's table: value, best value so far, hyperparameter."""
        values = dict(trial.hyperparameters.values)
        if self.verbose >= 1 and values != self.shown.get(trial.trial_id, {}):
            super().show_hyperparameter_table(trial)
            print()
            self.shown = {trial.trial_id: values}


class Trials(dict[str, TrialOfTuner]):
    """Trials by number; models can be built from their hyperparameters, also from those read from records."""

    def __setitem__(self, number: str, trial: TrialOfTuner) -> None:
        if not isinstance(trial.hyperparameters, ScopedHyperParameters):
            trial.hyperparameters = ScopedHyperParameters.of(trial.hyperparameters)
        super().__setitem__(number, trial)


class FilelessOracle(keras_tuner.Oracle):
    """An oracle whose state is a study, not KerasTuner's files."""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._display: Display = LateDisplay(self, self.verbose)
        self.trials = Trials()

    def get_space(self) -> ScopedHyperParameters:
        """Return all hyperparameters that are known, with their defaults as values."""
        return ScopedHyperParameters.of(self.hyperparameters)

    def _save_trial(self, trial: TrialOfTuner) -> None:
        pass

    def save(self) -> None:
        """Do nothing: the study is the state."""

    def reload(self) -> None:
        """Do nothing: the study is the state."""

    def tell_begin(self, trial: TrialOfTuner) -> None:
        """Print that a trial begins, as KerasTuner does."""
        self._display.on_trial_begin(trial)

    def tell_drawn(self, trial: TrialOfTuner) -> None:
        """Print the values that were drawn for the model, beside the best so far."""
        self._display.show_hyperparameter_table(trial)

    def tell_end(self, trial: TrialOfTuner) -> None:
        """Print a trial's result, as KerasTuner does, and its values if they were not printed yet."""
        self._display.on_trial_end(trial)
        self._display.show_hyperparameter_table(trial)


class TrialTuner(keras_tuner.Tuner):
    """A KerasTuner tuner that runs each trial by `attempt`, which a subclass defines."""

    def __init__(self, *args: Any, **settings: Any):
        self.distribution_strategy = settings.get("distribution_strategy")  # a first model is built in the call below
        super().__init__(*args, **settings)

    def _populate_initial_space(self) -> None:
        with self.scope():
            super()._populate_initial_space()

    def attempt(self, trial: TrialOfTuner, *args: Any, **kwargs: Any) -> None:
        """Run a trial and record its result."""
        raise NotImplementedError

    def _try_run_and_update_trial(self, trial: TrialOfTuner, *args: Any, **kwargs: Any) -> None:
        self.attempt(trial, *args, **kwargs)

    def _try_build(self, hp: HyperParameters) -> KerasModel:
        self.policy = keras.config.dtype_policy()
        return super()._try_build(hp)

    def _build_hypermodel(self, hp: HyperParameters) -> KerasModel:
        if keras.config.dtype_policy().name != self.policy.name:  # KerasTuner has cleared the policy with the session
            keras.config.set_dtype_policy(self.policy)
        return super()._build_hypermodel(hp)

    def fresh_model(self, hp: HyperParameters) -> KerasModel:
        """Clear Keras' session, build the model, and compile it with the arguments that the tuner overrides."""
        return self._try_build(hp)

    def scope(self) -> contextlib.AbstractContextManager[object]:
        """Return the scope in which models are built and loaded: that of the tuner's distribution strategy, if any."""
        strategy = self.distribution_strategy
        return contextlib.nullcontext() if strategy is None else strategy.scope()

    def loaded(self, trial_id: str, hp: HyperParameters, symbolic: Symbolic) -> KerasModel:
        """Build a trial's model as it was, and load its checkpoint.

        Raises:
            ValueError: When a model without an Input cannot be built from what it was trained on.
        """
        file = self._get_build_config_fname(trial_id)
        how = keras_tuner.src.utils.load_json(file) if os.path.exists(file) else {}
        model = self.fresh_model(hp)
        with self.scope():
            build_again(model, how, symbolic)
            build_optimizers(model, how.get("optimizers", {"optimizer": None}))
            model.load_weights(self.checkpoint_file(trial_id))
        return model

    def save_build(self, trial_id: str, model: PrivateModel, inputs: Nest) -> None:
        """Save how a model without an Input was built, and which weights its optimizers update: `loaded` needs both."""
        how = dict(model.get_build_config() or {}) | {"inputs": inputs, "optimizers": optimized_places(model)}
        keras_tuner.src.utils.save_json(self._get_build_config_fname(trial_id), how)

    def checkpoint_file(self, trial_id: str) -> str:
        """Return the file in which `load_model` looks for a trial's weights."""
        return self._get_checkpoint_fname(trial_id)

    def copied(self, callbacks: Iterable[KerasCallback], trial: TrialOfTuner, execution: int) -> list[KerasCallback]:
        """Return a trial's copies of the callbacks; TensorBoard's has a folder of its own."""
        copies = self._deepcopy_callbacks(list(callbacks))
        self._configure_tensorboard_dir(copies, trial, execution)
        return copies

    def save(self) -> None:
        """Do nothing: the study is the state."""

    def reload(self) -> None:
        """Read the state of the study."""
        self.oracle.reload()


def build_again(model: PrivateModel, how: Config, symbolic: Symbolic) -> None:
    """Make the weights of a model without an Input by its own `build`, or by a call on symbolic training inputs."""
    if all(layer.built for layer in model._flatten_layers()):
        return
    own = not hasattr(model.build, "_is_default")  # Keras' mark on its own method
    if not own and how.get("inputs") is not None:
        model(symbolic(how["inputs"]), training=False)
    elif own or "input_shape" in how or "shapes_dict" in how:
        model.build_from_config(tupled(how))
    rule = "must have an Input or a build(input_shape), or be called on its inputs by the hypermodel, to be loaded"
    require(model.built, "model", rule, type(model).__name__)


def tupled(value: Json) -> Json:
    """Return shapes as they were before JSON turned them into lists."""
    if isinstance(value, dict):
        return {name: tupled(one) for name, one in value.items()}
    whole = isinstance(value, list) and all(one is None or isinstance(one, int) for one in value)
    return tuple(value) if whole else [tupled(one) for one in value] if isinstance(value, list) else value


def infer_direction(metric: str) -> str | None:
    """Return "max" if more of a metric is better, "min" if less is; None if the metric's name does not say."""
    return keras_tuner.engine.metrics_tracking.infer_metric_direction(metric)


@contextlib.contextmanager
def forgetting_gradients() -> Iterator[None]:
    """Make the traced programs of models that are trained in the block freeable, together with the models.

    Every trace of a Keras optimizer registers the gradient of its all-reduce with TensorFlow for good, and with it the
    whole graph: 3.8 MB for a small model. The traces hold references to the parts that they need.
    """
    BLOCKS.begin()
    try:
        yield
    finally:
        BLOCKS.end()


class Blocks:
    """The blocks that forget gradients at their end: for each one that is open, what was known when it began.

    While another thread has a block open, which may need what it has registered since, forgetting is left to that one.
    """

    def __init__(self) -> None:
        self.open: dict[int, list[set[str]]] = {}  # thread -> of its blocks, the innermost last
        self.lock = threading.Lock()

    def begin(self) -> None:
        """Begin a block of this thread."""
        with self.lock:
            self.open.setdefault(threading.get_ident(), []).append(set(ops.gradient_registry.list()))

    def end(self) -> None:
        """End the innermost block of this thread."""
        with self.lock:
            own = self.open[threading.get_ident()]
            known = own.pop()
            if not own:
                del self.open[threading.get_ident()]
            others = [blocks[0] for blocks in self.open.values() if blocks is not own]
            if others:
                others[0].intersection_update(known)
                return
            for name in set(ops.gradient_registry.list()) - known:
                if name.startswith("CustomGradient-"):
                    del ops.gradient_registry._registry[name]


BLOCKS = Blocks()
