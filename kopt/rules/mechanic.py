"""Mechanic: a scale of any rule's updates that is learned on the way."""

from collections.abc import Sequence
from typing import Self

from keras import ops

from kopt.rules.base import cast, count_at, double, registry
from kopt.rules.in_float32 import InFloat32
from kopt.rules.moments import require_sizes
from kopt.rules.rate_free import at_first
from kopt.rules.wrapping import Wrapped
from kopt.values.checks import require
from kopt.values.field_paths import with_field
from kopt.values.fields import Number
from kopt.values.types import Nest, Scalar, Tensor, Variable

__all__ = ["Mechanic"]


@registry.register
class Mechanic(InFloat32):
    """Another rule whose updates are summed and scaled by a learned number, in place of a tuned rate.

    delta = (parameter - start) / sum(s) + the rule's update; new parameter = start + sum(s) * delta, with the new s.
    h = -sum(g * delta) over all parameters, before the update is added, where
    g = gradient + shrinkage * sum(s) * norm(gradients) / norm(parameters) * parameter. For each of `betas` factors
    b = 0.9, 0.99, ...: r = b * r + clip(h, -m, m) * s; m = max(b * m, abs(h) + floor); v = b ** 2 * v + h ** 2;
    s = (first_scale / betas * m + max(r, 0)) / (sqrt(v) + floor).

    Where nobody has tuned the rate of a rule. The rate is 1, or a schedule with the highest rate 1, which is still
    worth having; not for rules that divide by the norm of a layer, such as LAMB.

    Args:
        of: The rule.
        shrinkage: The strength of the pull toward 0 that `h` sees, >= 0: not the decay of the rule.
        first_scale: The first scale, > 0.
        floor: The least number that is divided by, > 0.
        betas: The number of factors, >= 1.

    Raises:
        ValueError: When a number is out of range, or the rule keeps evaluation weights.

    Example:
        >>> from kopt.rules import Adam
        >>> from kopt.schedules import Cosine
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, Mechanic(Adam()), rate=Cosine(1), steps=600).parameters.round(1)
        np.float32(3.0)

    Source:
        Cutkosky, Defazio and Mehta, Mechanic: A Learning Rate Tuner, 2023, algorithm 1; as `optax.contrib.mechanize`,
        by an author, which clips h, begins with the scale 1e-6 and adds epsilon to m; the package mechanic-pytorch
        does not clip and begins with 1e-8.
    """

    usual_rate = 1.0

    of: Wrapped
    shrinkage: Number = 0.01
    first_scale: Number = 1e-6
    floor: Number = 1e-8
    betas: int = 6

    def check(self) -> None:
        require(not self.of.has_evaluation_weights, "of", "must be a rule without evaluation weights", self.of)
        require_sizes(shrinkage=self.shrinkage)
        require(self.first_scale > 0, "first_scale", "must be > 0", self.first_scale)
        require(self.floor > 0, "floor", "must be > 0", self.floor)
        require(self.betas >= 1, "betas", "must be >= 1", self.betas)

    @property
    def needs_model(self) -> bool:  # type: ignore[override]
        """Whether the wrapped rule's `bind` takes the last kernel that it sees for the model's head."""
        return self.of.needs_model

    @property
    def counts_each(self) -> bool:  # type: ignore[override]
        """Whether the wrapped rule takes a count for each parameter."""
        return self.of.counts_each

    def bind(self, variables: Sequence[Variable]) -> Self:
        return with_field(self, "of", self.of.bind(variables))

    def begin(self, parameters: Sequence[Tensor]) -> Nest:
        zeros = ops.zeros(self.betas, "float64")
        scale = zeros + double(self.first_scale)
        starts = [ops.copy(one) for one in parameters]
        held = {"reward": zeros, "largest": zeros, "variance": zeros, "scale": scale}
        return {"of": self.of.init(parameters), "start": starts, **held}

    def advance(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        changes, inner = self.of.update(gradients, state["of"], parameters, rate, count)
        starts = [
            at_first(count_at(count, place), now, one)
            for place, (now, one) in enumerate(zip(parameters, state["start"], strict=True))
        ]
        scale = ops.sum(state["scale"])
        norms = [ops.sqrt(ops.sum(ops.stack([dot(one, one) for one in some]))) for some in (gradients, parameters)]
        pull = double(self.shrinkage) * scale * norms[0] / (norms[1] + double(self.floor))
        over = 1 / (scale + double(self.floor))
        moved = [now - one for now, one in zip(parameters, starts)]
        deltas = [one * cast(over, one) for one in moved]
        products = [
            dot(gradient, delta) + pull * dot(now, delta) for gradient, now, delta in zip(gradients, parameters, deltas)
        ]
        held = self.tuned(-ops.sum(ops.stack(products)), state)
        new = ops.sum(held["scale"])
        updates = [
            cast(new, one) * (delta + change) - one for one, delta, change in zip(moved, deltas, changes, strict=True)
        ]
        return updates, {"of": inner, "start": starts, **held}

    def tuned(self, product: Tensor, state: Nest) -> dict[str, Tensor]:
        """Return the next state of the tuner, from h of the formula."""
        floor, places = double(self.floor), range(1, self.betas + 1)
        beta = ops.convert_to_tensor([1 - 0.1**place for place in places], "float64")
        clipped = ops.minimum(ops.maximum(product, -state["largest"]), state["largest"])
        largest = ops.maximum(beta * state["largest"], ops.abs(product) + floor)
        variance = beta**2 * state["variance"] + product**2
        reward = beta * state["reward"] + clipped * state["scale"]
        wealth = double(self.first_scale) / self.betas * largest + ops.maximum(reward, 0.0)
        scale = wealth / (ops.sqrt(variance) + floor)
        return {"reward": reward, "largest": largest, "variance": variance, "scale": scale}


def dot(one: Tensor, other: Tensor) -> Tensor:
    """Return the inner product of two tensors, in float64, where 1e30 has a square."""
    return ops.sum(ops.cast(one, "float64") * ops.cast(other, "float64"))
