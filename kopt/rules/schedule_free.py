"""Schedule-Free: gradient descent, AdamW and RAdam that average instead of decaying the rate."""

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence

from keras import ops

from kopt.rules.base import (
    Rule,
    TensorState,
    cast,
    count_at,
    double,
    first_count,
    missing_share,
    registry,
    running_mean,
)
from kopt.rules.moments import decayed, positive, require_factors, require_sizes
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Nest, Scalar, Tensor

__all__ = ["ScheduleFree", "ScheduleFreeAdamW", "ScheduleFreeRAdam", "ScheduleFreeSGD"]


class ScheduleFree(Rule):
    """A rule that trains between an iterate z and its running average x, by which the model is evaluated.

    Gradients are those at y = beta * x + (1 - beta) * z, the parameters of training. With step the direction of the
    rule at y: z = z - rate * step; x = x + share * (z - x), where share is rate ** weight_lr_power * count ** r (the
    rate is the highest so far) over the sum of these so far. The state is lead = z - y, of the size of the parameters:
    weights that somebody sets move x, y and z alike. Beside it, training by kopt holds y while the model has x: in
    float32, 8 bytes a parameter for descent and 12 for the others, where Adam has 8.

    x is what evaluation must see. `kopt.fit`, `training.Loop`, recipes and searches show x by themselves: in
    validation, at the ends of epochs and after training, so that every file has x. In Keras' own `model.fit`, add
    `callbacks.RuleWeights()`; without it the model keeps y, and a warning says so. `training.minimize` returns x.

    Args:
        weight_decay: The decay that is added to the step at y, >= 0: at rate 1 the share of a parameter.
        r: The power of the count in the weights of the average, >= 0.
        weight_lr_power: The power of the highest rate so far in them, >= 0: with 2, a warm-up counts little.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> ScheduleFreeSGD(0.95).share_of_average
        0.95

    Source:
        Defazio et al., The Road Less Scheduled, 2024, equations 3 to 5; the package schedulefree.
    """

    has_evaluation_weights = True
    counts_each = True

    weight_decay: Number = dataclasses.field(default=0.0, kw_only=True)
    r: Number = dataclasses.field(default=0.0, kw_only=True)
    weight_lr_power: Number = dataclasses.field(default=2.0, kw_only=True)
    keeps_infinity = True
    packs = True

    def check(self) -> None:
        require_sizes(weight_decay=self.weight_decay, r=self.r, weight_lr_power=self.weight_lr_power)

    @property
    @abstractmethod
    def share_of_average(self) -> Scalar:
        """The share of x in y, beta of the paper."""

    def factor(self, count: Tensor) -> Tensor:
        """Return the factor of the rate at an update, in float64: 1 by default."""
        return ops.ones_like(count)

    def init_one(self, parameter: Tensor) -> TensorState:
        """Return what the direction needs of one parameter: nothing by default."""
        return {}

    @abstractmethod
    def direction(self, gradient: Tensor, state: TensorState, count: Scalar, own: Scalar) -> tuple[Tensor, TensorState]:
        """Return the direction of z's step, without decay, and the next state of one parameter, with its own count."""

    def init(self, parameters: Sequence[Tensor]) -> Nest:
        each = [{"lead": ops.zeros_like(one), **self.init_one(one)} for one in parameters]
        return {"each": each, "highest_rate": double(0.0), "weight_sum": double(0.0)}

    def update(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        first = first_count(count)
        time = ops.cast(first, "float64")
        rate = double(rate) * self.factor(time)
        highest = ops.maximum(state["highest_rate"], rate)
        weight = ops.power(time, double(self.r)) * ops.power(highest, double(self.weight_lr_power))
        weight_sum = state["weight_sum"] + weight
        share = ops.where(weight_sum > 0, weight / ops.where(weight_sum > 0, weight_sum, 1.0), 0.0)
        # y + share * (z - y) + rate * (beta * (1 - share) - 1) * step, and z - rate * step less that
        beta = double(self.share_of_average)
        of_step, of_lead = rate * (beta * (1 - share) - 1), rate * beta
        updates, each = [], []
        for place, (gradient, one, parameter) in enumerate(zip(gradients, state["each"], parameters, strict=True)):
            step, kept = self.direction(gradient, one, first, count_at(count, place))
            step = decayed(step, parameter, self.weight_decay, -1.0)
            lead = one["lead"]
            updates.append(lead * cast(share, lead) + step * cast(of_step, lead))
            each.append({**kept, "lead": (lead - step * cast(of_lead, lead)) * cast(1 - share, lead)})
        return updates, {"each": each, "highest_rate": highest, "weight_sum": weight_sum}

    def evaluate(self, state: Nest, parameters: Sequence[Tensor]) -> list[Tensor]:
        factor = 1 - 1 / double(self.share_of_average)
        return [one + state["lead"] * cast(factor, one) for one, state in zip(parameters, state["each"], strict=True)]

    def restore(self, state: Nest, evaluated: Sequence[Tensor]) -> list[Tensor]:
        factor = 1 - 1 / double(self.share_of_average)
        return [one - state["lead"] * cast(factor, one) for one, state in zip(evaluated, state["each"], strict=True)]


@registry.register
class ScheduleFreeSGD(ScheduleFree):
    """Schedule-Free gradient descent.

    Gradients are those at y = momentum * x + (1 - momentum) * z; z = z - rate * (gradient + weight_decay * y);
    x = x + share * (z - x), and share is the part of this update in the sum of rate ** weight_lr_power * count ** r.
    As good as a schedule whose length is known, at a rate 10 to 50 times that of plain descent: begin at 1. No schedule
    is needed but a warm-up, which is a number here: the rate is times min(1, count / warmup).

    x is what evaluation and files must see: Loop, `kopt.fit` and recipes show it, and `callbacks.RuleWeights()` does in
    `model.fit`; `RuleWeights(statistics=x_train)` computes BatchNormalization's statistics, those of y, anew for it.

    Args:
        momentum: The share of the average x in the parameters of training, in (0, 1).
        warmup: The number of updates over which the rate rises, >= 0.
        weight_decay: The decay that is added to the gradient at y, >= 0.
        r: The power of the count in the weights of the average, >= 0.
        weight_lr_power: The power of the highest rate so far in them, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, ScheduleFreeSGD(), rate=0.5, steps=300).parameters.round(2)
        np.float32(3.0)

    Source:
        Defazio et al., The Road Less Scheduled, 2024, equations 3 to 5; as schedulefree 1.4's SGDScheduleFree.
    """

    usual_rate = 0.9

    momentum: Number = 0.9
    warmup: Number = 0.0

    def check(self) -> None:
        super().check()
        require(0 < self.momentum < 1, "momentum", "must be in (0, 1)", self.momentum)
        require_sizes(warmup=self.warmup)

    @property
    def share_of_average(self) -> Scalar:
        return self.momentum

    def factor(self, count: Tensor) -> Tensor:
        return rise(count, self.warmup)

    def direction(self, gradient: Tensor, state: TensorState, count: Scalar, own: Scalar) -> tuple[Tensor, TensorState]:
        return gradient, {}


@registry.register
class ScheduleFreeAdamW(ScheduleFree):
    """Schedule-Free AdamW, the winner of AlgoPerf's self-tuning track in 2024.

    Gradients are those at y = beta_1 * x + (1 - beta_1) * z; v = beta_2 * v + (1 - beta_2) * gradient ** 2;
    z = z - rate * (gradient / (sqrt(v / (1 - beta_2 ** count)) + epsilon) + weight_decay * y);
    x = x + share * (z - x), and share is the part of this update in the sum of rate ** weight_lr_power * count ** r.
    For training whose length is not known before. The usual rate is 2.5e-3, 1 to 10 times that of AdamW, with a warm-up
    of some 5 % of the updates and no schedule; beta_1 of 0.95 or 0.98 in long training.

    x is what evaluation and files must see: Loop, `kopt.fit` and recipes show it, and `callbacks.RuleWeights()` does in
    `model.fit`; `RuleWeights(statistics=x_train)` computes BatchNormalization's statistics, those of y, anew for it.

    Keras' own ScheduleFreeAdamW is another algorithm on TensorFlow: it is 3.6e-2 from the authors' after 30 steps, its
    decay never reaches z, and it has no evaluation weights. This one is within 1e-5 of the authors' package.

    Args:
        beta_1: The share of the average x in the parameters of training, in (0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: Added to the root after the correction, >= 0.
        warmup: The number of updates over which the rate rises, >= 0.
        weight_decay: The decay that is added to the step at y, >= 0: at rate 1 the share of a parameter.
        r: The power of the count in the weights of the average, >= 0.
        weight_lr_power: The power of the highest rate so far in them, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, ScheduleFreeAdamW(), rate=0.3, steps=300).parameters.round(1)
        np.float32(3.0)

    Source:
        Defazio et al., The Road Less Scheduled, 2024, algorithm 1; as schedulefree 1.4's AdamWScheduleFree, which has
        the correction in v and not in the rate.
    """

    usual_rate = 0.0025

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-8
    warmup: Number = 0.0

    def check(self) -> None:
        super().check()
        require(0 < self.beta_1 < 1, "beta_1", "must be in (0, 1)", self.beta_1)
        require_factors(beta_2=self.beta_2)
        require_sizes(epsilon=self.epsilon, warmup=self.warmup)

    @property
    def share_of_average(self) -> Scalar:
        return self.beta_1

    def factor(self, count: Tensor) -> Tensor:
        return rise(count, self.warmup)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"velocity": ops.zeros_like(parameter)}

    def direction(self, gradient: Tensor, state: TensorState, count: Scalar, own: Scalar) -> tuple[Tensor, TensorState]:
        velocity = running_mean(state["velocity"], ops.square(gradient), self.beta_2)
        size = ops.sqrt(velocity / cast(missing_share(self.beta_2, own), velocity))
        return gradient / (size + positive(self.epsilon, gradient)), {"velocity": velocity}


