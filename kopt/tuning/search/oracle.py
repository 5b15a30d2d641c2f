"""StudyOracle: KerasTuner's oracle over an Optuna study, which is all that it knows."""

import dataclasses
import functools
import logging
import math
import os
import time
from collections.abc import Mapping
from typing import Any

import keras_tuner
import optuna
from optuna.trial import TrialState

from kopt.distribute import launched
from kopt.keras_internals.tuning import DrawnHyperParameters
from kopt.tuning.search.locks import Heartbeat
from kopt.tuning.search.records import STATE, RecordedOracle, plain
from kopt.tuning.search.retries import SURPLUS, Lost
from kopt.tuning.space.sampling import DUPLICATE, Sampling
from kopt.tuning.trial.objectives import directions, measured

__all__ = ["StudyOracle"]

log = logging.getLogger("kopt")

WAIT = 0.2  # seconds between looks at trials that other processes run
NOTHING_LEFT = "nothing is left to search: all %d points of the space were begun (duplicates=True runs them again)"
MESSAGE = 4000  # characters of an error that are kept


@dataclasses.dataclass
class Live:
    """A trial that this process runs."""

    trial: optuna.Trial
    start: dict[str, Any]  # values that were enqueued
    hearts: list[Heartbeat]
    reported: set[int]  # steps
    asked: set[str] = dataclasses.field(default_factory=set)
    last: int = 0  # step that a try before, of other data or another model, has reported: no pruner is asked until then
    stopped: str | None = None  # why, when it was stopped before its end


