"""TrialPopulation: the trials that one population trains, reported, pruned and told between epochs."""

from collections.abc import Sequence

import keras
import numpy as np
from optuna.trial import TrialState

from kopt import distribute
from kopt.experiment.run import build
from kopt.tuning.population.best import BestEpochs
from kopt.tuning.population.members import with_values
from kopt.tuning.population.population import Population
from kopt.tuning.population.tuners import PopulationTuner
from kopt.tuning.population.unfit import becoming_unfit
from kopt.tuning.trial.checkpoints import write_best
from kopt.tuning.trial.objectives import directions
from kopt.tuning.trial.outcome import recording
from kopt.values.types import KerasModel, TrialOfTuner

__all__ = ["TrialPopulation"]


class TrialPopulation:
    """The trials that one population trains.

    Args:
        tuner: The tuner, whose pruner and time stop trials.
        trials: KerasTuner's trials, one a member.
        population: The members at their start.

    Example:
        >>> import keras_tuner, types
        >>> from kopt import data, Recipe
        >>> oracle = types.SimpleNamespace(objective=keras_tuner.Objective("val_loss", "min"))
        >>> members = types.SimpleNamespace(group=types.SimpleNamespace(recipes=[Recipe("digits", data.Digits())]))
        >>> TrialPopulation(types.SimpleNamespace(oracle=oracle), [], members).best.sign
        -1.0
    """

    def __init__(self, tuner: PopulationTuner, trials: Sequence[TrialOfTuner], population: Population):
        self.tuner, self.trials, self.population = tuner, trials, population
        self.objective = tuner.oracle.objective
        self.counts = "parameters" in directions(self.objective)
        self.best = BestEpochs(population.group.recipes, self.objective.direction)
        self.writer: KerasModel | None = None

    def train(self) -> None:
        """Train all trials to their end; tell each to the study when its training ends."""
        population, epochs = self.population, self.population.recipe.training.epochs
        while population.alive:
            with becoming_unfit():
                population.run_epoch()
                self.keep_best()
            last = population.epoch == epochs
            ended = {member for member in population.alive if self.report(member) or last}
            ended |= set(population.stopping())
            population.stop(ended)
            for member in sorted(ended):
                self.tell(member)

    def keep_best(self) -> None:
        """Keep the weights of the members whose objective is better than at the epochs before."""
        members = list(self.population.alive)
        if self.counts:
            parameters = float(self.population.template.model.count_params())
            for member in members:
                self.population.histories[member].setdefault("parameters", []).append(parameters)
        named = [self.logs(member) for member in members]
        scores = [self.objective.get_value(logs) if self.objective.has_value(logs) else np.nan for logs in named]
        finite = np.where(np.isfinite(scores), scores, np.nan)
        self.best.take(members, finite, self.population.evaluated())

    def logs(self, member: int) -> dict[str, float]:
        """Return a member's logs of the last epoch."""
        return {name: values[-1] for name, values in self.population.histories[member].items()}

    def report(self, member: int) -> bool:
        """Report a member's last epoch to the pruner; return whether the pruner or the time stops the trial."""
        trial, epoch = self.trials[member], self.population.epoch
        stops = self.tuner.stops(trial, epoch - 1, self.logs(member))
        if epoch == self.population.recipe.training.epochs:
            self.tuner.oracle.stop(trial, None)  # a trial that reached its last epoch was not stopped
        return stops

    # ---- a trial ends -------------------------------------------------------------------------------------------

    def tell(self, member: int) -> None:
        """Record a member's history as its trial's result, write its checkpoint, and end the trial."""
        trial, history = self.trials[member], keras.callbacks.History()
        history.history = self.population.histories[member]
        with recording(self.tuner.oracle, trial):
            self.tuner.oracle.record(trial, history)
            if self.may_be_kept(trial):
                self.write(member)
        self.tuner.on_trial_end(trial)

    def may_be_kept(self, trial: TrialOfTuner) -> bool:
        """Return whether fewer than `keep` trials are complete that are better than a trial."""
        if len(directions(self.objective)) > 1:
            return self.tuner.keep > 0
        own = trial.metrics.get_best_value(self.objective.name)
        ended = self.tuner.oracle.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return sum(bool(self.objective.better_than(one.value, own)) for one in ended) < self.tuner.keep

    def write(self, member: int) -> None:
        """Write the checkpoint of a trial, from which `load_model` loads its best epoch."""
        population, number = self.population, self.trials[member].trial_id
        if self.writer is None:
            recipe, splits = population.recipe, population.template.splits
            self.writer = build(recipe, splits, distribute.strategy(recipe.devices))
        write_best(with_values(self.writer, self.best.values(member)), self.tuner.oracle.folder.trial(number))
        self.tuner.save_build(number, self.writer, None)
