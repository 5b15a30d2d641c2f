"""Tuner: KerasTuner's tuner over an Optuna study, run by as many processes as are started."""

import logging
import math
import os
import pathlib
from collections.abc import Sequence

import keras_tuner
import optuna

from kopt.distribute import launched
from kopt.keras_internals.tuning import TrialTuner, forgetting_gradients
from kopt.training.execute.choices import one_line
from kopt.tuning.importances import Importances
from kopt.tuning.page.live import LivePage
from kopt.tuning.population.ensemble import ensemble_of_trials
from kopt.tuning.population.search import PopulationSearch, takes_populations
from kopt.tuning.report import importances_of, write_report
from kopt.tuning.search.enqueue import enqueue_trial
from kopt.tuning.search.failure_limits import require_few_failures, require_success
from kopt.tuning.search.locks import one_thread
from kopt.tuning.search.meaning import meaning_of, terms_of
from kopt.tuning.search.oracle import StudyOracle
from kopt.tuning.search.study import open_search
from kopt.tuning.space.hypermodel import HyperModel
from kopt.tuning.space.pruners import pruner_of
from kopt.tuning.space.samplers import sampler_of
from kopt.tuning.trial.execution import data_of, execute
from kopt.tuning.trial.input_specs import symbolic
from kopt.tuning.trial.objectives import directions, measured, objectives_of
from kopt.tuning.trial.outcome import recording
from kopt.tuning.trial.progress import Progress, StartAnew, keep_checkpoints
from kopt.tuning.trial.validation import (
    require_copyable,
    require_counts,
    require_finite,
    require_kinds,
    require_trainable,
)
from kopt.values import collector, types
from kopt.values.checks import is_whole, require
from kopt.values.durations import seconds_of
from kopt.values.places import as_path, inside

__all__ = ["Tuner"]

log = logging.getLogger("kopt")

SPACE_SETTINGS = ("hyperparameters", "tune_new_entries", "allow_new_entries")
ORACLE_SETTINGS = (*SPACE_SETTINGS, "max_retries_per_trial", "max_consecutive_failed_trials")


