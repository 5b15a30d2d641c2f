"""Finite spaces: each point is run once, over processes and restarts; the account is kept in plain Python."""

import contextlib
import random
import zlib
from typing import Any

import keras
import keras_tuner
import optuna
import pytest
from optuna.pruners import HyperbandPruner

from kopt.tuning import Tuner
from kopt.tuning.space.samplers import sampler_of
from kopt.tuning.space.seeded import seed_of

FINITE = [  # a kind, its arguments, and its values by its words alone
    ("Int", {"min_value": 1, "max_value": 3}, [1, 2, 3]),
    ("Int", {"min_value": 2, "max_value": 9, "step": 3}, [2, 5, 8]),
    ("Int", {"min_value": 1, "max_value": 4, "sampling": "log"}, [1, 2, 3, 4]),
    ("Float", {"min_value": 0.0, "max_value": 0.5, "step": 0.1}, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    ("Float", {"min_value": 0.05, "max_value": 1.0, "step": 0.35}, [0.05, 0.4, 0.75]),
    ("Float", {"min_value": 0.001, "max_value": 1.0, "step": 10, "sampling": "log"}, [0.001, 0.01, 0.1, 1.0]),
    ("Choice", {"values": ["u", "v"]}, ["u", "v"]),
    ("Choice", {"values": [0.5, 0.25, 7.0]}, [0.5, 0.25, 7.0]),
    ("Boolean", {}, [False, True]),
    ("Fixed", {"value": 3}, [3]),
]


class Odometer:
    """Answers a model's questions in every possible way, one way after the other."""

    def __init__(self, space: list[Any]):
        self.points: list[dict[str, Any]] = []
        self.wanted, self.sizes = [], [1]
        while self.sizes:
            self.sizes, self.point = [], {}
            ask_finite(self, space)
            self.points.append(self.point)
            digits = (self.wanted + [0] * len(self.sizes))[: len(self.sizes)]
            while digits and digits[-1] == self.sizes[len(digits) - 1] - 1:
                digits.pop()
            if not digits:
                break
            digits[-1] += 1
            self.wanted = digits

    def answer(self, name: str, values: list[Any]) -> Any:
        place = self.wanted[len(self.sizes)] if len(self.sizes) < len(self.wanted) else 0
        self.sizes.append(len(values))
        self.point[name] = values[place]
        return values[place]


class Asks:
    """Asks KerasTuner's hyperparameters as `Odometer` is asked."""

    def __init__(self, hp: Any):
        self.hp, self.point = hp, {}

    def ask(self, name: str, kind: str, arguments: Any) -> Any:
        self.point[name] = getattr(self.hp, kind)(name, **arguments)
        return self.point[name]


def finite_space(chance: random.Random, prefix: str = "", depth: int = 0) -> list[Any]:
    """Definitions, and below some of them others that only one value of theirs leads to: plain Python, no scopes."""
    space = []
    for number in range(chance.randint(1, 2)):
        definition = chance.choice(FINITE)
        below = finite_space(chance, f"{prefix}{number}.", depth + 1) if depth < 2 and chance.random() < 0.5 else []
        space.append((f"{prefix}{number}", definition, chance.choice(definition[2]), below))
    return space


def ask_finite(to: Any, space: list[Any]) -> None:
    for name, (kind, arguments, values), leads_on, below in space:
        given = to.answer(name, values) if isinstance(to, Odometer) else to.ask(name, kind, arguments)
        if given == leads_on:
            ask_finite(to, below)


class Finite(Tuner):
    """Asks for a space, and notes its points itself."""

    def run(self, asked: list[Any], seen: list[Any]) -> None:
        self.asked, self.seen = asked, seen
        self.search()

    def run_trial(self, trial):
        asks = Asks(trial.hyperparameters)
        ask_finite(asks, self.asked)
        self.seen.append(asks.point)
        return zlib.crc32(repr(asks.point).encode()) % 97 / 97


def searched(folder, space: list[Any], trials: int, **how: Any) -> tuple[list[dict[str, Any]], Tuner]:
    seen: list[dict[str, Any]] = []
    tuner = Finite(max_trials=trials, directory=folder, **how)
    tuner.oracle.verbose = 0
    tuner.run(space, seen)
    return seen, tuner


def keys(points: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(sorted(point.items())) for point in points), key=repr)


