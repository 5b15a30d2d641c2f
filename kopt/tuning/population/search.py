"""PopulationSearch: a search whose trials are trained together, a batch of them at a time."""

import dataclasses
import logging
import os
from collections.abc import Hashable, Mapping, Sequence

from kopt.experiment.recipe import Recipe
from kopt.keras_internals.tuning import forgetting_gradients
from kopt.tuning.population.members import Template, template_of
from kopt.tuning.population.memory import parts_of
from kopt.tuning.population.population import Population
from kopt.tuning.population.structure import Group, groups_of, live_paths, objection, structure_of
from kopt.tuning.population.trials import TrialPopulation
from kopt.tuning.population.tuners import PopulationTuner
from kopt.tuning.population.unfit import Unfit, becoming_unfit
from kopt.tuning.space.hypermodel import HyperModel
from kopt.tuning.space.seeded import seed_of
from kopt.tuning.trial.outcome import recording
from kopt.tuning.trial.progress import Progress
from kopt.values.types import Argument, FitArgument, TrialOfTuner

__all__ = ["PopulationSearch", "takes_populations"]

log = logging.getLogger("kopt")

ONE_MODEL = ("run_trial", "on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end")  # methods of a tuner
COMPILING = ("distribution_strategy", "optimizer", "loss", "metrics", "max_model_size")  # KerasTuner's settings


class PopulationSearch:
    """Begins a batch of trials, groups their recipes by structure, and trains each group as a population.

    Each trial is one of the study as others are: claimed by its lock, drawn by the sampler, told when its training
    ends.

    Args:
        tuner: The tuner.
        settings: The arguments of `search`.

    Example:
        >>> import tempfile
        >>> from kopt import data, models
        >>> from kopt.experiment.recipe import Training
        >>> from kopt.tuning import Range, Tuner
        >>> model = models.MLP((8, 8, 1), 10, units=(4,), scale=1 / 16)
        >>> digits = Recipe("digits", data.Digits(examples=60), model=model, training=Training(1, batch_size=39))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ranges = {"schedule.rate": Range(0.001, 0.1)}
        ...     tuner = Tuner(HyperModel(digits, ranges), "val_loss", max_trials=2, population=2, directory=folder)
        ...     PopulationSearch(tuner, {"verbose": 0}).run()
        ...     [one.state.name for one in tuner.study.trials]
        ['COMPLETE', 'COMPLETE']
    """

    def __init__(self, tuner: PopulationTuner, settings: Mapping[str, FitArgument]):
        self.tuner, self.oracle, self.settings = tuner, tuner.oracle, settings
        self.templates: dict[Hashable, Template] = {}  # of each structure, for all batches

    def run(self) -> None:
        """Search until no trial is left, as `keras_tuner.Tuner.search` does."""
        if "verbose" in self.settings:
            self.oracle.verbose = self.settings["verbose"]
        self.tuner.on_search_begin()
        while (batch := self.ask()) is not None:
            with forgetting_gradients():
                self.train(batch)
        self.tuner.on_search_end()

    # ---- a batch begins -----------------------------------------------------------------------------------------

    def ask(self) -> list[tuple[TrialOfTuner, Recipe]] | None:
        """Begin up to `population` trials and draw their recipes; return None when the search is at its end.

        The first one waits for trials that other processes run and may lose.
        """
        batch: list[tuple[TrialOfTuner, Recipe]] = []
        for count in range(self.tuner.population or 1):
            self.tuner.pre_create_trial()
            if count == 0:
                trial = self.oracle.create_trial(self.tuner.tuner_id)
                if trial.status == "STOPPED":
                    return None
            else:
                trial, _ = self.oracle.next_trial(f"{self.tuner.tuner_id} {count}")
                if trial is None:
                    break
            self.tuner.on_trial_begin(trial)
            recipe = self.drawn(trial)
            if recipe is not None:
                batch.append((trial, recipe))
        return batch

    def drawn(self, trial: TrialOfTuner) -> Recipe | None:
        """Draw all hyperparameters of a trial, before another one begins; end the trial when that fails."""
        recipe = None
        with recording(self.oracle, trial):
            recipe = self.tuner.hypermodel.space.fill(trial.hyperparameters)
        if recipe is None:
            self.tuner.on_trial_end(trial)
            return None
        assert isinstance(recipe, Recipe)
        trial.status = "RUNNING"
        self.oracle.tell_drawn(trial)
        return recipe

    # ---- a batch is trained -------------------------------------------------------------------------------------

    def train(self, batch: Sequence[tuple[TrialOfTuner, Recipe]]) -> None:
        """Train a batch of trials, each group of one structure together."""
        resumed = [trial for trial, _ in batch if Progress(self.oracle.folder.trial(trial.trial_id)).begun]
        self.train_alone(resumed, "a checkpoint to go on from")
        fresh = [(trial, recipe) for trial, recipe in batch if trial not in resumed]
        for group in groups_of([recipe for _, recipe in fresh]):
            trials = [fresh[place][0] for place in group.places]
            why = objection(group.recipes[0]) if len(trials) > 1 else "a structure of their own"
            if why:
                self.train_alone(trials, why)
                continue
            starts = tuple(self.start(trial) for trial in trials)
            try:
                self.train_together(trials, dataclasses.replace(group, starts=starts))
            except Unfit as error:
                left = [trial for trial in trials if trial.trial_id in self.oracle.live]
                for trial in left:
                    self.oracle.forget_reports(trial)
                self.train_alone(left, str(error))

    def start(self, trial: TrialOfTuner) -> int:
        """Return the seed of a trial's starting values, the one by which its model is built where it runs alone."""
        if self.tuner.seed is None:
            return int.from_bytes(os.urandom(4))
        return seed_of(self.tuner.seed, self.oracle.retries.order(int(trial.trial_id)), 0)

    def train_alone(self, trials: Sequence[TrialOfTuner], why: str) -> None:
        """Train trials one after the other, as a search without populations does."""
        if trials:
            numbers = ", ".join(trial.trial_id for trial in trials)
            log.info("population: trials %s are trained one after the other, for they have %s", numbers, why)
        for trial in trials:
            self.tuner.attempt(trial, **self.settings)
            self.tuner.on_trial_end(trial)

    def train_together(self, trials: Sequence[TrialOfTuner], group: Group) -> None:
        """Train trials of one structure as one program, or as several where the memory asks for them."""
        limit = self.tuner.max_parameters
        with becoming_unfit():
            template = self.template(group.recipes[0])
            parts = parts_of(group, None, template.traced, template.train)
        if limit is not None and template.model.count_params() > limit:
            raise Unfit(f"more than max_parameters = {limit}")
        by_place = dict(zip(group.places, trials, strict=True))
        for part in parts:
            with becoming_unfit():
                paths, planned = self.paths(part.recipes[0]), self.tuner.oracle.max_trials
                population = Population(part, template, paths=paths, size=self.size(template), planned=planned)
            TrialPopulation(self.tuner, [by_place[place] for place in part.places], population).train()

    def paths(self, recipe: Recipe) -> list[str]:
        """Return the numbers that are searched: arguments of a program, also where a batch has the same throughout."""
        searched = tuple(self.tuner.hypermodel.space.ranges)
        within = tuple(f"{path}." for path in searched)
        return [path for path in live_paths(recipe) if path in searched or path.startswith(within)]

    def size(self, template: Template) -> int | None:
        """Return the number of members of the largest program so far, which a smaller batch may be trained by."""
        return max((size for one in template.programs.values() for size in one.sizes), default=None)

    def template(self, recipe: Recipe) -> Template:
        """Return the template of a recipe's structure, built once in a search."""
        kind, hypermodel = structure_of(recipe), self.tuner.hypermodel
        if kind not in self.templates:
            self.templates[kind] = template_of(recipe, hypermodel.splits_of(recipe), None, hypermodel.jit)
        return self.templates[kind]


