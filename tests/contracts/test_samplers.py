"""Laws of every sampler and pruner in the registries: each runs a search, and what its row declares is true."""

import dataclasses
import sys

import keras_tuner
import optuna
import pytest
from optuna.samplers._lazy_random_state import LazyRandomState
from searches import Line, line

from kopt.tuning import Tuner
from kopt.tuning.space import pruners, samplers
from kopt.tuning.space.pruners import PRUNERS, pruner_of
from kopt.tuning.space.samplers import SAMPLERS, SamplerKind, sampler_of


@pytest.fixture(autouse=True)
def packages(request: pytest.FixtureRequest) -> None:
    """Skip a sampler or a pruner whose packages are not installed."""
    name = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    for row in (SAMPLERS.get(name), PRUNERS.get(name)):
        for package in row.needs if row else ():
            pytest.importorskip(package.name, reason=f"{name} needs {package.name}")


class Grid(Tuner):
    """A finite space of four points, and what was run."""

    def run_trial(self, trial, **_):
        hp = trial.hyperparameters
        return hp.Int("x", 0, 1) + hp.Int("y", 0, 1)


class Several(Tuner):
    def run_trial(self, trial, **_):
        x = trial.hyperparameters.Float("x", 0, 1)
        return {"loss": x, "val_loss": 1 - x}


class Curves(Tuner):
    """A trial that reports ten epochs, and two executions."""

    def run_trial(self, trial, **_):
        x = trial.hyperparameters.Float("x", 0, 1)
        for step in range(1, 11):
            if self.oracle.report(trial, x, step):
                break
        return x


class Counting(optuna.samplers.RandomSampler):
    """A sampler that keeps more than a random stream: how many values it has drawn."""

    drawn = 0

    def sample_independent(self, study, trial, param_name, param_distribution):
        self.drawn += 1
        return 1 / self.drawn


def draws(row: SamplerKind, *, anew: bool, trials: int = 20) -> list[float]:
    """What a sampler draws that is made anew for each trial, or kept; its random streams are the same in both."""
    study = optuna.create_study()
    for number in range(trials):
        if anew or number == 0:
            study.sampler = row.make(0, 0)
        reseed(study.sampler, number)
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1) + trial.suggest_float("z", 0, 1))
    return [value for trial in study.trials for value in trial.params.values()]


def reseed(thing: optuna.samplers.BaseSampler, seed: int) -> None:
    """Seed the random streams of a sampler, and of the samplers in it."""
    for part in vars(thing).values():
        if isinstance(part, LazyRandomState):
            part.rng.seed(seed)
        elif isinstance(part, optuna.samplers.BaseSampler):
            reseed(part, seed)


def is_stateless(row: SamplerKind) -> bool:
    return draws(row, anew=True) == draws(row, anew=False)


def runs_once(name: str, folder) -> bool:
    """Whether a search over a finite space, in which points may be run again, runs each once all the same."""
    tuner = Grid(max_trials=9, sampler=name, duplicates=True, directory=folder)
    tuner.oracle.verbose = 0
    tuner.search()
    return len(tuner.study.trials) == 4


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_made_and_is_stateless_where_it_says_so(name: str) -> None:
    row = SAMPLERS[name]
    assert isinstance(row.make(0, 0), row.kind)
    assert sampler_of(name, 0).stateless is row.stateless
    assert not row.stateless or is_stateless(row)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_searches_and_a_finite_one_refuses_an_infinite_space(name: str, tmp_path) -> None:
    if SAMPLERS[name].finite:
        with pytest.raises(ValueError, match="must have a step or options for every hyperparameter, got 'x'"):
            line(tmp_path / "line", 3, sampler=name, hyperparameters=space_of_line())
    else:
        assert len(line(tmp_path / "line", 4, sampler=name).study.trials) == 4
    assert runs_once(name, tmp_path) is SAMPLERS[name].finite


def space_of_line():
    hp = keras_tuner.HyperParameters()
    hp.Float("x", 0, 1)
    return hp


@pytest.mark.parametrize("name", [name for name, row in SAMPLERS.items() if not row.finite])
def test_a_sampler_takes_as_many_objectives_as_it_says(name: str, tmp_path) -> None:
    row = SAMPLERS[name]
    if row.objectives == 1:
        for sampler in (name, row.make(0, 0)):
            with pytest.raises(ValueError, match="sampler must be one for several objectives"):
                sampler_of(sampler, 0, objectives=2)
    else:
        tuner = Several(objective=["loss", "val_loss"], max_trials=4, sampler=name, directory=tmp_path)
        tuner.oracle.verbose = 0
        tuner.search()
        assert len(tuner.study.best_trials) == 4


@pytest.mark.parametrize(
    ("get", "name", "package"),
    [(sampler_of, name, one) for name, row in SAMPLERS.items() for one in row.needs]
    + [(pruner_of, name, one) for name, row in PRUNERS.items() for one in row.needs],
)
def test_a_package_that_is_missing_is_named(get, name: str, package, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package.name, None)
    with pytest.raises(ImportError, match=f"^{package.name} must be installed for"):
        get(name, seed=0) if get is sampler_of else get(name, executions=2)


@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_is_made_and_searches_and_is_refused_where_it_says_so(name: str, tmp_path) -> None:
    least = PRUNERS[name].executions
    assert isinstance(pruner_of(name, executions=least), optuna.pruners.BasePruner)
    tuner = Curves(max_trials=8, pruner=name, executions_per_trial=least, directory=tmp_path)
    tuner.oracle.verbose = 0
    tuner.search()
    assert len(tuner.study.trials) == 8
    with pytest.raises(ValueError, match="pruner must be None with several objectives"):
        pruner_of(name, objectives=2, executions=least)
    if least > 1:
        with pytest.raises(ValueError, match="pruner must have folds or executions_per_trial > 1"):
            pruner_of(name, executions=least - 1)


def test_a_row_that_is_added_is_a_sampler_of_that_name(monkeypatch, tmp_path) -> None:
    row = SamplerKind(lambda trial, search: optuna.samplers.RandomSampler(trial), optuna.samplers.BaseSampler)
    monkeypatch.setitem(samplers.SAMPLERS, "mine", row)
    monkeypatch.setitem(pruners.PRUNERS, "mine", pruners.PrunerKind(optuna.pruners.NopPruner))
    assert len(Line(max_trials=2, sampler="mine", pruner="mine", directory=tmp_path).study.trials) == 0
    with pytest.raises(ValueError, match="sampler must be one of .*mine, .*got 'min'"):
        sampler_of("min", 0)


def test_a_row_that_declares_what_is_not_so_is_found(monkeypatch, tmp_path) -> None:
    """The counter-test: the laws see a sampler that keeps more than it says, and one that goes through no grid."""
    assert not is_stateless(SamplerKind(lambda trial, search: Counting(trial), Counting, stateless=True))
    monkeypatch.setitem(samplers.SAMPLERS, "liar", dataclasses.replace(SAMPLERS["grid"], finite=False))
    assert not runs_once("liar", tmp_path)
