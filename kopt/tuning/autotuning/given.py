"""A Keras model that is given to autotune, as a recipe that starts as it was compiled."""

from collections.abc import Callable

import keras

from kopt.data import Data, arrays
from kopt.experiment.recipe import Recipe, Training
from kopt.models import of_keras
from kopt.optimizers import Optimizer
from kopt.rules import Adam, AdamW, GradientDescent, Momentum, Nesterov, Rule
from kopt.schedules import Constant, Schedule
from kopt.tasks.task import Task, loss_of
from kopt.tuning.autotuning.settings import rounded
from kopt.values.checks import require
from kopt.values.types import Argument, ArrayLike, Config, KerasModel, Tensor

# The losses by which runs train, by task, each with its function; those of classes are one loss of unlike outputs.
LOSSES: dict[Task, dict[type[keras.losses.Loss], Callable[..., Tensor]]] = {
    "classification": {
        keras.losses.SparseCategoricalCrossentropy: keras.losses.sparse_categorical_crossentropy,
        keras.losses.CategoricalCrossentropy: keras.losses.categorical_crossentropy,
        keras.losses.BinaryCrossentropy: keras.losses.binary_crossentropy,
    },
    "regression": {keras.losses.MeanSquaredError: keras.losses.mean_squared_error},
    "forecast": {keras.losses.MeanAbsoluteError: keras.losses.mean_absolute_error},
}
UNLIKE = ("name", "dtype", "from_logits")  # settings of a loss for the same outputs
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
        ValueError: When there are no data, the model was trained, its loss is not that of the task, or its optimizer
            has no rule of kopt's.
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
    training = Training(20 if epochs is None else epochs, 32 if batch_size is None else batch_size)
    rule, schedule = compiled_with(model)
    value = of_keras(model, task=data.task)
    require_loss(model, data.task)
    return Recipe("autotuned", data, model=value, schedule=schedule, rule=rule, training=training, seed=seed)


def require_loss(model: KerasModel, task: Task) -> None:
    """Raise ValueError when a model is compiled with another loss than that by which the runs of a task train."""
    if not model.compiled or model.loss is None or task not in LOSSES:
        return
    known, given = LOSSES[task], keras.tree.flatten(model.loss)
    names = " or ".join(kind.__name__ for kind in known)
    said = f"must be {names} with its defaults for {task}, by which the runs train"
    said += " (data.arrays(x, y, task='forecast') trains by MeanAbsoluteError)" * (task == "regression")
    plain = [*(kind() for kind in known), loss_of(task)]
    same = [*known.values(), *map(settings_of, plain)]
    require(all(settings_of(keras.losses.get(loss)) in same for loss in given), "model.loss", said, model.loss)


def settings_of(loss: Argument) -> Config | Callable[..., Tensor]:
    """Return the kind of a loss and its settings for the outputs that it takes; a function as it is."""
    if not isinstance(loss, keras.losses.Loss):
        return loss
    return {"kind": type(loss)} | {name: value for name, value in loss.get_config().items() if name not in UNLIKE}


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
