"""Wrappers that change the updates of a rule: Lookahead, Cautious, LayerScaled, SkipNonFinite."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import keras
from keras import ops

from kopt.rules.base import cast, count_at, registry
from kopt.rules.norms import length
from kopt.rules.wrapping import Wrapper
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Nest, Scalar, Tensor

__all__ = ["Cautious", "LayerScaled", "Lookahead", "SkipNonFinite"]

LEAST_SHARE = 1e-3  # of the numbers of a tensor that a cautious update is taken to move


@registry.register
class Lookahead(Wrapper):
    """Any rule with slow weights, to which the parameters go back now and then.

    At each update whose count is a multiple of `sync_every`: slow = slow + share * (parameter + update - slow), and the
    parameter becomes slow; at the others parameter + update. Lower variance at the rate of the wrapped rule, and less
    sensitive to it. With a share of 1 it is the wrapped rule. The weights that are evaluated are those of the wrapped
    rule: end training on a multiple of `sync_every` to keep the slow ones.

    Args:
        of: The rule.
        sync_every: Number of updates from one synchronization to the next, >= 1.
        share: The share of the way from the slow weights to the parameters, in (0, 1].

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> from kopt.rules import GradientDescent
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, Lookahead(GradientDescent()), rate=0.1, steps=200).parameters.round(4)
        np.float32(3.0)

    Source:
        Zhang, Lucas, Hinton and Ba, Lookahead Optimizer: k steps forward, 1 step back, 2019, algorithm 1; as optax's
        and pytorch_optimizer's, whose momentum is kept at a synchronization.
    """

    sync_every: int = 5
    share: Number = 0.5

    def check(self) -> None:
        rule = "must be a rule without evaluation weights, which are an average already"
        require(not self.of.has_evaluation_weights, "of", rule, self.of)
        require(self.sync_every >= 1, "sync_every", "must be >= 1", self.sync_every)
        require(0 < self.share <= 1, "share", "must be in (0, 1]", self.share)

    def init(self, parameters: Sequence[Tensor]) -> Nest:
        slow = [ops.convert_to_tensor(parameter) for parameter in parameters]
        return {"of": self.of.init(parameters), "slow": slow}

    def inner(self, state: Nest) -> Nest:
        return state["of"]

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        updates, inner = self.of.update(gradients, state["of"], parameters, rate, count)
        found, new_slow = [], []
        for place, (update, parameter, past) in enumerate(zip(updates, parameters, state["slow"], strict=True)):
            own = count_at(count, place)
            at_end = ops.equal(ops.mod(ops.cast(own, "int32"), self.sync_every), 0)
            slow = ops.where(ops.equal(own, 1), parameter, past)  # weights may be set after `init`
            back = cast(1 - self.share, parameter) * (parameter - slow + update)  # 0 at share 1, to the bit
            found.append(ops.where(at_end, update - back, update))
            new_slow.append(ops.where(at_end, parameter + (update - back), slow))
        return found, {"of": inner, "slow": new_slow}


class UpdateWrapper(Wrapper):
    """A wrapper that changes each update of the wrapped rule."""

    def check(self) -> None:
        rule = "must be a rule without evaluation weights, which follow from its own updates"
        require(not self.of.has_evaluation_weights, "of", rule, self.of)

    @abstractmethod
    def changed(self, update: Tensor, gradient: Tensor, parameter: Tensor, rate: Scalar) -> Tensor:
        """Return the update of one parameter in place of the wrapped rule's; `rate` has the dtype of the parameter."""

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        updates, state = self.of.update(gradients, state, parameters, rate, count)
        changed = [
            self.changed(update, gradient, parameter, cast(rate, parameter))
            for update, gradient, parameter in zip(updates, gradients, parameters, strict=True)
        ]
        return changed, state


@registry.register
class Cautious(UpdateWrapper):
    """Any rule that does not move the numbers whose update is along their present gradient.

    agrees = update * gradient <= 0; update = update * agrees / max(mean(agrees), 0.001), the mean over the tensor: what
    the others would have moved goes to these. It is for rules with momentum, at the rate of the wrapped rule, which it
    often makes faster; a rule whose update is always against the gradient stays as it is. A weight decay of the wrapped
    rule is part of its update and masked with it; `optimizers.Decayed` is not.

    Args:
        of: The rule.

    Example:
        >>> from kopt.rules import Momentum
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, Cautious(Momentum()), rate=0.01, steps=300).parameters.round(4)
        np.float32(3.0)

    Source:
        Liang, Chen, Liu and Liu, Cautious Optimizers: Improving Training with One Line of Code, 2024, algorithm 1, with
        the scale of the authors' code, 1 / max(mean, 0.001). The paper's own, d / (sum + 1), which pytorch_optimizer
        has, halves the update of a scalar and takes a quarter from that of 3 numbers, where all agree. That code has <
        in place of the paper's <=: an embedding of which one row in 100 occurs in a batch would move 100 times as far.
    """

    def changed(self, update: Tensor, gradient: Tensor, parameter: Tensor, rate: Scalar) -> Tensor:
        agrees = ops.cast(ops.sign(update) * ops.sign(gradient) <= 0, "float32")
        share = ops.maximum(ops.sum(agrees) / max(1, math.prod(update.shape)), LEAST_SHARE)
        return update * ops.cast(agrees / share, update.dtype)


