"""StudyOracle: KerasTuner's oracle whose whole state is an Optuna study."""

import contextlib
import functools
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping

import keras_tuner
import optuna
from optuna.trial import TrialState

from kopt.distribute import launched
from kopt.keras_internals.tuning import DrawnHyperParameters
from kopt.training.signals import interrupted
from kopt.tuning.search.records import StudyRecord, TrialRecord
from kopt.tuning.search.retries import Retries
from kopt.tuning.search.trials import RecordedOracle, RunningTrial
from kopt.tuning.space.sampling import DUPLICATE, Sampling
from kopt.tuning.trial.objectives import directions, measured
from kopt.values.types import HyperParameters, Json, Objective, TrialOfTuner, TrialResults

__all__ = ["StudyOracle"]

log = logging.getLogger("kopt")

WAIT = 0.2  # seconds between two checks of trials that other processes run
NOTHING_LEFT = "nothing is left to search: all %d points of the space were begun (duplicates=True runs them again)"
MESSAGE = 4000  # characters of an error that are kept


def unwatched(*, ended: bool = False) -> None:
    """Do nothing: nobody watches the search."""


class StudyOracle(RecordedOracle):
    """An oracle whose trials are those of a study, which any number of processes share by its storage.

    KerasTuner's trial ids are Optuna's trial numbers. A hyperparameter is drawn when the model first asks for it.

    Args:
        objective: What `objectives.objectives_of` returns.
        max_trials: How many trials to run, over all processes; None for no limit.
        retries: Begins and requeues the trials of the study.
        max_retries_per_trial: How often a trial that raises is run again, with the same values.
        **settings: Other arguments of `keras_tuner.Oracle`.

    Example:
        >>> import keras_tuner, tempfile
        >>> from kopt.tuning.search.study import open_search
        >>> from kopt.tuning.space.samplers import sampler_of
        >>> objective = keras_tuner.Objective("loss", "min")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     retries = open_search(folder, None, "digits", objective, sampler_of("random", 0), None)
        ...     oracle = StudyOracle(objective, 2, retries=retries)
        ...     oracle.verbose = 0
        ...     trial = oracle.create_trial("tuner0")
        ...     value = trial.hyperparameters.Float("rate", 0, 1)
        ...     oracle.finish(trial, value)
        ...     oracle.get_best_trials()[0].hyperparameters.values["rate"] == value == oracle.study.best_value
        True
    """

    def __init__(
        self,
        objective: Objective | list[Objective] | None,
        max_trials: int | None,
        *,
        retries: Retries,
        max_retries_per_trial: int = 0,
        **settings: object,
    ):
        super().__init__(objective, max_trials, max_retries_per_trial=max_retries_per_trial, **settings)
        self.study, self.retries, self.folder = retries.study, retries, retries.folder
        declared = self.hyperparameters.space
        self.sampling = Sampling(self.study, self.folder, declared, tune_new=self.tune_new_entries)
        self.sampling.schema.require_objectives(list(directions(self.objective)))
        self.dimension, self.sampler = self.sampling.dimension, self.sampling.sampler
        self.ongoing_trials: dict[str, TrialOfTuner] = {}
        self.live: dict[str, RunningTrial] = {}
        self.deadline = math.inf  # in time.monotonic()
        self.runs = 0  # trials that this process has ended
        self.on_change: Callable[..., None] = unwatched  # called after each event, and with ended=True at the end

    # ---- a trial begins -----------------------------------------------------------------------------------------

    def create_trial(self, tuner_id: str) -> TrialOfTuner:
        """Begin the next trial; wait while other processes run all that are left, for one of those may be lost."""
        self.hand_back()
        self.sampling.know()
        logged = False
        while True:
            trial, others = self.next_trial(tuner_id)
            if trial is not None:
                return trial
            if not others or self.time_is_up():
                if not self.has_more():
                    log.info(NOTHING_LEFT, len(self.sampling.points.paths()))
                return keras_tuner.engine.trial.Trial(keras_tuner.HyperParameters(), "", "STOPPED")
            if not logged:
                log.info("waiting for %d trials that other processes run, for they may be lost", others)
                logged = True
            time.sleep(WAIT)

    def next_trial(self, tuner_id: str) -> tuple[TrialOfTuner | None, int]:
        """Begin the next trial, beside those of this process; return it, if any, and how many may be lost."""
        with self.folder.alone():
            others = self.retries.requeue()
            if self.has_more() and self.wants_more() and not self.time_is_up():
                begun = self.retries.ask()
                if not self.is_surplus(begun):
                    return self.begin(begun, tuner_id), others
        return None, others

    def has_more(self) -> bool:
        """Return whether a trial is queued, or a point is left to be run."""
        return self.retries.waiting() or self.sampling.has_more()

    def wants_more(self) -> bool:
        """Return whether the search is not at its end."""
        exhausted = not self.sampler.finite and StudyRecord.of(self.study).exhausted
        spent = self.retries.counted()
        return not exhausted and (not self.max_trials or len(spent) < self.max_trials)

    def is_surplus(self, begun: optuna.Trial) -> bool:
        """Return whether processes of two hosts have both begun the last trial, and end the later one if so.

        No lock keeps the processes of two hosts apart.
        """
        before = [number for number in self.retries.counted() if number < begun.number]
        if not self.max_trials or len(before) < self.max_trials:
            return False
        TrialRecord(surplus=True).write(begun)
        self.study.tell(begun, state=TrialState.FAIL)
        return True

    def begin(self, begun: optuna.Trial, tuner_id: str) -> TrialOfTuner:
        """Hold a trial that Optuna has begun, and return KerasTuner's trial for it."""
        self.retries.hold(begun.number)
        TrialRecord(folder=self.folder.name).write(begun)
        record = TrialRecord.of(begun)
        if record.tries:
            self.move_folder(record.tries[-1], begun.number)
        reported = set(self.retries.trial(begun.number).intermediate_values)
        live = RunningTrial(begun, record.start or {}, reported)
        hp = DrawnHyperParameters(functools.partial(self.sampling.draw, live), self.sampling.declared)
        trial = keras_tuner.engine.trial.Trial(hp, str(begun.number), "RUNNING")
        self.live[trial.trial_id] = live
        self.trials[trial.trial_id] = self.ongoing_trials[tuner_id] = trial
        self.start_order.append(trial.trial_id)
        launched.began_trial()
        self.tell_begin(trial)
        self.on_change()
        return trial

    def move_folder(self, old: int, new: int) -> None:
        """Give a lost trial's folder to the trial that goes on with it."""
        if self.folder.trial(old).is_dir() and not self.folder.trial(new).exists():
            os.rename(self.folder.trial(old), self.folder.trial(new))

    # ---- a trial is under way -----------------------------------------------------------------------------------

    def report(self, trial: TrialOfTuner, value: float, step: int) -> bool:
        """Report a value before the trial's end; return whether the trial should be stopped."""
        live = self.live[trial.trial_id]
        if step not in live.reported:
            if step <= live.last:  # Optuna would keep the value before
                self.retries.replace_report(live.trial.number, step, float(value))
            else:
                live.trial.report(float(value), step)
            live.reported.add(step)
            self.on_change()
        if step >= live.last and live.trial.should_prune():
            live.stopped = "pruned"
        return live.stopped is not None

    def forget_reports(self, trial: TrialOfTuner) -> None:
        """Forget a trial's reports, because the trial begins anew."""
        live = self.live[trial.trial_id]
        live.last = max(live.reported, default=live.last)
        live.reported.clear()

    def time_is_up(self) -> bool:
        """Return whether the search's time is spent."""
        return time.monotonic() >= self.deadline

    def note_size(self, trial: TrialOfTuner, parameters: int) -> None:
        """Note the number of parameters of a trial's model."""
        self.live[trial.trial_id].parameters = parameters

    def stop(self, trial: TrialOfTuner, why: str | None) -> None:
        """Note why a trial was stopped before its end; None when the trial was at its end after all."""
        self.live[trial.trial_id].stopped = why

    # ---- a trial ends -------------------------------------------------------------------------------------------

    def finish(self, trial: TrialOfTuner, results: TrialResults) -> None:
        """End a trial with what it returned."""
        self.record(trial, results)
        trial.status = "COMPLETED"
        self.end_trial(trial)

    def record(self, trial: TrialOfTuner, results: TrialResults) -> None:
        """Keep the metrics of what a trial returned."""
        found = measured(results, self.objective)
        metrics = dict(found.metrics)
        metrics.setdefault(self.objective.name, float(self.objective.get_value(metrics)))
        self.update_trial(trial.trial_id, metrics, step=found.epoch)

    def end_trial(self, trial: TrialOfTuner) -> None:
        """Tell the study how a trial ended, and release the trial."""
        live = self.live.pop(trial.trial_id)
        self.ongoing_trials = {who: one for who, one in self.ongoing_trials.items() if one is not trial}
        self.update_space(trial.hyperparameters)
        trial.hyperparameters = trial.hyperparameters.copy()  # which draws nothing any more
        self.runs += 1
        if live.stopped == DUPLICATE:
            self.take_back(trial, live)
            return
        self.sampling.collisions = 0
        self.end_order.append(trial.trial_id)
        if never := sorted(set(live.start) - live.asked):
            log.warning(
                "trial %s was given values that its model never asked for: %s", trial.trial_id, ", ".join(never)
            )
        try:
            with self.folder.alone():
                self.tell(trial, live)
        except optuna.exceptions.UpdateFinishedTrialError:
            log.warning("trial %s took longer than its heartbeat allows and was begun again elsewhere", trial.trial_id)
        finally:
            self.retries.release(live.trial.number)
        self.tell_end(trial)
        self.on_change()

    def take_back(self, trial: TrialOfTuner, live: RunningTrial) -> None:
        """End a trial for which no point was left, as if it had not been begun."""
        self.sampling.collisions += 1
        with self.folder.alone():
            TrialRecord(surplus=True).write(live.trial)
            self.study.tell(live.trial, state=TrialState.FAIL)
        self.folder.release(live.trial.number)
        del self.trials[trial.trial_id]
        self.start_order.remove(trial.trial_id)

    def is_duplicate(self, trial: TrialOfTuner) -> bool:
        """Return whether a trial that runs found no point that was not run."""
        return self.live[trial.trial_id].stopped == DUPLICATE

    def tell(self, trial: TrialOfTuner, live: RunningTrial) -> None:
        """Write a trial's state, values and record to the study, and queue the trial again where it may be."""
        state = TrialState.FAIL
        if trial.status == "COMPLETED":
            if trial.metrics.exists(self.objective.name):
                self.score_trial(trial)
                trial.score = float(trial.score)
            state = TrialState.PRUNED if live.stopped else TrialState.COMPLETE
        elif live.stopped == "oversized":
            state = TrialState.PRUNED  # without any value: samplers take it for the worst
        if trial.status == "INVALID":
            again = self.retries.again(live.trial.number, self.max_retries_per_trial, raised=True)
            trial.status = "INVALID" if again else "FAILED"
        failed = state == TrialState.FAIL or live.stopped == "oversized"
        error = (trial.message or "")[-MESSAGE:] if failed else None
        TrialRecord(error=error, stopped=live.stopped, parameters=live.parameters, state=trial.get_state()).write(
            live.trial
        )
        names = directions(self.objective)
        values = [trial.metrics.get_best_value(name) for name in names] if state == TrialState.COMPLETE else None
        self.study.tell(live.trial, values, state)
        if self.sampler.exhausted:
            StudyRecord(exhausted=True).write(self.study)

    def hand_back(self) -> None:
        """Give up the trials in which this process was interrupted, as by Ctrl-C in a notebook, to be requeued."""
        for live in self.live.values():
            self.retries.drop(live.trial.number)
        self.live.clear()
        self.ongoing_trials.clear()

    @contextlib.contextmanager
    def handing_back(self) -> Iterator[None]:
        """Hand back what is left at the end of a block; log that Ctrl-C has stopped the search, and how it goes on."""
        try:
            yield
        except KeyboardInterrupt as error:
            at = "".join(f" in trial {number}" for number in self.live)
            log.warning("search: stopped by Ctrl-C%s; search() goes on with what is in %s", at, self.folder.path)
            raise interrupted(error) from None
        finally:
            self.hand_back()
            self.on_change(ended=True)

    # ---- what was found -----------------------------------------------------------------------------------------

    def update_space(self, hyperparameters: HyperParameters) -> None:
        """Add to the space what this process' model has asked for."""
        self.sampling.learn(hyperparameters.space)
        super().update_space(hyperparameters)

    def remaining_trials(self) -> int | None:
        """Return how many trials are still to be begun; None where there is no limit."""
        return max(0, self.max_trials - len(self.retries.counted())) if self.max_trials else None

    def require_same(self, given: Mapping[str, Json]) -> None:
        """Refuse settings with which later scores could not be compared with those before.

        Args:
            given: Name -> value or description, as `StudySchema.require_same` takes them.

        Raises:
            ValueError: When one has changed; names the old and the new one.
        """
        with self.folder.alone():
            self.sampling.schema.require_same(given)
