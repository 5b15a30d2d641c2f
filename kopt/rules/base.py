"""Rule: how gradients become updates, as a pure function over lists."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from keras import ops

from kopt.values.fields import Value
from kopt.values.registry import Registry

__all__ = ["Elementwise", "Rule", "cast", "registry"]

registry: Registry["Rule"] = Registry("rules")


class Rule(Value):
    """An update rule: `init` makes its state, `update` turns gradients into what is added to the parameters.

    Both are pure and take whole lists, one tensor a parameter, so that a rule may look across parameters. The new
    parameter is parameter + update. `optimizers.Optimizer(rule, rate)` runs it in compile/fit, `training.minimize`
    directly.

    Example:
        >>> import keras
        >>> from kopt.rules import GradientDescent
        >>> rule, parameters = GradientDescent(), [keras.ops.array([1.0])]
        >>> updates, state = rule.update([keras.ops.array([2.0])], rule.init(parameters), parameters, rate=0.1, count=1)
        >>> print(updates[0].numpy())
        [-0.2]
    """

    def bind(self, variables: Sequence[Any]) -> "Rule":
        """The rule for these variables: what it says of names and selections is turned into positions."""
        return self

    @abstractmethod
    def init(self, parameters: Sequence[Any]) -> Any:
        """The state before the first update: a nest of tensors; what belongs to parameter i is at place i of a list."""

    @abstractmethod
    def update(
        self, gradients: Sequence[Any], state: Any, parameters: Sequence[Any], rate: Any, count: Any
    ) -> tuple[list[Any], Any]:
        """One update.

        Args:
            gradients: Dense tensors, one a parameter.
            state: What `init` or the last `update` gave.
            parameters: The parameters' values.
            rate: The learning rate, a scalar.
            count: The number of this update, 1 at the first.

        Returns:
            What to add to each parameter, and the next state.
        """

    def evaluate(self, state: Any, parameters: Sequence[Any]) -> Sequence[Any]:
        """The parameters to evaluate with; the identity but for rules that keep weights of their own for that."""
        return parameters


class Elementwise(Rule):
    """A rule that treats every number of a parameter alike and each parameter by itself: written for one tensor."""

    def init_one(self, parameter: Any) -> dict[str, Any]:
        """The state of one parameter; none by default."""
        return {}

    @abstractmethod
    def update_one(
        self, gradient: Any, state: dict[str, Any], parameter: Any, rate: Any, count: Any
    ) -> tuple[Any, dict[str, Any]]:
        """What to add to one parameter, and its next state; `rate` has the parameter's dtype."""

    def init(self, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        return [self.init_one(parameter) for parameter in parameters]

    def update(
        self, gradients: Sequence[Any], state: Any, parameters: Sequence[Any], rate: Any, count: Any
    ) -> tuple[list[Any], Any]:
        done = [
            self.update_one(gradient, one, parameter, cast(rate, parameter), count)
            for gradient, one, parameter in zip(gradients, state, parameters, strict=True)
        ]
        return [update for update, _ in done], [one for _, one in done]


def cast(number: Any, like: Any) -> Any:
    """A number of a rule in a parameter's dtype. Compute with it before the cast: 1 - 0.999 in float32 is 1e-5 off."""
    return ops.convert_to_tensor(number, like.dtype)  # ops.cast would take a float to float32 first
