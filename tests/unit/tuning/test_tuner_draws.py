"""What is recorded is what ran, whatever the space; an independent account is kept by the model itself."""

import copy
import random
import warnings
from typing import Any

import keras_tuner
import pytest

from kopt.tuning import Tuner
from kopt.tuning.space.distributions import dimension

NAMES = ("a", "b", "c", "d", "e")


def random_definition(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """A kind of hyperparameter and its arguments."""
    low, high = chance.randint(1, 5), chance.randint(8, 40)
    return chance.choice(
        [
            ("Int", {"min_value": low, "max_value": high}),
            ("Int", {"min_value": low, "max_value": high, "step": chance.randint(2, 4)}),
            ("Int", {"min_value": low, "max_value": high, "sampling": "log"}),
            ("Int", {"min_value": 1, "max_value": 64, "step": 2, "sampling": "log"}),
            ("Float", {"min_value": low / 10, "max_value": float(high)}),
            ("Float", {"min_value": 0.0, "max_value": 1.0, "step": 0.15}),
            ("Float", {"min_value": 1e-4, "max_value": 1e-1, "sampling": "log"}),
            ("Float", {"min_value": 0.1, "max_value": 0.9, "sampling": "reverse_log"}),
            ("Float", {"min_value": 0.001, "max_value": 10.0, "step": 10, "sampling": "log"}),
            ("Choice", {"values": [low, high, 100]}),
            ("Choice", {"values": [0.5, 0.25, 7.0]}),
            ("Choice", {"values": ["x", "y", "z"]}),
            ("Boolean", {}),
            ("Fixed", {"value": high}),
        ]
    )


def random_space(chance: random.Random, depth: int = 0) -> list[Any]:
    """Definitions and, below choices, scopes that each hold for some of the options: twins of a name in all of them."""
    space: list[Any] = []
    for name in chance.sample(NAMES, chance.randint(1, 3)):
        full = f"{name}{depth}"
        space.append((full, *random_definition(chance)))
        if depth < 2 and chance.random() < 0.6:
            parent, options = f"{full}_kind", chance.choice([["u", "v", "w"], [1, 2, 3]])
            space.append((parent, "Choice", {"values": options}))
            for held in (options[:1], options[1:]):
                twins = [(f"{full}_twin", *random_definition(chance))]
                space.append((parent, held, twins + nested(random_space(chance, depth + 1), full)))
    return space


def nested(space: list[Any], prefix: str) -> list[Any]:
    """The same space with names that are those of its place."""
    return [
        (
            (f"{prefix}/{one[0]}", one[1], nested(one[2], prefix))
            if isinstance(one[2], list)
            else (f"{prefix}/{one[0]}", *one[1:])
        )
        for one in space
    ]


def ask(hp: Any, space: list[Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Run a space as a model would; note what each active definition gave."""
    for one in space:
        if isinstance(one[2], list):
            with hp.conditional_scope(one[0], one[1]):
                if asked.get(one[0], (None,))[0] in one[1]:
                    ask(hp, one[2], asked)
        else:
            name, kind, arguments = one
            asked[name] = (getattr(hp, kind)(name, **arguments), kind, arguments)
    return asked


def allowed(value: Any, kind: str, given: dict[str, Any]) -> bool:
    """Whether a definition has a value, by its words alone."""
    if kind == "Fixed":
        return value == given["value"]
    if kind == "Boolean":
        return value in (True, False)
    if kind == "Choice":
        return any(value == one and type(value) is type(one) for one in given["values"])
    low, high, step = given["min_value"], given["max_value"], given.get("step")
    if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9) or (kind == "Int" and type(value) is not int):
        return False
    if step and given.get("sampling") == "log":
        return any(abs(value - low * step**power) < 1e-6 * value for power in range(10))
    return not step or abs((value - low) / step - round((value - low) / step)) < 1e-6


class Search(Tuner):
    def run_trial(self, trial, space, accounts):
        accounts[trial.trial_id] = ask(trial.hyperparameters, space, {})
        return random.Random(trial.trial_id).random()


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("seed", range(10))
def test_what_is_recorded_is_what_ran(seed: int, sampler: str, tmp_path) -> None:
    """25 draws from each of 20 random spaces: 500."""
    space = random_space(random.Random(seed))
    accounts: dict[str, Any] = {}
    tuner = Search(max_trials=25, sampler=sampler, seed=seed, duplicates=True, directory=tmp_path)
    tuner.oracle.verbose = 0
    tuner.search(space, accounts)
    again = Search(max_trials=25, directory=tmp_path)  # reads what is in the storage
    best = {trial.trial_id: trial for trial in again.oracle.get_best_trials(25)}
    assert sorted(best) == sorted(accounts) and len(best) == 25
    for number, asked in accounts.items():
        values = best[number].hyperparameters.values
        assert values == {name: value for name, (value, _, _) in asked.items()}
        assert all(allowed(*one) for one in asked.values())
        ran_again = ask(best[number].hyperparameters.copy(), space, {})
        assert ran_again == asked  # a model that is built again is the same
        params = again.study.trials[int(number)].params
        drawn = [dimension(hp) for hp in best[number].hyperparameters.space]
        active = {one.name: one for one in drawn if one is not None and one.name in params}
        assert set(active) == set(params)
        assert all(one.value(params[name]) == values[one.hp.name] for name, one in active.items())


def test_keras_tuner_alone_records_values_that_never_ran(tmp_path) -> None:
    """The counter-test: the same account finds the flaw of KerasTuner's own oracle."""
    space = [
        ("kind", "Choice", {"values": ["u", "v"]}),
        ("kind", ["u"], [("units", "Int", {"min_value": 1, "max_value": 5})]),
        ("kind", ["v"], [("units", "Int", {"min_value": 100, "max_value": 500})]),
    ]

    class Stock(keras_tuner.Tuner):
        def run_trial(self, trial, space, accounts):
            try:
                accounts[trial.trial_id] = ask(trial.hyperparameters, space, {})
            except KeyError:  # it has even lost the value
                accounts[trial.trial_id] = {"units": (None, "Int", {"min_value": 1, "max_value": 5})}
            return 0.0

        def _populate_initial_space(self):
            hp = self.oracle.get_space()
            for kind in ("u", "v"):
                hp.values["kind"] = kind
                ask(hp, space, {"kind": (kind,)})
            self.oracle.update_space(hp)

    def wrong(tuner: Any) -> int:
        accounts: dict[str, Any] = {}
        tuner.oracle.verbose = 0
        tuner.search(space, accounts)
        recorded = {trial.trial_id: trial.hyperparameters.values for trial in tuner.oracle.get_best_trials(20)}
        return sum(
            recorded[number] != {name: one[0] for name, one in asked.items()}
            or not all(one[0] is not None and allowed(*one) for one in asked.values())
            for number, asked in accounts.items()
        )

    oracle = keras_tuner.oracles.RandomSearchOracle(keras_tuner.Objective("loss", "min"), max_trials=20, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert wrong(Stock(oracle, directory=tmp_path, project_name="stock")) > 0
    assert wrong(Search(max_trials=20, directory=tmp_path, project_name="kopt")) == 0


def test_what_is_not_asked_for_is_not_drawn(tmp_path) -> None:
    class Plain(Tuner):
        def run_trial(self, trial):
            hp = trial.hyperparameters
            return hp.Float("depth_rate", 0, 1) if hp.Boolean("deep") else 0.5

    tuner = Plain(max_trials=12, directory=tmp_path, sampler="random")
    tuner.oracle.verbose = 0
    tuner.search()
    assert {trial.params["deep"] for trial in tuner.study.trials} == {True, False}
    assert all(("depth_rate" in trial.params) == trial.params["deep"] for trial in tuner.study.trials)


def test_one_name_with_two_definitions_at_once_is_refused(tmp_path) -> None:
    class Twice(Tuner):
        def run_trial(self, trial):
            hp = trial.hyperparameters
            hp.Boolean("deep")
            with hp.conditional_scope("deep", [True, False]):
                hp.Int("units", 1, 5)
            return hp.Int("units", 100, 500)

    tuner = Twice(max_trials=3, directory=tmp_path)
    tuner.oracle.verbose = 0
    with pytest.raises(ValueError, match="^units must be defined alike where two definitions of one name hold at once"):
        tuner.search()
    assert len(tuner.study.trials) == 1


def test_definitions_that_are_given_go_before_the_models_own(tmp_path) -> None:
    given = keras_tuner.HyperParameters()
    given.Fixed("units", 7)
    given.Float("rate", 0.5, 0.6)
    given.Choice("batch_size", [8, 16])

    class Asks(Tuner):
        def run_trial(self, trial):
            hp = trial.hyperparameters
            assert hp.get("batch_size") in (8, 16) and hp.Int("units", 1, 3) == 7
            return hp.Float("rate", 0, 1) + hp.Float("other", 10, 20)

    tuner = Asks(
        max_trials=4, hyperparameters=copy.deepcopy(given), tune_new_entries=False, directory=tmp_path, sampler="random"
    )
    tuner.oracle.verbose = 0
    tuner.search()
    assert all(10.5 <= trial.value <= 10.6 for trial in tuner.study.trials)  # "other" has its default
    assert set(tuner.study.trials[0].params) == {"rate", "batch_size"}


@pytest.mark.parametrize(
    ("kind", "arguments", "value", "message"),
    [
        ("Int", {"min_value": 1, "max_value": 5}, 6, r"x must be in \[1, 5\], got 6"),
        ("Int", {"min_value": 1, "max_value": 5}, 1.5, "x must be a whole number, got 1.5"),
        ("Int", {"min_value": 1, "max_value": 9, "step": 2}, 4, r"x must be 1 \+ k \* 2, got 4"),
        ("Choice", {"values": [1, 4, 8]}, 3, r"x must be one of \[1, 4, 8\], got 3"),
        ("Choice", {"values": ["u", "v"]}, "w", r"x must be one of \['u', 'v'\], got 'w'"),
        ("Float", {"min_value": 0, "max_value": 1}, "w", r"x must be in \[0.0, 1.0\], got 'w'"),
    ],
)
def test_values_that_a_definition_does_not_take(kind: str, arguments: Any, value: Any, message: str) -> None:
    hp = getattr(keras_tuner.engine.hyperparameters, kind)("x", **arguments)
    with pytest.raises(ValueError, match=f"^{message}"):
        dimension(hp).recorded(value)