def takes_populations(tuner: PopulationTuner, args: Sequence[FitArgument], settings: Mapping[str, FitArgument]) -> bool:
    """Return whether the trials of a search can be trained together; the log says why they cannot.

    Args:
        tuner: The tuner.
        args: Positional arguments of `search`.
        settings: Named ones.

    Example:
        >>> import types
        >>> takes_populations(types.SimpleNamespace(hypermodel=lambda hp: None), [], {})
        False
    """
    why = objection_to(tuner, args, settings)
    if why:
        log.info("population: all trials are trained alone, for the search has %s", why)
    return not why


def objection_to(tuner: PopulationTuner, args: Sequence[FitArgument], settings: Mapping[str, FitArgument]) -> str:
    """Return what in a search needs one model for each trial; empty where nothing does."""
    hypermodel, kind = tuner.hypermodel, type(tuner)
    stock = isinstance(hypermodel, HyperModel) and type(hypermodel).build is HyperModel.build
    if not (stock and type(hypermodel).fit is HyperModel.fit and hypermodel.brings_data()):
        return "a hypermodel that is no kopt.tuning.HyperModel over a recipe"
    own = [
        name for name in ONE_MODEL if getattr(kind, name).__module__.partition(".")[0] not in ("kopt", "keras_tuner")
    ]
    there = [name for name in COMPILING if vars(tuner).get(name) is not None]
    others = [name for name in settings if name not in ("callbacks", "verbose")]
    reasons: Mapping[str, Argument] = {
        "folds or executions_per_trial > 1": tuner.executions > 1,
        "callbacks": bool(settings.get("callbacks")),
        f"a tuner with its own {', '.join(own)}": bool(own),
        f"a tuner's {', '.join(there)}": bool(there),
        f"fit's arguments {', '.join(others)}": bool(others or args),
    }
    return ", ".join(name for name, holds in reasons.items() if holds)
