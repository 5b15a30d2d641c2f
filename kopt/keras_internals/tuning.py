"""KerasTuner's private hooks under names of kopt's own; imported by kopt.tuning alone, for KerasTuner loads late."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import keras_tuner
from keras_tuner.src.engine.oracle import Display
from tensorflow.python.framework import ops

from kopt.keras_internals.resuming import build_optimizers, optimized_places
from kopt.values.checks import require

__all__ = [
    "DrawnHyperParameters",
    "HookedOracle",
    "HookedTuner",
    "ScopedHyperParameters",
    "forgetting_gradients",
    "infer_direction",
]


class ScopedHyperParameters(keras_tuner.HyperParameters):
    """Hyperparameters whose conditional scopes may stand in others, on the same parent or on a conditional one.

    KerasTuner looks a scope's parent up under the conditions that hold there, under which it was not defined.
    """

    def _exists(self, name: str, conditions: Any = None) -> bool:
        return bool(self._hps.get(name)) if conditions is None else super()._exists(name, conditions)

    def copy(self) -> "ScopedHyperParameters":
        """Return hyperparameters of the same space and values, from which nothing is drawn."""
        return ScopedHyperParameters.of(self)

    @staticmethod
    def of(hp: Any) -> "ScopedHyperParameters":
        """Return a copy of KerasTuner's."""
        return ScopedHyperParameters.from_config(hp.get_config())


class DrawnHyperParameters(ScopedHyperParameters):
    """Hyperparameters of which each is drawn the moment the model first asks for it.

    KerasTuner draws a whole space before the model is built, so values that never ran are recorded, and of two
    hyperparameters of one name under different conditions one gets the other's value.

    Args:
        draw: Gives the value of a definition.
        declared: Definitions that go before the model's own, and that `get` may ask for by name.
    """

    def __init__(self, draw: Callable[[Any], Any], declared: Sequence[Any] = ()):
        super().__init__()
        self.draw, self.declared = draw, list(declared)
        self.first: dict[str, Any] = {}  # name -> the definition that was drawn

    def _retrieve(self, hp: Any) -> Any:
        same = (one for one in self.declared if (one.name, one.conditions) == (hp.name, hp.conditions))
        return super()._retrieve(next(same, hp))

    def _register(self, hp: Any, overwrite: bool = False) -> Any:
        if self.is_active(hp):
            if hp.name not in self.values:
                self.values[hp.name], self.first[hp.name] = self.draw(hp), hp
            elif hp.name in self.first:
                self._require_alike(hp, self.first[hp.name])
        return super()._register(hp)

    def _require_alike(self, hp: Any, first: Any) -> None:
        """One name has one value: two definitions that hold at once must be the same but for their conditions."""
        one, other = (
            {key: value for key, value in definition.get_config().items() if key not in ("conditions", "default")}
            for definition in (hp, first)
        )
        if type(hp) is not type(first) or one != other:
            raise keras_tuner.errors.FatalValueError(
                f"{hp.name} must be defined alike where two definitions of one name hold at once, got {hp} and {first}."
            )

    def get(self, name: str) -> Any:
        self._draw_declared(self._get_name(name))
        return super().get(name)

    def _exists(self, name: str, conditions: Any = None) -> bool:
        if conditions is None:
            self._draw_declared(name)
        return super()._exists(name, conditions)

    def _draw_declared(self, name: str) -> None:
        if name not in self.values:
            for hp in self.declared:
                if hp.name == name and self.is_active(hp):
                    self._retrieve(hp)

    def ensure_active_values(self) -> None:
        """Nothing: the values are exact, and KerasTuner's method would drop those whose namesake is inactive."""


class LateDisplay(Display):
    """Shows the values of a trial once they are drawn, and again at its end where more were drawn since."""

    def __init__(self, oracle: Any, verbose: Any):
        super().__init__(oracle, verbose)
        self.shown: dict[str, Any] = {}

    def show_hyperparameter_table(self, trial: Any) -> None:
        """Print KerasTuner's table: value, best value so far, hyperparameter."""
        values = dict(trial.hyperparameters.values)
        if self.verbose >= 1 and values != self.shown.get(trial.trial_id, {}):
            super().show_hyperparameter_table(trial)
            print()
            self.shown = {trial.trial_id: values}


class Trials(dict[str, Any]):
    """Trials by their numbers, with hyperparameters that models can be built from, also those read from records."""

    def __setitem__(self, number: str, trial: Any) -> None:
        if not isinstance(trial.hyperparameters, ScopedHyperParameters):
            trial.hyperparameters = ScopedHyperParameters.of(trial.hyperparameters)
        super().__setitem__(number, trial)


