"""LayerRates: a learning rate for each layer, under one optimizer."""

from collections.abc import Mapping

import tensorflow as tf

from kopt.callbacks.base import registry
from kopt.select import SelectorLike, as_selectors, parameters
from kopt.state.slots import held_slots
from kopt.training.arguments import is_count
from kopt.training.callback import Callback
from kopt.training.steps.installing import holder
from kopt.training.steps.update_hooks import Need, Update
from kopt.values.checks import require
from kopt.values.types import CallbackState, KerasModel, Logs

__all__ = ["LayerRates"]


@registry.register
class LayerRates(Callback):
    """Multiply the learning rate of chosen parameters: discriminative rates, decay by depth, gradual unfreezing.

    parameter <- parameter + multiplier * update, exactly at every update, whatever optimizer, schedule, weight decay
    and `steps_per_execution`; as a parameter group with that learning rate. The multiplier is the first of `rates`
    whose selector holds the parameter, else 1, times depth_decay ** (layers between it and the output). With
    `unfreeze`, a layer stands still until epoch unfreeze * (layers between it and the output). An optimizer's moments
    count gradients of layers that stand still; statistics of BatchNormalization go on there.

    A change of multipliers needs no retrace; they are saved with the optimizer.

    Args:
        rates: Selector, or a pattern of paths such as "base/*" -> multiplier >= 0; 0 freezes.
        depth_decay: The multiplier of each layer in terms of the one after it, in (0, 1].
        unfreeze: Epochs after which one more layer is trained, from the output on, >= 1; None trains all.

    Raises:
        ValueError: When an argument is out of range; in fit, when a selector chooses nothing, the model is not built,
            or its optimizer averages weights (`use_ema`), which it would do before the rates are multiplied.

    Example:
        >>> import keras, numpy as np
        >>> body, head = (keras.layers.Dense(1, name=name, kernel_initializer="ones") for name in ("body", "head"))
        >>> model = keras.Sequential([keras.Input((1,)), body, head])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> rates = LayerRates({"body/*": 0.1})
        >>> _ = model.fit(np.ones((1, 1)), np.zeros((1, 1)), callbacks=[rates], verbose=0)
        >>> [round(float(layer.kernel[0, 0]), 3) for layer in (body, head)]  # both have the gradient 2
        [0.98, 0.8]

    Source:
        Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, 2018, section 3.2; layer-wise
        decay: Clark et al., ELECTRA, 2020.
    """

    needs: frozenset[Need] = frozenset({"before"})
    changes_weights = True
    trace_key = ()  # the multipliers are an array

    def __init__(
        self,
        rates: Mapping[SelectorLike, float] | None = None,
        *,
        depth_decay: float = 1.0,
        unfreeze: int | None = None,
    ):
        super().__init__()
        self.rates = as_selectors(rates or {}, "rates")
        for rate in self.rates.values():
            number = isinstance(rate, (int, float)) and 0 <= rate < float("inf")
            require(number, "rates", "must have finite numbers >= 0 as values", rate)
        require(0 < depth_decay <= 1, "depth_decay", "must be in (0, 1]", depth_decay)
        require(unfreeze is None or is_count(unfreeze), "unfreeze", "must be a whole number >= 1 of epochs", unfreeze)
        self.depth_decay, self.unfreeze = float(depth_decay), unfreeze

    @property
    def spans_epochs(self) -> bool:  # type: ignore[override]
        """Whether Loop may run several epochs in one program: not where epochs unfreeze layers."""
        return self.unfreeze is None

    def set_model(self, model: KerasModel) -> None:
        """Install the multipliers of the first epoch before the training function is made."""
        self.epoch = 0
        super().set_model(model)

    def build(self, model: KerasModel) -> None:
        """Choose the parameters, and make the array of multipliers."""
        averages = any(optimizer.use_ema for optimizer in self.optimizers.values())
        require(not averages, "use_ema", "must be False in an optimizer beside LayerRates", averages)
        for selector in self.rates:
            selector.choose(model)  # refuses one that chooses nothing
        trained = [id(weight) for weight in model.trainable_weights]
        multipliers, self.heights = [1.0] * len(trained), [0] * len(trained)
        for parameter in parameters(model):
            if id(parameter.variable) in trained:
                place, height = trained.index(id(parameter.variable)), parameter.depths - 1 - parameter.depth
                own = next((rate for selector, rate in self.rates.items() if selector.holds(parameter)), 1.0)
                multipliers[place], self.heights[place] = own * self.depth_decay**height, height
        self.multipliers = multipliers
        kept = [tf.TensorSpec([len(trained)], "float32")]
        (array,) = held_slots(holder(model), "kopt_layer_rates", kept).arrays
        self.arrays = {"multipliers": array}
        self.write(self.epoch)

    def on_update(self, update: Update) -> None:
        """Multiply the update of each weight."""
        multipliers = tf.convert_to_tensor(self.arrays["multipliers"])
        for place, (weight, old) in enumerate(zip(update.weights, update.before)):
            new, multiplier = tf.convert_to_tensor(weight), tf.cast(multipliers[place], old.dtype)
            # One stays to the bit, and so does zero, whatever the update was.
            scaled = tf.where(multiplier == 0, old, old + multiplier * (new - old))
            weight.assign(tf.where(multiplier == 1, new, scaled))

    def write(self, epoch: int) -> None:
        """Set the multipliers of an epoch."""
        self.epoch, reached = epoch, len(self.heights) if self.unfreeze is None else epoch // self.unfreeze
        multipliers = zip(self.multipliers, self.heights)
        self.arrays["multipliers"].assign([one if height <= reached else 0.0 for one, height in multipliers])

    def get_state(self) -> CallbackState:
        return {"epoch": self.epoch}

    def set_state(self, state: CallbackState) -> None:
        self.epoch = state["epoch"]

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.write(self.epoch_index(epoch))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.unfreeze is not None:
            self.write(self.epoch_index(epoch) + 1)  # a user's loop may call on_epoch_end alone