class Tuner(TrialTuner):
    """A `keras_tuner.Tuner` whose search is an Optuna study: samplers, pruners, and any number of processes.

    Hypermodels, `build(hp)` functions, `run_trial` and the other methods are KerasTuner's. A hyperparameter is drawn
    when the model first asks for it, so what is recorded is what ran. Run the script in several processes (or by
    `python -m kopt launch --tuners 4 search.py`) and they share the search; when one is killed, another process goes
    on with its trial. Needs a system with flock: Linux or macOS.

    Args:
        hypermodel: A function or a `keras_tuner.HyperModel`; None where a subclass has its own `run_trial`.
        objective: A metric's name, a `keras_tuner.Objective`, or several of them for a Pareto front.
        max_trials: How many trials over all processes and runs of the script, >= 1; None where `timeout` is the limit.
        timeout: Seconds or "2h" after which no trial begins, and those that run stop at the end of their epoch; from
            the call of `search`, or from the launch, by a monotonic clock.
        sampler: As for `samplers.sampler_of`: "tpe", "gp", "cma", "random", "grid", "qmc" or an Optuna sampler.
        pruner: As for `pruners.pruner_of`: "asha", "hyperband", "median", "wilcoxon", an Optuna pruner or None.
        storage: None for a journal file in the folder, another journal's path, or a database's URL.
        folds: How many folds a trial is trained on, >= 1; 1 for `validation_data`. `search(..., groups=)` keeps the
            examples of a group together.
        executions_per_trial: How many models are trained for a trial, >= 1, on each fold.
        keep: How many trials' checkpoints stay on the disk, >= 0.
        population: How many trials of a search over a recipe are trained at once, >= 2: those that differ in numbers
            and seeds alone as one program, each with the scores that it has alone. What cannot be trained so is
            trained alone, and the log says why: docs/populations.md. None for one after the other.
        max_parameters: Models with more are not trained; None for no limit.
        duplicates: Whether a point of a finite space may be run again, which shows how much of a score is chance. Else
            a point that was run, or failed, is not drawn again, and the search ends when no point is left.
        seed: Seed of the draws, the folds and each model's start, >= 0; None for a new one each time.
        directory: The folder of searches.
        project_name: The search's folder in it, which it may not leave, and the study's name.
        overwrite: Whether to begin anew instead of going on.
        **settings: Other arguments of KerasTuner's Tuner and Oracle: `hyperparameters`, `tune_new_entries`,
            `allow_new_entries`, `max_retries_per_trial`, `max_consecutive_failed_trials` (None, its default here, for a
            search that ends when all trials fail), `distribution_strategy` and so on.

    Raises:
        ValueError: When an argument is out of range, the objective's direction is not known, a range is empty, or the
            storage cannot be reached; before anything is trained.

    Example:
        >>> import keras, numpy as np, tempfile
        >>> def build(hp):
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        ...     model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 1, sampling="log")), "mse")
        ...     return model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tuner = Tuner(build, "val_loss", max_trials=3, directory=folder)
        ...     tuner.search(np.eye(2), np.ones((2, 1)), validation_data=(np.eye(2), np.ones((2, 1))), verbose=0)
        ...     len(tuner.study.trials), tuner.study.best_value == tuner.oracle.get_best_trials()[0].score
        (3, True)

    Source:
        KerasTuner's Tuner; Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, 2019.
    """

    def __init__(
        self,
        hypermodel: types.HyperModelLike = None,
        objective: types.Objective | str | Sequence[types.Objective | str] | None = None,
        max_trials: int | None = 10,
        *,
        timeout: float | str | None = None,
        sampler: str | optuna.samplers.BaseSampler = "tpe",
        pruner: str | optuna.pruners.BasePruner | None = None,
        storage: str | os.PathLike[str] | optuna.storages.BaseStorage | None = None,
        folds: int = 1,
        executions_per_trial: int = 1,
        keep: int = 3,
        population: int | None = None,
        max_parameters: int | None = None,
        duplicates: bool = False,
        seed: int | None = 0,
        directory: str | os.PathLike[str] | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        **settings: object,
    ):
        given = {name: value for name, value in locals().items() if name != "settings"} | settings
        require_kinds(given)
        require_counts(given)
        trains = hypermodel is not None or type(self).run_trial is not Tuner.run_trial
        require(trains, "hypermodel", "must be given where run_trial is not one's own", hypermodel)
        self.timeout = math.inf if timeout is None else seconds_of(timeout, "timeout")
        require(max_trials is not None or timeout is not None, "max_trials", "must be set without a timeout", None)
        self.folds, self.keep, self.max_parameters, self.seed = folds, keep, max_parameters, seed
        self.executions, self.population = folds * executions_per_trial, population
        chosen = objectives_of(objective)
        several = len(chosen) if isinstance(chosen, list) else 1
        drawn = int.from_bytes(os.urandom(4)) if seed is None else seed
        sampling = sampler_of(sampler, drawn, objectives=several, duplicates=duplicates)
        pruning = pruner_of(pruner, objectives=several, executions=self.executions)
        name = project_name or "untitled_project"
        directory = as_path(directory or ".", "directory")
        retries = open_search(
            inside(directory, name, "project_name"), storage, name, chosen, sampling, pruning, overwrite=overwrite
        )
        for_oracle: types.Config = {key: settings.pop(key) for key in ORACLE_SETTINGS if key in settings}
        for_oracle.setdefault("max_consecutive_failed_trials", None)
        oracle = StudyOracle(chosen, max_trials, retries=retries, seed=seed, **for_oracle)
        settings |= {"directory": directory, "project_name": name, "executions_per_trial": executions_per_trial}
        super().__init__(oracle, hypermodel, **settings)
        self.oracle.reload()

    @property
    def study(self) -> optuna.Study:
        """The Optuna study of all trials of all processes, for Optuna's plots and its dashboard."""
        return self.oracle.study

    def enqueue(self, **values: types.Json) -> None:
        """Queue a trial with known-good values before all that are drawn; what they leave out is drawn.

        Raises:
            ValueError: When the model does not ask for a name, or not for such a value.
        """
        enqueue_trial(self, values)

    @one_thread()
    def search(self, *args: types.FitArgument, **kwargs: types.FitArgument) -> None:
        """Search, with the arguments of `model.fit`, and `groups=` for folds; see `keras_tuner.Tuner.search`.

        Raises:
            ValueError: When data do not fit each other or the folds, the objective is not reported, a callback cannot
                be copied, or what decides a score (data, epochs, folds, executions, seed, precision, the fields of a
                recipe that are not searched) is not as in the trials before; before anything is trained.
            RuntimeError: When all trials fail; shows the error of the first one.
            KeyboardInterrupt: After Ctrl-C, with one sentence in the log and, from a script, no traceback.
        """
        self.oracle.deadline = launched.clock_start() + self.timeout
        callbacks = kwargs.get("callbacks") or []
        require_copyable(callbacks)
        groups = kwargs.get("groups")
        require(groups is None or self.folds > 1, "groups", "must be None without folds", type(groups).__name__)
        if self.trains_itself():
            require_trainable(self, args, kwargs, callbacks)
        if self.oracle.sampler.finite:
            require_finite(self.oracle.get_space().space)
        self.oracle.require_same(meaning_of(self, args, kwargs))
        # After an interruption another process may go on with the trial. KerasTuner collects garbage twice a trial.
        with one_line(), self.oracle.handing_back(), collector.frozen():
            if self.population is not None and takes_populations(self, args, kwargs):
                PopulationSearch(self, kwargs).run()
            else:
                super().search(*args, **kwargs)
        require_success(self.study)

    def trains_itself(self) -> bool:
        """Return whether a trial calls KerasTuner's `fit` or kopt's, whose results are known before it runs."""
        stock = (keras_tuner.HyperModel.fit, HyperModel.fit)
        return type(self).run_trial is Tuner.run_trial and type(self.hypermodel).fit in stock

    # ---- one trial ----------------------------------------------------------------------------------------------

    def attempt(self, trial: types.TrialOfTuner, *args: types.FitArgument, **kwargs: types.FitArgument) -> None:
        """Run a trial; record what the trial raises, and go on with the search."""
        with recording(self.oracle, trial):
            with forgetting_gradients():
                results = self.run_trial(trial, *args, **kwargs)
            if results is not None or not trial.metrics.exists(self.oracle.objective.name):
                self.oracle.record(trial, results)

    def run_trial(
        self, trial: types.TrialOfTuner, *args: types.FitArgument, **kwargs: types.FitArgument
    ) -> types.TrialResults:
        """Train a trial's models, one for each fold and execution; the pruner may stop the trial between two models."""
        callbacks = kwargs.pop("callbacks", None) or []
        progress = Progress(self.oracle.folder.trial(trial.trial_id))
        changed = progress.changed(terms_of(self, args, kwargs))
        if progress.fault or changed:
            self.begin_anew(trial, progress, progress.fault or f"other {', '.join(changed)}")
        try:
            return self.executed(trial, progress, callbacks, args, kwargs)
        except StartAnew as why:
            self.begin_anew(trial, progress, str(why))
            return self.executed(trial, progress, callbacks, args, kwargs)

    def begin_anew(self, trial: types.TrialOfTuner, progress: Progress, why: str) -> None:
        """Discard a trial's progress, so that numbers of two kinds are not mixed."""
        log.warning("trial %s begins anew: %s", trial.trial_id, why)
        progress.restart()
        self.oracle.forget_reports(trial)

    def executed(
        self,
        trial: types.TrialOfTuner,
        progress: Progress,
        callbacks: Sequence[types.KerasCallback],
        args: Sequence[types.FitArgument],
        kwargs: types.Config,
    ) -> list[types.TrialResults]:
        """Train those of a trial's models that are not trained yet; return the results of all."""
        results: list[types.TrialResults] = list(progress.finished)
        for execution in range(len(results), self.executions):
            data, named = data_of(self, execution, args, kwargs)
            results.append(execute(self, trial, execution, progress, callbacks, data, named))
            if self.executions > 1:
                found = measured(results[-1], self.oracle.objective)
                progress.end_execution(found.metrics)
                if execution + 1 < self.executions and self.stops(trial, execution, found.metrics):
                    break
        return results

    def on_epoch_end(
        self, trial: types.TrialOfTuner, model: types.KerasModel, epoch: int, logs: types.Logs = None
    ) -> None:
        """Report an epoch to the pruner; stop the training when the pruner decides so, or when the time is up."""
        if self.stops(trial, epoch, logs or {}, measured_now=self.executions == 1):
            model.stop_training = True

    def stops(self, trial: types.TrialOfTuner, step: int, metrics: types.Logs, *, measured_now: bool = True) -> bool:
        """Return whether a trial should be stopped after an epoch, or after one of its executions."""
        if self.oracle.time_is_up():
            self.oracle.stop(trial, "timeout")
            return True
        names = directions(self.oracle.objective)
        if not measured_now or len(names) > 1 or not self.oracle.objective.has_value(metrics):
            return False
        return self.oracle.report(trial, self.oracle.objective.get_value(metrics), step + 1)

    def on_trial_end(self, trial: types.TrialOfTuner) -> None:
        """End a trial in the study, and remove the checkpoints of all but the `keep` best trials."""
        if trial.status == "INVALID":
            Progress(self.oracle.folder.trial(trial.trial_id)).end()  # the next try begins anew
        super().on_trial_end(trial)
        Progress(self.oracle.folder.trial(trial.trial_id)).end()
        with self.oracle.folder.alone():
            self.keep_checkpoints()
        require_few_failures(self.study, self.oracle.max_consecutive_failed_trials)
        if not self.oracle.live:  # of a population, others are still to be told
            launched.may_leave(self.oracle.runs)

    def keep_checkpoints(self) -> None:
        """Keep the checkpoints of the best trials, and those of lost trials for the tries that go on with them."""
        counted = set(self.oracle.retries.counted())
        ended = [number for number in self.oracle.ended() if int(number) in counted]
        scored = {number for number, trial in self.oracle.trials.items() if trial.score is not None}
        best = [number for number in ended[: self.keep] if number in scored]
        keep_checkpoints(self.oracle.folder.path, ended, best)

    # ---- what was found -----------------------------------------------------------------------------------------

    def load_model(self, trial: types.TrialOfTuner) -> types.KerasModel:
        """Build a trial's model, with the weights of its best epoch.

        Raises:
            ValueError: When the trial's checkpoint was not kept; or when a model without an Input cannot be built,
                because it was trained on a generator or a similar source.
        """
        there = pathlib.Path(self.checkpoint_file(trial.trial_id)).exists()
        rule = f"must be one of the keep = {self.keep} best, whose checkpoints are kept in this folder"
        rule += ", trained with the callbacks that `fit` was given"
        require(there, "trial", rule, trial.trial_id)
        return self.loaded(trial.trial_id, trial.hyperparameters, symbolic)

    def ensemble(self, best: int = 3) -> types.KerasModel:
        """Build one Keras model of the best trials of a search over a recipe: it averages their outputs.

        output(x) = the mean over trials of trial(x): of probabilities where the outputs are choices. It is made of
        Keras' own layers, from raw inputs, and is not compiled, as `population.ensemble` is for members.

        Args:
            best: How many trials, from 1 to `keep`; all when fewer have a score.

        Returns:
            The model.

        Raises:
            ValueError: When `best` is out of range, the search is not over a recipe, its trials differ in their data
                or are of folds, none has a score, or a checkpoint was not kept.
        """
        require(
            is_whole(best) and 1 <= best <= self.keep,
            "best",
            f"must be a whole number from 1 to keep = {self.keep}",
            best,
        )
        require(self.folds == 1, "folds", "must be 1 for an ensemble, whose trials have the same examples", self.folds)
        return ensemble_of_trials(self.hypermodel, self.oracle.get_best_trials(best), self.load_model)

    def importances(self) -> Importances:
        """Return how much of the difference between trials each hyperparameter explains, the greatest share first.

        The shares sum to 1. With several objectives they are those of the first one.

        Raises:
            ValueError: When fewer than two trials are complete.
        """
        return importances_of(self.study)

    def report(self, *, live: bool = False) -> pathlib.Path:
        """Write report.html, a page that needs no network, to the search's folder; `live`, again while it searches.

        Raises:
            ValueError: When no trial is complete, and it is not live.
        """
        self.oracle.on_change = LivePage(self.oracle) if live else self.oracle.on_change
        return write_report(self.oracle, live=live, empty=live)
