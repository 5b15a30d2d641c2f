"""What an optimizer of a rule refuses: arguments of the wrong kind, work done twice, a part of a model as the whole."""

from collections.abc import Mapping, Sequence

from kopt.keras_internals import optimizer_arguments
from kopt.rules import Rule
from kopt.rules.routed import known
from kopt.select import kernels
from kopt.values.annotations import canonical, conforms, describe
from kopt.values.checks import require
from kopt.values.field_paths import number_paths, read
from kopt.values.types import Json, KerasModel, Variable


def checked(arguments: Mapping[str, Json]) -> dict[str, Json]:
    """Return the arguments of Keras' optimizers; raise ValueError when one is of the wrong kind, which Keras takes."""
    hints = {name: one.annotation for name, one in optimizer_arguments().items()}
    found = dict(arguments)
    for name in set(found) & set(hints):
        found[name] = canonical(found[name], name, hints[name])
        require(conforms(found[name], hints[name]), name, f"must be {describe(hints[name])}", found[name])
    return found


def refuse_twice(rule: Rule, weight_decay: float | None, use_ema: bool) -> None:
    """Raise ValueError when Keras is to do what the rule does itself: decay weights, or average them."""
    paths = [path for path in number_paths(rule) if path.rpartition(".")[2] == "weight_decay"]
    own = max((read(rule, path) for path in paths), default=0)
    said = f"must be None beside the rule's own weight decay of {own:g}"
    require(not (own and weight_decay), "weight_decay", said, weight_decay)
    averaged = use_ema and rule.has_evaluation_weights
    require(not averaged, "use_ema", f"must be False for {rule!r}, which averages itself", use_ema)


def refuse_without_head(rule: Rule, model: KerasModel | None, variables: Sequence[Variable]) -> None:
    """Raise ValueError when a rule takes the last kernel of the variables for a model's head, and it is not."""
    last = [one for one in (model.weights if model else ()) if kernels.holds(known(one))][-1:]
    said = "must name its parameters by `to` where the optimizer does not update the model's last kernel"
    require({id(one) for one in last} <= set(map(id, variables)), type(rule).__name__, said, rule)