@registry.register
class LayerScaled(UpdateWrapper):
    """Any rule, with each tensor's update scaled to a share of the tensor's norm: the trust ratio.

    update = rate * trust_ratio * norm(parameter) / norm(update) * update; where a norm is 0, the update of the wrapped
    rule. Every tensor then moves by rate * trust_ratio of itself, whatever the size of its gradients: for large
    batches. The rate takes that meaning for any rule, so begin with 0.01 or less.

    Args:
        of: The rule.
        trust_ratio: The factor of the ratio, > 0.

    Raises:
        ValueError: When the factor is not positive.

    Example:
        >>> from kopt.rules import GradientDescent
        >>> rule, kernel = LayerScaled(GradientDescent()), ops.array([6.0, 8.0])
        >>> updates, _ = rule.update([ops.array([0.0, 2.0])], rule.init([kernel]), [kernel], rate=0.1, count=1)
        >>> print(updates[0].numpy())
        [-0. -1.]

    Source:
        You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2020, algorithm 1, with the
        identity for phi, over any base algorithm; as `optax.scale_by_trust_ratio` after the rule. Around Adam with a
        weight decay it is LAMB.
    """

    trust_ratio: Number = 1.0

    def check(self) -> None:
        super().check()
        require(self.trust_ratio > 0, "trust_ratio", "must be > 0", self.trust_ratio)

    @property
    def usual_rate(self) -> float:  # type: ignore[override]
        """The learning rate to begin with: at most 0.01, for it is the share of a tensor that moves."""
        return min(self.of.usual_rate, 0.01)

    def changed(self, update: Tensor, gradient: Tensor, parameter: Tensor, rate: Scalar) -> Tensor:
        size, step = length(parameter), length(update)
        usable = (size > 0) & (step > 0)
        unit = update / ops.cast(ops.where(usable, step, ops.ones_like(step)), update.dtype)
        scaled = unit * ops.cast(ops.cast(self.trust_ratio, size.dtype) * size, update.dtype) * rate
        return ops.where(usable, scaled, update)


@registry.register
class SkipNonFinite(Wrapper):
    """Any rule that skips an update with a gradient, or with an update, that is not finite.

    Where a number of the gradients or of the wrapped rule's updates is infinite or NaN, all updates are 0 and the
    wrapped rule's state stays; it does not count that update either. The state `skipped` counts such updates. It is for
    losses that overflow once in a while, at the rate of the wrapped rule. One that is never finite trains nothing: look
    at the count.

    Args:
        of: The rule.

    Example:
        >>> from kopt.rules import Momentum
        >>> rule, weights = SkipNonFinite(Momentum()), [ops.array([1.0])]
        >>> updates, state = rule.update([ops.array([float("nan")])], rule.init(weights), weights, rate=0.1, count=1)
        >>> print(updates[0].numpy(), state["of"][0]["velocity"].numpy(), int(state["skipped"]))
        [0.] [0.] 1

    Source:
        Micikevicius et al., Mixed Precision Training, 2018, section 3.2; as `optax.apply_if_finite`, without its limit
        of errors in a row, and of updates as well as gradients.
    """

    def init(self, parameters: Sequence[Tensor]) -> Nest:
        missed = ops.zeros(len(parameters), "int32")  # what each parameter has missed since it began
        return {"of": self.of.init(parameters), "skipped": ops.zeros((), "int32"), "missed": missed}

    def inner(self, state: Nest) -> Nest:
        return state["of"]

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        missed = state["missed"]
        if isinstance(count, list):  # a parameter that began later has missed no update before
            own = ops.stack([ops.cast(one, "int32") for one in count])
            missed = ops.where(own == 1, 0, missed)
            done = ops.unstack(own - missed, len(count))
        else:
            done = ops.cast(count, "int32") - state["skipped"]
        updates, inner = self.of.update(gradients, state["of"], parameters, rate, done)
        finite = ops.all(ops.stack([ops.all(ops.isfinite(one)) for one in (*gradients, *updates)]))
        pairs = zip(keras.tree.flatten(inner), keras.tree.flatten(state["of"]), strict=True)
        kept = keras.tree.pack_sequence_as(inner, [ops.where(finite, new, old) for new, old in pairs])
        more = ops.cast(ops.logical_not(finite), "int32")
        after = {"of": kept, "skipped": state["skipped"] + more, "missed": missed + more}
        return [ops.where(finite, one, ops.zeros_like(one)) for one in updates], after
