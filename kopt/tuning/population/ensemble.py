"""ensemble(runs): the best members as one Keras model that averages their outputs."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from kopt.experiment.inference import in_plain_keras, inference_copy, renamed
from kopt.experiment.recipe import Recipe
from kopt.report import Run
from kopt.tasks.task import Task
from kopt.tuning.population.member_run import Member
from kopt.tuning.space.hypermodel import HyperModel
from kopt.values.checks import is_whole, require
from kopt.values.types import HyperModelLike, KerasModel, TrialOfTuner

__all__ = ["averaged", "ensemble", "ensemble_of_trials"]


def ensemble(runs: Sequence[Run], best: int = 5) -> keras.Model:
    """Build one Keras model of the best members of a population: it averages their outputs.

    output(x) = the mean over members of member(x): of probabilities where the outputs are choices. The best are those
    whose trained weights have the best score on the validation split. The model is made of Keras' own layers, so that
    Keras loads its file where kopt is not installed; it takes raw inputs as the recipe's `inference.keras` does, and
    is not compiled.

    Args:
        runs: Runs that `train`, `repeat` or `evolve` returned, of one task and data.
        best: How many of them, >= 1; all when there are fewer.

    Returns:
        The model.

    Raises:
        ValueError: When a run is none of a population, or they are of different data.

    Example:
        >>> from kopt import data, models
        >>> from kopt.experiment.recipe import Training
        >>> from kopt.tuning.population import repeat
        >>> model = models.MLP((8, 8, 1), 10, units=(8,), scale=1 / 16)
        >>> small = Recipe("digits", data.Digits(examples=60), model=model, training=Training(epochs=2))
        >>> ensemble(repeat(small, 3, jit=False).runs, best=2).output_shape
        (None, 10)

    Source:
        Lakshminarayanan, Pritzel and Blundell, Simple and Scalable Predictive Uncertainty Estimation Using Deep
        Ensembles, 2017.
    """
    require(len(runs) >= 1, "runs", "must be one or more", len(runs))
    require(is_whole(best) and best >= 1, "best", "must be a whole number >= 1", best)
    members = [run for run in runs if isinstance(run, Member)]
    require(len(members) == len(runs), "runs", "must be of a population", [type(run).__name__ for run in runs])
    recipes = [recipe_of(member) for member in members]
    first = recipes[0].data
    require(all(recipe.data == first for recipe in recipes), "runs", f"must be on the same data, {first!r}", len(runs))
    sign = -1.0 if first.direction == "max" else 1.0
    scores = [sign * member.validation for member in members]
    ranked = sorted(range(len(members)), key=lambda place: (np.isnan(scores[place]), scores[place]))
    chosen = [members[place] for place in ranked[:best]]
    return averaged([member.model() for member in chosen], [member.encoder for member in chosen], first.task)


def ensemble_of_trials(
    hypermodel: HyperModelLike, trials: Sequence[TrialOfTuner], load: Callable[[TrialOfTuner], KerasModel]
) -> KerasModel:
    """Build one Keras model of trials of a search over a recipe, as `ensemble` does of members.

    Args:
        hypermodel: That of the search.
        trials: The trials, one or more.
        load: Returns a trial's trained model.

    Returns:
        The model.

    Raises:
        ValueError: When the search is not over a recipe, its trials differ in their data, or there is none.

    Example:
        >>> ensemble_of_trials(None, [], print)
        Traceback (most recent call last):
        ValueError: ensemble() must be of a search over a recipe, got 'NoneType'.

    Source:
        As for `ensemble`: Lakshminarayanan, Pritzel and Blundell, 2017.
    """
    over = isinstance(hypermodel, HyperModel) and hypermodel.brings_data()
    require(over, "ensemble()", "must be of a search over a recipe", type(hypermodel).__name__)
    require(len(trials) >= 1, "ensemble()", "must be of one or more trials with a score", len(trials))
    recipes = [hypermodel.space.fill(trial.hyperparameters) for trial in trials]
    first = recipes[0].data
    same = all(recipe.data == first for recipe in recipes)
    require(same, "ensemble()", f"must be of trials on the same data, {first!r}", [one.data for one in recipes])
    return averaged([load(one) for one in trials], [hypermodel.encoded(one)[0] for one in recipes], first.task)


def averaged(networks: Sequence[keras.Model], encoders: Sequence[keras.Model | None], task: Task) -> keras.Model:
    """Build one Keras model that averages the outputs of networks.

    Args:
        networks: The trained networks, one or more, of the same raw inputs and outputs.
        encoders: The encoder of each one's raw inputs, or None; an encoder that several share encodes once.
        task: The task, as for `inference_copy`.

    Returns:
        The model of Keras' own layers, from raw inputs; not compiled.

    Example:
        >>> networks = [keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]) for _ in range(2)]
        >>> averaged(networks, [None, None], "regression").output_shape
        (None, 3)

    Source:
        Lakshminarayanan, Pritzel and Blundell, Simple and Scalable Predictive Uncertainty Estimation Using Deep
        Ensembles, 2017.
    """
    given = networks[0].inputs[0] if encoders[0] is None else encoders[0].input
    raw = keras.tree.map_structure(lambda one: keras.Input(one.shape[1:], dtype=one.dtype, name=one.name), given)
    # Once each: of two models that share layers, Keras would save those of the first one alone.
    distinct = {id(one): one for one in encoders}
    encoded = {
        key: raw if one is None else renamed(in_plain_keras(one), f"encoder_{place}")(raw)
        for place, (key, one) in enumerate(distinct.items())
    }
    outputs = [
        renamed(inference_copy(network, None, task), f"member_{place}")(encoded[id(encoder)])
        for place, (network, encoder) in enumerate(zip(networks, encoders, strict=True))
    ]
    mean = keras.layers.Average(name="mean", dtype="float32")(outputs) if len(outputs) > 1 else outputs[0]
    return keras.Model(raw, mean, name="ensemble")


def recipe_of(member: Member) -> Recipe:
    """Return the recipe of a member."""
    recipe = member.recipe
    assert isinstance(recipe, Recipe)
    return recipe
