"""RuleWeights: the evaluation weights that a rule keeps, shown in validation, between epochs and after training."""

from collections.abc import Callable as Function
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import tensorflow as tf

from kopt.keras_internals import has_weights, raw
from kopt.optimizers import Optimizer
from kopt.state.snapshot import training_optimizers
from kopt.training.callback import Callback
from kopt.training.steps.evaluation_weights import EvaluationWeights
from kopt.training.steps.installing import holder
from kopt.training.steps.update_hooks import ModelHooks, Update
from kopt.training.tools.statistics import refresh_statistics
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasCallback, KerasModel, Logs, Nest, Tensor, Variable

__all__ = ["RuleWeights"]

Values: TypeAlias = Sequence[Tensor]
Formula: TypeAlias = Function[[Values, Values, Tensor], Values]  # of weights, state and the number of updates


class RuleWeights(Callback):
    """Show the evaluation weights of the optimizer's rule, as Schedule-Free keeps them, to all who do not train.

    From the end of an epoch to the beginning of the next, during validation, and when training has ended, the model's
    weights are `rule.evaluate(state, weights)`; checkpoints and files have these. The weights of training are saved
    with the optimizer, so that training goes on from them exactly. `Loop` and `kopt.fit` do this by themselves; in
    Keras' own `model.fit` put this callback first. Weights that somebody has set in between are taken for evaluation
    weights: training goes on from `rule.restore(state, weights)`. With a rule that keeps none it does nothing.

    Args:
        statistics: Inputs, as for `predict`, from which the statistics of BatchNormalization layers are computed again
            for the evaluation weights when training ends; None leaves those of training.

    Raises:
        ValueError: In fit, when the model is not built.

    Example:
        >>> import keras, numpy as np
        >>> from kopt.rules import ScheduleFreeSGD
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        >>> model = keras.Sequential([keras.Input((1,)), layer])
        >>> model.compile(Optimizer(ScheduleFreeSGD(0.5), 0.25), "mse")
        >>> _ = model.fit(np.ones((2, 1)), np.ones((2, 1)), batch_size=1, callbacks=[RuleWeights()], verbose=0)
        >>> float(model.get_weights()[0][0, 0])  # z was 0.5 and 0.75, x is their mean
        0.625

    Source:
        The modes `train` and `eval` of the package schedulefree's optimizers.
    """

    spans_epochs = True
    trace_key = "rule weights"

    def __init__(self, *, statistics: Nest = None):
        super().__init__()
        self.statistics, self.running = statistics, False
        self.weights: WeightsOfRules

    def set_model(self, model: KerasModel) -> None:
        """Make the evaluation weights before the training function is made."""
        self.running = False
        super().set_model(model)

    def build(self, model: KerasModel) -> None:
        """Make the evaluation weights, or take those of an earlier fit."""
        require(has_weights(model), "model", "must be built before its rule's weights are shown", model.name)
        key = "rule weights", holder(model), tuple(map(id, [*rule_optimizers(model), *model.trainable_weights]))
        self.weights = ModelHooks.of(model).make_once(key, lambda: WeightsOfRules(model))
        self.weights.recognize()
        self.arrays = {f"evaluation_{place}": one for place, one in enumerate(self.weights.evaluation.arrays)}

    def on_update(self, update: Update) -> None:
        """Do nothing: the hook is there for checkpoints, which have the arrays of hooks."""

    def require_at_work(self) -> None:
        """Require nothing of the training step."""

    def reinstall(self) -> None:
        """Show the weights of the optimizer that is trained by now."""
        self.weights.hide()
        super().reinstall()

    def on_train_begin(self, logs: Logs = None) -> None:
        self.running = True

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.running = True
        self.weights.hide()

    def on_test_begin(self, logs: Logs = None) -> None:
        if self.running:
            self.weights.show()

    def on_test_end(self, logs: Logs = None) -> None:
        if self.running:
            self.weights.hide()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.weights.show()

    def on_train_end(self, logs: Logs = None) -> None:
        self.close()
        if self.statistics is not None:
            refresh_statistics(self.model, self.statistics)

    def close(self) -> None:
        """Leave the evaluation weights in the model, and nothing in its training step."""
        if self.running:
            self.weights.show()
        self.running = False
        super().close()

    def get_state(self) -> CallbackState:
        return {"running": self.running}

    def set_state(self, state: CallbackState) -> None:
        self.running = state["running"]


