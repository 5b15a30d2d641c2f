"""A Keras model that is given to autotune, as a recipe that starts as it was compiled."""

from collections.abc import Callable

import keras

from kopt.data import Data, arrays
from kopt.experiment.recipe import Recipe, Training
from kopt.models import of_keras
from kopt.optimizers import Optimizer
from kopt.rules import Adam, AdamW, GradientDescent, Momentum, Nesterov, Rule
from kopt.schedules import Constant, Schedule
from kopt.tuning.autotuning.settings import rounded
from kopt.values.checks import require
from kopt.values.types import ArrayLike, Config, KerasModel

NOT_TAKEN = ("amsgrad", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "gradient_accumulation_steps")


def of_adam(config: Config) -> Rule:
    """Return the rule of `keras.optimizers.Adam` or AdamW."""
    numbers = config["beta_1"], config["beta_2"], config["epsilon"]
    return AdamW(*numbers, weight_decay=config["weight_decay"]) if config["weight_decay"] else Adam(*numbers)


def of_sgd(config: Config) -> Rule:
    """Return the rule of `keras.optimizers.SGD`."""
    if not config["momentum"]:
        return GradientDescent()
    return (Nesterov if config["nesterov"] else Momentum)(config["momentum"])


# The Keras optimizers whose rules are kopt's.
RULES: dict[type, Callable[[Config], Rule]] = {
    keras.optimizers.Adam: of_adam,
    keras.optimizers.AdamW: of_adam,
    keras.optimizers.SGD: of_sgd,
}


def recipe_of(
    model: KerasModel, x: ArrayLike | Data, y: ArrayLike | None, epochs: int | None, batch_size: int | None, seed: int
) -> Recipe:
    """Return the recipe of a Keras model and data, which starts from the model's optimizer.

    Args:
        model: The model; not compiled, it starts from Adam at the constant rate 0.001.
        x: Inputs, or a data set of both.
        y: Targets; None for a data set.
        epochs: The epochs of a whole run; None for 20.
        batch_size: The examples of an update; None for 32.
        seed: The seed of weights and order.

    Returns:
        The recipe.

    Raises:
        ValueError: When there are no data, the model was trained, or its optimizer has no rule of kopt's.
    """
    if isinstance(x, Data):
        require(y is None, "y", "must be left out beside a data set", y)
        data: Data = x
    else:
        require(x is not None and y is not None, "x and y", "must be given with a Keras model", None)
        assert x is not None and y is not None
        data = arrays(x, y)
    made = int(keras.ops.convert_to_numpy(model.optimizer.iterations)) if model.compiled else 0
    fresh = "must be untrained, for the runs begin with fresh weights: give keras.models.clone_model(model)"
    require(made == 0, "model", fresh, f"{made} updates")
    rule, schedule = compiled_with(model)
    value = of_keras(model, task=data.task)
    training = Training(epochs=epochs or 20, batch_size=batch_size or 32)
    return Recipe("autotuned", data, model=value, schedule=schedule, rule=rule, training=training, seed=seed)


def compiled_with(model: KerasModel) -> tuple[Rule, Schedule]:
    """Return the rule and the schedule of a model's optimizer."""
    if not model.compiled:
        return Adam(), Constant(1e-3)
    used = model.optimizer
    known = isinstance(used, Optimizer) or type(used) in RULES
    require(known, "model.optimizer", "must be Adam, AdamW, SGD or one of kopt.optimizers", type(used).__name__)
    config, decayed = used.get_config(), type(used) is keras.optimizers.SGD
    changed = [name for name in (*NOT_TAKEN, *["weight_decay"] * decayed) if config.get(name)]
    require(not changed, "model.optimizer", "must leave out what its rule here does not have", ", ".join(changed))
    rule = used.rule if isinstance(used, Optimizer) else RULES[type(used)](config)
    rate = config["learning_rate"]
    require(isinstance(rate, (int, float)), "model.optimizer", "must have a learning rate that is a number", rate)
    return rule, Constant(rounded(rate))
