"""KerasTuner's private hooks under names of kopt's own; imported by kopt.tuning alone, for KerasTuner loads late."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import keras_tuner
from tensorflow.python.framework import ops

__all__ = ["DrawnHyperParameters", "HookedOracle", "HookedTuner", "forgetting_gradients", "infer_direction"]


class DrawnHyperParameters(keras_tuner.HyperParameters):
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
        full = self._get_name(name)
        if full not in self.values:
            for hp in self.declared:
                if hp.name == full and self.is_active(hp):
                    self._retrieve(hp)
        return super().get(name)

    def ensure_active_values(self) -> None:
        """Nothing: the values are exact, and KerasTuner's method would drop those whose namesake is inactive."""


class HookedOracle(keras_tuner.Oracle):
    """An oracle that keeps its state elsewhere than in KerasTuner's files."""

    def _save_trial(self, trial: Any) -> None:
        pass

    def save(self) -> None:
        """Nothing: the study is the state."""

    def reload(self) -> None:
        """Nothing: the study is the state."""

    def tell_begin(self, trial: Any) -> None:
        """Print a trial's table, as KerasTuner does."""
        self._display.on_trial_begin(trial)

    def tell_end(self, trial: Any) -> None:
        """Print a trial's result, as KerasTuner does."""
        self._display.on_trial_end(trial)


class HookedTuner(keras_tuner.Tuner):
    """A tuner whose trials go through `attempt`."""

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

    def build_again(self, trial_id: str, model: Any) -> None:
        """Make the weights of a model without an Input, and of its optimizer."""
        if not model.built:
            model.build_from_config(keras_tuner.src.utils.load_json(self._get_build_config_fname(trial_id)))
        if getattr(model, "optimizer", None) is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)

    def save_build(self, trial_id: str, model: Any) -> None:
        """Save the shapes that a model without an Input was built with; `load_model` needs them."""
        keras_tuner.src.utils.save_json(self._get_build_config_fname(trial_id), model.get_build_config())

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