FLAT = [("a", FINITE[0], None, []), ("b", FINITE[6], None, []), ("c", FINITE[5], None, [])]  # 24 points


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "grid", "cma", "gp"])
def test_no_point_of_a_finite_space_is_run_twice(sampler: str, tmp_path, caplog) -> None:
    caplog.set_level("INFO", logger="kopt")
    space, count = (FLAT[:2], 6) if sampler == "gp" else (FLAT, 24)  # it is slow
    seen, _ = searched(tmp_path, space, count, sampler=sampler)
    assert len(set(keys(seen))) == len(seen) == count
    seen, _ = searched(tmp_path, space, 30, sampler=sampler)
    assert seen == [] and f"nothing is left to search: all {count} points of the space were begun" in caplog.text


@pytest.mark.parametrize("seed", range(12))
def test_every_point_of_a_space_with_conditions_is_run_once(seed: int, tmp_path) -> None:
    space = finite_space(random.Random(seed))
    there = Odometer(space).points
    while len(there) > 60:
        space = [*space[:-1], (*space[-1][:3], [])] if space[-1][3] else space[:-1]
        there = Odometer(space).points
    seen, tuner = searched(tmp_path, space, len(there) + 5, sampler=("random", "tpe")[seed % 2])
    assert keys(seen) == keys(there)
    recorded = tuner.oracle.get_best_trials(1000)
    assert keys([trial.hyperparameters.values for trial in recorded]) == keys(there)  # 0.3, not 0.30000000000000004


def test_with_duplicates_points_are_run_again(tmp_path) -> None:
    """The counter-test: the same account finds those that are drawn again."""
    seen, _ = searched(tmp_path, FLAT, 24, sampler="random", duplicates=True)
    assert len(seen) == 24 and len(set(keys(seen))) < 20


def test_a_search_that_is_continued_draws_what_it_would_have(tmp_path) -> None:
    whole, _ = searched(tmp_path / "a", FLAT, 24, sampler="tpe")
    parts = [point for trials in (5, 17, 24) for point in searched(tmp_path / "b", FLAT, trials, sampler="tpe")[0]]
    assert parts == whole


class Dying(Finite):
    """Ends its process, as far as the search can tell, in its nth trial."""

    dies: int | None = None

    def run_trial(self, trial):
        value = super().run_trial(trial)
        self.oracle.report(trial, value, 1)
        if len(self.seen) == self.dies:
            raise KeyboardInterrupt
        return value


@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", None), ("random", HyperbandPruner(1, 9))])
def test_a_search_that_is_killed_draws_what_it_would_have(sampler: str, pruner: Any, tmp_path) -> None:
    space = [("a", FINITE[0], None, []), ("b", ("Float", {"min_value": 0.0, "max_value": 1.0}, []), None, [])]
    how = {"max_trials": 14, "sampler": sampler, "pruner": pruner}
    ran: dict[str, list[Any]] = {}
    for name, deaths in (("whole", [None]), ("killed", [1, 4, 1, 3, None])):
        ran[name] = []
        for dies in deaths:
            seen: list[Any] = []
            tuner = Dying(directory=tmp_path, project_name=name, **how)
            tuner.dies, tuner.oracle.verbose = dies, 0
            with pytest.raises(KeyboardInterrupt) if dies else contextlib.nullcontext():
                tuner.run(space, seen)
            ran[name] += seen[: -1 if dies else None]
    assert len(tuner.study.trials) == 18 and ran["killed"] == ran["whole"]
    assert [tuner.oracle.retries.order(one) for one in tuner.oracle.retries.counted()] == list(range(14))


def test_a_range_that_has_grown_is_searched_on(tmp_path) -> None:
    first, _ = searched(tmp_path, FLAT, 24)
    wider = [("a", ("Int", {"min_value": 1, "max_value": 4}, [1, 2, 3, 4]), None, []), *FLAT[1:]]
    seen, _ = searched(tmp_path, wider, 40)
    assert len(set(keys(first + seen))) == len(first + seen) == 32


class Untrained(keras_tuner.HyperModel):
    """Builds, and takes a number of the values for the result; `version` says what it asks for."""

    version = 0

    def build(self, hp: Any) -> keras.Model:
        units = hp.Choice("units", [1, 2, 3] if self.version == 2 else [1, 2])
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
        if hp.Boolean("deep"):
            model.add(keras.layers.Dense(hp.Int("above", 1, 2)))
        if self.version == 1:
            hp.Boolean("bias")
        return model

    def fit(self, hp: Any, model: Any, **_: Any) -> float:
        return float(len(hp.values))


@pytest.mark.parametrize(("version", "points"), [(0, 0), (1, 12), (2, 9)], ids=["same", "one more", "more options"])
def test_a_model_that_asks_for_more_makes_new_points(version: int, points: int, tmp_path) -> None:
    """Conditions in plain Python; 2 + 2 * 2 points at first."""

    def found(version: int) -> list[Any]:
        hypermodel = Untrained()
        hypermodel.version = version
        tuner = Tuner(hypermodel, max_trials=40, sampler="random", directory=tmp_path)
        tuner.oracle.verbose = 0
        tuner.search()
        return [tuple(one.params.items()) for one in tuner.study.trials if one.state.name == "COMPLETE"]

    assert len(set(found(0))) == 6
    assert len(set(found(version))) == 6 + points