@registry.register
class ScheduleFreeRAdam(ScheduleFree):
    """Schedule-Free RAdam, which needs no warm-up.

    As `ScheduleFreeAdamW`, with the rate times RAdam's factor
    sqrt((n - 4) * (n - 2) * m / ((m - 4) * (m - 2) * n)), where m = 2 / (1 - beta_2) - 1 and
    n = m - 2 * count * beta_2 ** count / (1 - beta_2 ** count). While n <= 4, for some 5 updates, only v is computed;
    with `silent=False` the step is the gradient then. The usual rate is 2.5e-3.

    x is what evaluation and files must see: Loop, `kopt.fit` and recipes show it, and `callbacks.RuleWeights()` does in
    `model.fit`; `RuleWeights(statistics=x_train)` computes BatchNormalization's statistics, those of y, anew for it.

    Args:
        beta_1: The share of the average x in the parameters of training, in (0, 1).
        beta_2: The factor of the running mean of the squared gradient, in (0.6, 1).
        epsilon: Added to the root after the correction, >= 0.
        silent: Whether the first updates change no parameter, as the authors recommend.
        weight_decay: The decay that is added to the step at y, >= 0: at rate 1 the share of a parameter.
        r: The power of the count in the weights of the average, >= 0.
        weight_lr_power: The power of the highest rate so far in them, >= 0.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, ScheduleFreeRAdam(), rate=0.3, steps=300).parameters.round(1)
        np.float32(3.0)

    Source:
        The package schedulefree 1.4's RAdamScheduleFree; the factor is of Liu et al., On the Variance of the Adaptive
        Learning Rate and Beyond, 2020, algorithm 2.
    """

    usual_rate = 0.0025

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-8
    silent: bool = True

    def check(self) -> None:
        super().check()
        require(0 < self.beta_1 < 1, "beta_1", "must be in (0, 1)", self.beta_1)
        require(0.6 < self.beta_2 < 1, "beta_2", "must be in (0.6, 1)", self.beta_2)
        require_sizes(epsilon=self.epsilon)

    @property
    def share_of_average(self) -> Scalar:
        return self.beta_1

    def length(self, count: Scalar) -> Tensor:
        """Return how many gradients the velocity is a mean of, n in the formula, in float64."""
        lacking, time = missing_share(self.beta_2, count), ops.cast(count, "float64")
        return self.longest() - 2 * time * (1 - lacking) / lacking

    def longest(self) -> Tensor:
        return 2 / (1 - double(self.beta_2)) - 1

    def factor(self, count: Tensor) -> Tensor:
        most, now = self.longest(), self.length(count)
        grown = ops.where(now > 4, now, 5.0)
        found = ops.sqrt((grown - 4) * (grown - 2) * most / ((most - 4) * (most - 2) * grown))
        return ops.where(now > 4, found, 0.0 if self.silent else 1.0)

    def init_one(self, parameter: Tensor) -> TensorState:
        return {"velocity": ops.zeros_like(parameter)}

    def direction(self, gradient: Tensor, state: TensorState, count: Scalar, own: Scalar) -> tuple[Tensor, TensorState]:
        velocity = running_mean(state["velocity"], ops.square(gradient), self.beta_2)
        size = ops.sqrt(velocity / cast(missing_share(self.beta_2, own), velocity))
        scaled = gradient / (size + positive(self.epsilon, gradient))
        return ops.where(self.length(count) > 4, scaled, gradient), {"velocity": velocity}


def rise(count: Tensor, warmup: Scalar) -> Tensor:
    """Return the factor of a linear warm-up, in float64: 1 from the update of that number on."""
    return ops.minimum(count / ops.maximum(double(warmup), double(1.0)), double(1.0))