class HookedOracle(keras_tuner.Oracle):
    """An oracle that keeps its state elsewhere than in KerasTuner's files."""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._display: Any = LateDisplay(self, self.verbose)
        self.trials = Trials()

    def get_space(self) -> ScopedHyperParameters:
        """Return all hyperparameters that are known, at their defaults."""
        return ScopedHyperParameters.of(self.hyperparameters)

    def _save_trial(self, trial: Any) -> None:
        pass

    def save(self) -> None:
        """Nothing: the study is the state."""

    def reload(self) -> None:
        """Nothing: the study is the state."""

    def tell_begin(self, trial: Any) -> None:
        """Print that a trial begins, as KerasTuner does."""
        self._display.on_trial_begin(trial)

    def tell_drawn(self, trial: Any) -> None:
        """Print the values that were drawn, once the model is built, beside the best so far."""
        self._display.show_hyperparameter_table(trial)

    def tell_end(self, trial: Any) -> None:
        """Print a trial's result, as KerasTuner does, and its values where they were not shown yet."""
        self._display.on_trial_end(trial)
        self._display.show_hyperparameter_table(trial)


class HookedTuner(keras_tuner.Tuner):
    """A tuner whose trials go through `attempt`."""

    def __init__(self, *args: Any, **settings: Any):
        self.distribution_strategy = settings.get("distribution_strategy")  # a first model is built in the call below
        super().__init__(*args, **settings)

    def _populate_initial_space(self) -> None:
        with self.scope():
            super()._populate_initial_space()

    def attempt(self, trial: Any, *args: Any, **kwargs: Any) -> None:
        """Run a trial and record what it gave."""
        raise NotImplementedError

    def _try_run_and_update_trial(self, trial: Any, *args: Any, **kwargs: Any) -> None:
        self.attempt(trial, *args, **kwargs)

    def _try_build(self, hp: Any) -> Any:
        self.policy = keras.config.dtype_policy()
        return super()._try_build(hp)

    def _build_hypermodel(self, hp: Any) -> Any:
        if keras.config.dtype_policy().name != self.policy.name:  # KerasTuner has cleared it with the session
            keras.config.set_dtype_policy(self.policy)
        return super()._build_hypermodel(hp)

    def fresh_model(self, hp: Any) -> Any:
        """Clear Keras' session and build the model, with the compile arguments that the tuner overrides."""
        return self._try_build(hp)

    def scope(self) -> Any:
        """Return the scope in which models are built and loaded: that of the tuner's distribution strategy, if any."""
        strategy = self.distribution_strategy
        return contextlib.nullcontext() if strategy is None else strategy.scope()

    def loaded(self, trial_id: str, hp: Any, symbolic: Callable[[Any], Any]) -> Any:
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

    def save_build(self, trial_id: str, model: Any, inputs: Any) -> None:
        """Save what a model without an Input was built with, and what its optimizers update; `loaded` needs both."""
        how = dict(model.get_build_config() or {}) | {"inputs": inputs, "optimizers": optimized_places(model)}
        keras_tuner.src.utils.save_json(self._get_build_config_fname(trial_id), how)

    def checkpoint_file(self, trial_id: str) -> str:
        """Where `load_model` looks for a trial's weights."""
        return self._get_checkpoint_fname(trial_id)

    def copied(self, callbacks: Any, trial: Any, execution: int) -> list[Any]:
        """A trial's own copies of the callbacks, TensorBoard's with a folder of its own."""
        copies = self._deepcopy_callbacks(list(callbacks))
        self._configure_tensorboard_dir(copies, trial, execution)
        return copies

    def save(self) -> None:
        """Nothing: the study is the state."""

    def reload(self) -> None:
        """Read what the study holds."""
        self.oracle.reload()


def build_again(model: Any, how: Any, symbolic: Callable[[Any], Any]) -> None:
    """Make the weights of a model without an Input: by its own `build`, or by a call on what it was trained on."""
    if all(layer.built for layer in model._flatten_layers()):
        return
    own = not getattr(model.build, "_is_default", False)
    if not own and how.get("inputs") is not None:
        model(symbolic(how["inputs"]), training=False)
    elif own or "input_shape" in how or "shapes_dict" in how:
        model.build_from_config(tupled(how))
    rule = "must have an Input or a build(input_shape), or be called on its inputs by the hypermodel, to be loaded"
    require(model.built, "model", rule, type(model).__name__)


def tupled(value: Any) -> Any:
    """Return shapes as they were before JSON made lists of them."""
    if isinstance(value, dict):
        return {name: tupled(one) for name, one in value.items()}
    whole = isinstance(value, list) and all(one is None or isinstance(one, int) for one in value)
    return tuple(value) if whole else [tupled(one) for one in value] if isinstance(value, list) else value


def infer_direction(metric: str) -> str | None:
    """Whether more of a metric is better ("max"), or less ("min"); None where its name does not tell."""
    return keras_tuner.engine.metrics_tracking.infer_metric_direction(metric)


@contextlib.contextmanager
def forgetting_gradients() -> Iterator[None]:
    """Free the traced programs of the models that are trained in the block, once the models themselves are gone.

    Every trace of a Keras optimizer registers the gradient of its all-reduce with TensorFlow for good, and with it the
    whole graph: 3.8 MB a small model. The traces hold what they need of it themselves.
    """
    known = set(ops.gradient_registry.list())
    try:
        yield
    finally:
        for name in set(ops.gradient_registry.list()) - known:
            if name.startswith("CustomGradient-"):
                del ops.gradient_registry._registry[name]