def test_processes_that_share_a_search_run_no_point_twice(tmp_path) -> None:
    """Two tuners' trials in any order: begun, half asked, ended; three points at most are under way."""
    chance, seen, running = random.Random(0), [], []
    tuners = [Finite(max_trials=30, directory=tmp_path, sampler="random") for _ in range(3)]
    for tuner in tuners:
        tuner.oracle.verbose = 0
    while len(seen) < 24:
        if running and (len(running) == 3 or len(running) + len(seen) >= 24 or chance.random() < 0.7):
            tuner, trial, asks, left = running[chance.randrange(len(running))]
            name, (kind, arguments, _), _, _ = left.pop(0) if left else FLAT[0]
            try:
                asks.ask(name, kind, arguments)
            except keras_tuner.errors.FailedTrialError:  # another has taken the last one
                trial.status = "FAILED"
                tuner.oracle.end_trial(trial)
            else:
                if left:
                    continue
                tuner.oracle.finish(trial, 0.0)
                seen.append(asks.point)
            running[:] = [one for one in running if one[1] is not trial]
        else:
            tuner = next(one for one in tuners if all(one is not busy[0] for busy in running))
            trial = tuner.oracle.create_trial("tuner0")
            running.append((tuner, trial, Asks(trial.hyperparameters), list(FLAT)))
    assert len(set(keys(seen))) == 24
    assert all(tuner.oracle.create_trial("tuner0").status == "STOPPED" for tuner in tuners)


def test_what_failed_is_not_drawn_again_and_what_was_run_is_not_started_again(tmp_path) -> None:
    class Fails(Finite):
        def run_trial(self, trial):
            score = super().run_trial(trial)
            if self.seen[-1]["a"] == 2:
                raise KeyError("a")
            return score

    seen: list[Any] = []
    tuner = Fails(max_trials=30, directory=tmp_path, sampler="random")
    tuner.oracle.verbose = 0
    tuner.run(FLAT, seen)
    assert len(set(keys(seen))) == len(seen) == 24
    tuner.enqueue(a=1, b="u", c=0.01)
    tuner.run(FLAT, seen)
    assert len(seen) == 24


def test_a_model_that_fails_in_its_middle_does_not_end_a_grid(tmp_path) -> None:
    """Optuna's BruteForceSampler raises then, for a path that ends where another goes on is none of its tree."""

    class Fails(Finite):
        def run_trial(self, trial):
            hp = trial.hyperparameters
            if hp.Int("a", 1, 3) == 2 and not self.seen:
                self.seen.append({})
                raise KeyError("early")
            self.seen.append({"a": hp.get("a"), "b": hp.Boolean("b")})
            return 0.0

    seen: list[Any] = []
    tuner = Fails(max_trials=30, directory=tmp_path, sampler="grid", seed=next(iter(seeds_that_begin_with(2))))
    tuner.oracle.verbose = 0
    tuner.run(FLAT, seen)
    assert seen[0] == {} and len(set(keys(seen[1:]))) == len(seen[1:]) == 6


def seeds_that_begin_with(value: int) -> Any:
    for seed in range(100):
        if (
            sampler_of("grid", seed)
            .make(seed_of(seed, 0))
            .sample_independent(None, None, "a", optuna.distributions.IntDistribution(1, 3))
            == value
        ):
            yield seed


@pytest.mark.parametrize("kind", [one for one in FINITE if one[0] == "Float"], ids=str)
def test_a_number_with_steps_is_recorded_as_a_person_would_write_it(kind: Any, tmp_path) -> None:
    seen, tuner = searched(tmp_path, [("x", kind, None, [])], 20)
    assert sorted(point["x"] for point in seen) == kind[2]
    if kind[1].get("sampling") != "log":  # else its place is recorded
        assert sorted(trial.params["x"] for trial in tuner.study.trials) == kind[2]
    tuner = Finite(max_trials=1, directory=tmp_path / "b")
    tuner.oracle.verbose, seen = 0, []
    tuner.oracle.hyperparameters.Float("x", **kind[1])
    tuner.enqueue(x=kind[2][0] + (kind[2][3] - kind[2][0] if len(kind[2]) > 3 else 0))
    tuner.run([("x", kind, None, [])], seen)
    assert seen[0]["x"] in kind[2]