class WeightsOfRules:
    """The evaluation weights of the rules that a model is trained by.

    Args:
        model: The compiled model, built.
    """

    def __init__(self, model: KerasModel):
        self.evaluation, self.optimizers = EvaluationWeights(model), rule_optimizers(model)
        self.fill = tf.function(lambda: self._into_arrays(restored=False), autograph=False)
        self.refill = tf.function(lambda: self._into_arrays(restored=True), autograph=False)

    def show(self) -> None:
        """Put the evaluation weights into the model, unless it has them."""
        if not float(self.evaluation.shown) and self.optimizers and all(one.built for one in self.optimizers):
            self.fill()
            self.evaluation.show()
            self.mark(True)

    def hide(self) -> None:
        """Put the weights of training back into the model."""
        if not float(self.evaluation.shown):
            return
        if not all(one.shows_evaluation for one in self.optimizers):
            self.evaluation.forget()  # a fit without this callback has trained the weights that were shown
        elif not self.evaluation.untouched():
            self.refill()
        self.evaluation.hide()
        self.mark(False)

    def mark(self, shown: bool) -> None:
        """Note with each optimizer whether the model has its evaluation weights."""
        for optimizer in self.optimizers:
            optimizer.show_evaluation(shown)

    def recognize(self) -> None:
        """See that a model has evaluation weights whose file Keras has loaded, which drops all but the optimizers'."""
        shown = bool(self.optimizers) and all(one.shows_evaluation for one in self.optimizers)
        if shown and not float(self.evaluation.shown):
            self.evaluation.shown.set(1.0)
            self.evaluation.size.set(-1.0)  # which no weights have: they are taken as set by somebody

    def _into_arrays(self, restored: bool) -> None:
        """Compute the weights that the model is to have next: those of training, or those for evaluation."""
        evaluation = self.evaluation
        arrays = {id(weight): raw(array) for weight, array in zip(evaluation.weights, evaluation.arrays)}
        ruled = {id(weight) for one in self.optimizers for weight in one.trained}
        with evaluation.strategy.scope():
            for weight in evaluation.weights:
                if id(weight) not in ruled:
                    assign = lambda array, value: array.assign(value)
                    update = evaluation.strategy.extended.update
                    update(arrays[id(weight)], assign, args=(raw(weight),), group=False)
            for optimizer in self.optimizers:
                there = {at: arrays[id(one)] for at, one in enumerate(optimizer.trained) if id(one) in arrays}
                self._by_rule(optimizer.restore if restored else optimizer.evaluate, optimizer, there)

    def _by_rule(self, formula: Formula, optimizer: Optimizer, arrays: Mapping[int, Variable]) -> None:
        """Write what a formula makes of an optimizer's weights and state into arrays, by the places of the weights."""
        weights, state = (list(map(raw, some)) for some in (optimizer.trained, optimizer.state_variables))
        count, places = tf.convert_to_tensor(optimizer.iterations), list(arrays)

        def on_device(_: object, arrays: Values, weights: Values, state: Values) -> None:
            now, held = ([tf.convert_to_tensor(one) for one in group] for group in (weights, state))
            found = formula(now, held, count)
            for place, array in zip(places, arrays):
                array.assign(found[place])

        if places:
            arguments = list(arrays.values()), weights, state
            self.evaluation.strategy.extended.update(weights[0], on_device, args=arguments, group=False)


def rule_optimizers(model: KerasModel) -> list[Optimizer]:
    """Return the optimizers of a model whose rules keep evaluation weights."""
    every = [one for one in training_optimizers(model) if isinstance(one, Optimizer)]
    return [one for one in every if one.rule.has_evaluation_weights]


def showing_rules(model: KerasModel, callbacks: Sequence[KerasCallback]) -> list[KerasCallback]:
    """Return callbacks with one before them that shows the evaluation weights of the model's rule, where it keeps any.

    Args:
        model: The compiled model.
        callbacks: The callbacks; one of them may show these weights already.
    """
    needed = bool(rule_optimizers(model)) and not any(isinstance(one, RuleWeights) for one in callbacks)
    return [*([RuleWeights()] if needed else []), *callbacks]