class StudyOracle(RecordedOracle):
    """An oracle whose trials are those of a study: any number of processes share it by its storage.

    KerasTuner's trial ids are Optuna's trial numbers. A hyperparameter is drawn when the model first asks for it.

    Args:
        objective: What `objectives.objectives_of` gives.
        max_trials: How many trials, over all processes; None for no limit.
        study: Where they are.
        lost: Finds those that nobody runs any more.
        max_retries_per_trial: How often a trial that raises is run again, with the same values.
        **settings: Other arguments of `keras_tuner.Oracle`.

    Example:
        >>> import keras_tuner, optuna, tempfile
        >>> from kopt.tuning.search.locks import Place
        >>> from kopt.tuning.space.samplers import sampler_of
        >>> storage = optuna.storages.InMemoryStorage()
        >>> study = optuna.create_study(storage=storage, sampler=sampler_of("random", 0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lost = Lost(study, storage, Place(folder), own=True)
        ...     oracle = StudyOracle(keras_tuner.Objective("loss", "min"), 2, study=study, lost=lost)
        ...     oracle.verbose = 0
        ...     trial = oracle.create_trial("tuner0")
        ...     value = trial.hyperparameters.Float("rate", 0, 1)
        ...     oracle.finish(trial, value)
        ...     oracle.get_best_trials()[0].hyperparameters.values["rate"] == value == study.best_value
        True
    """

    def __init__(
        self,
        objective: Any,
        max_trials: int | None,
        *,
        study: optuna.Study,
        lost: Lost,
        max_retries_per_trial: int = 0,
        **settings: Any,
    ):
        super().__init__(objective, max_trials, max_retries_per_trial=max_retries_per_trial, **settings)
        self.study, self.lost, self.place = study, lost, lost.place
        declared = self.hyperparameters.space
        self.drawing = Sampling(study, self.place, declared, tune_new=self.tune_new_entries)
        self.drawing.definitions.require_objectives(list(directions(self.objective)))
        self.dimension, self.steered = self.drawing.dimension, self.drawing.sampler
        self.ongoing_trials: dict[str, Any] = {}
        self.live: dict[str, Live] = {}
        self.deadline = math.inf  # in time.monotonic()
        self.runs = 0  # that this process has ended

    # ---- a trial begins -----------------------------------------------------------------------------------------

    def create_trial(self, tuner_id: str) -> Any:
        """Begin the next trial; wait while all that is left is run by others, for one of them may be lost."""
        self.hand_back()
        self.drawing.know()
        told = False
        while True:
            with self.place.alone():
                others = self.lost.requeue()
                more = self.lost.waiting() or self.drawing.has_more()
                if more and self.wants_more() and not self.time_is_up():
                    begun = self.lost.ask()
                    if not self.is_surplus(begun):
                        return self.begin(begun, tuner_id)
            if not others or self.time_is_up():
                if not more:
                    log.info(NOTHING_LEFT, len(self.drawing.points.paths()))
                return keras_tuner.engine.trial.Trial(keras_tuner.HyperParameters(), "", "STOPPED")
            if not told:
                log.info("waiting for %d trials that other processes run, for they may be lost", others)
                told = True
            time.sleep(WAIT)

    def wants_more(self) -> bool:
        """Whether the search is not at its end."""
        exhausted = not self.steered.finite and self.study.user_attrs.get("exhausted", False)
        spent = self.lost.counted()
        return not exhausted and (not self.max_trials or len(spent) < self.max_trials)

    def is_surplus(self, begun: optuna.Trial) -> bool:
        """Whether processes of two hosts, which no lock keeps apart, have begun the last trial: the later yields."""
        before = [number for number in self.lost.counted() if number < begun.number]
        if not self.max_trials or len(before) < self.max_trials:
            return False
        begun.set_user_attr(SURPLUS, True)
        self.study.tell(begun, state=TrialState.FAIL)
        return True

    def begin(self, begun: optuna.Trial, tuner_id: str) -> Any:
        self.place.hold(begun.number)
        begun.set_user_attr("where", self.place.name)
        given = begun.user_attrs
        if given.get("tries"):
            self.move_folder(given["tries"][-1], begun.number)
        reported = set(self.lost.trial(begun.number).intermediate_values)
        live = Live(begun, given.get("start", {}), self.lost.hearts(begun.number), reported)
        hp = DrawnHyperParameters(functools.partial(self.drawing.draw, live), self.drawing.declared)
        trial = keras_tuner.engine.trial.Trial(hp, str(begun.number), "RUNNING")
        self.live[trial.trial_id] = live
        self.trials[trial.trial_id] = self.ongoing_trials[tuner_id] = trial
        self.start_order.append(trial.trial_id)
        launched.began_trial()
        self.tell_begin(trial)
        return trial

    def move_folder(self, old: int, new: int) -> None:
        """Give a lost trial's folder to the one that goes on with it."""
        if self.place.trial(old).is_dir() and not self.place.trial(new).exists():
            os.rename(self.place.trial(old), self.place.trial(new))

    # ---- a trial is under way -----------------------------------------------------------------------------------

    def report(self, trial: Any, value: float, step: int) -> bool:
        """Tell a value before the trial's end; True when it should be stopped."""
        live = self.live[trial.trial_id]
        if step not in live.reported:
            if step <= live.last:  # Optuna would keep the value before
                number = self.lost.storage_id(live.trial.number)
                self.lost.storage.set_trial_intermediate_value(number, step, float(value))
            else:
                live.trial.report(float(value), step)
            live.reported.add(step)
        if step >= live.last and live.trial.should_prune():
            live.stopped = "pruned"
        return live.stopped is not None

    def forget_reports(self, trial: Any) -> None:
        """Forget a trial's reports, because it begins anew."""
        live = self.live[trial.trial_id]
        live.last = max(live.reported, default=live.last)
        live.reported.clear()

    def time_is_up(self) -> bool:
        """Whether the search's time is spent."""
        return time.monotonic() >= self.deadline

    def stop(self, trial: Any, why: str | None) -> None:
        """Say why a trial was stopped before its end; None when it was at its end after all."""
        self.live[trial.trial_id].stopped = why

    # ---- a trial ends -------------------------------------------------------------------------------------------

    def finish(self, trial: Any, results: Any) -> None:
        """End a trial with what it returned."""
        self.record(trial, results)
        trial.status = "COMPLETED"
        self.end_trial(trial)

    def record(self, trial: Any, results: Any) -> None:
        """Keep the metrics of what a trial returned."""
        found = measured(results, self.objective)
        metrics = dict(found.metrics)
        metrics.setdefault(self.objective.name, float(self.objective.get_value(metrics)))
        self.update_trial(trial.trial_id, metrics, step=found.epoch)

    def end_trial(self, trial: Any) -> None:
        """Tell the study how a trial ended, and free what it held."""
        live = self.live.pop(trial.trial_id)
        self.ongoing_trials = {who: one for who, one in self.ongoing_trials.items() if one is not trial}
        for heart in live.hearts:
            heart.stop()
        self.update_space(trial.hyperparameters)
        trial.hyperparameters = trial.hyperparameters.copy()  # nothing is drawn for it any more
        self.runs += 1
        if live.stopped == DUPLICATE:
            self.take_back(trial, live)
            return
        self.drawing.collisions = 0
        self.end_order.append(trial.trial_id)
        if never := sorted(set(live.start) - live.asked):
            log.warning(
                "trial %s was given values that its model never asked for: %s", trial.trial_id, ", ".join(never)
            )
        try:
            with self.place.alone():
                self.tell(trial, live)
        except optuna.exceptions.UpdateFinishedTrialError:
            log.warning("trial %s took longer than its heartbeat allows and was begun again elsewhere", trial.trial_id)
        self.place.release(live.trial.number)
        self.tell_end(trial)

    def take_back(self, trial: Any, live: Live) -> None:
        """End a trial for which no point was left, as if it had not been begun."""
        self.drawing.collisions += 1
        with self.place.alone():
            live.trial.set_user_attr(SURPLUS, True)
            self.study.tell(live.trial, state=TrialState.FAIL)
        self.place.release(live.trial.number)
        del self.trials[trial.trial_id]
        self.start_order.remove(trial.trial_id)

    def is_duplicate(self, trial: Any) -> bool:
        """Return whether a trial that is under way found no point that was not run."""
        return self.live[trial.trial_id].stopped == DUPLICATE

    def tell(self, trial: Any, live: Live) -> None:
        state = TrialState.FAIL
        if trial.status == "COMPLETED":
            if trial.metrics.exists(self.objective.name):
                self.score_trial(trial)
                trial.score = float(trial.score)
            state = TrialState.PRUNED if live.stopped else TrialState.COMPLETE
        elif live.stopped == "oversized":
            state = TrialState.PRUNED  # without any value: samplers take it for the worst
        if trial.status == "INVALID":
            again = self.lost.again(live.trial.number, self.max_retries_per_trial, raised=True)
            trial.status = "INVALID" if again else "FAILED"
        if state == TrialState.FAIL or live.stopped == "oversized":
            live.trial.set_user_attr("error", (trial.message or "")[-MESSAGE:])
        if live.stopped:
            live.trial.set_user_attr("stopped", live.stopped)
        live.trial.set_user_attr(STATE, plain(trial.get_state()))
        names = directions(self.objective)
        values = [trial.metrics.get_best_value(name) for name in names] if state == TrialState.COMPLETE else None
        self.study.tell(live.trial, values, state)
        if self.steered.exhausted:
            self.study.set_user_attr("exhausted", True)

    def hand_back(self) -> None:
        """Queue again what this process began and was interrupted in, as by Ctrl-C in a notebook."""
        for number, live in list(self.live.items()):
            for heart in live.hearts:
                heart.stop()
            self.place.drop(live.trial.number)
            del self.live[number]
        self.ongoing_trials.clear()

    # ---- what was found -----------------------------------------------------------------------------------------

    def update_space(self, hyperparameters: Any) -> None:
        """Add to the space what this process' model has asked for."""
        self.drawing.learn(hyperparameters.space)
        super().update_space(hyperparameters)

    def remaining_trials(self) -> int | None:
        """How many trials are still to be begun; None where there is no limit."""
        return max(0, self.max_trials - len(self.lost.counted())) if self.max_trials else None

    def require_same(self, given: Mapping[str, Any]) -> None:
        """Refuse what would make later scores incomparable with those before.

        Args:
            given: Name -> what `definitions.Definitions.require_same` takes.

        Raises:
            ValueError: When one has changed; says from what to what.
        """
        with self.place.alone():
            self.drawing.definitions.require_same(given)
