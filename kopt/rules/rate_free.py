"""Rules that find their own rate: Prodigy, D-Adapt Adam, DoG."""

from collections.abc import Sequence

from keras import ops

from kopt.rules.base import cast, count_at, double, first_count, missing_share, registry, running_mean
from kopt.rules.in_float32 import InFloat32
from kopt.rules.moments import require_sizes
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import Nest, Scalar, Tensor

__all__ = ["DAdaptAdam", "DoG", "Prodigy"]


@registry.register
class Prodigy(InFloat32):
    """Adam whose rate d is an estimate of the distance from the start to the solution.

    b = rate, or rate * sqrt(1 - beta_2 ** count) / (1 - beta_1 ** count) when corrected; d is that of the last update.
    m = beta_1 * m + (1 - beta_1) * d * gradient; v = beta_2 * v + (1 - beta_2) * (d * gradient) ** 2;
    s = beta_3 * s + d / d0 * d * b * gradient (without b when `safeguard_warmup`);
    n = beta_3 * n + d / d0 * d * b * sum(gradient * (start - parameter)), over all parameters;
    new d = max(d, d_coef * n / sum(abs(s))), but at most growth_rate * d after d has left d0;
    update = -d * b * m / (sqrt(v) + new d * epsilon) - weight_decay * d * b * parameter.

    Where nobody has tuned a rate. Leave the rate at 1 and give it a schedule that ends at 0: d only grows, and without
    a schedule it keeps too large. Where d stays near d0 for an epoch, d0 is too small: try 1e-5 or 1e-4. Beside a
    warm-up, set `safeguard_warmup`. In float32 the first steps are lost in the rounding of parameters near 1, and d is
    some per cent another on another device.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        beta_3: The factor of the running means of the estimate, in [0, 1); None for sqrt(beta_2).
        epsilon: Added to the root, times d, > 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1 and d 1, >= 0.
        corrected: Whether to correct the bias of m and v, which start at zero.
        safeguard_warmup: Whether the rate is left out of s, so that a warm-up makes no estimate too large.
        d0: The first estimate, > 0.
        d_coef: The factor of the estimate, > 0: 0.5 or 2 for smaller or larger rates.
        growth_rate: The largest growth of d in an update, > 1; None for any.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.schedules import Cosine
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, Prodigy(), rate=Cosine(1), steps=400).parameters.round(2)
        np.float32(3.0)

    Source:
        Mishchenko and Defazio, Prodigy, 2024, algorithm 4; as the authors' package prodigyopt 1.1. optax's always
        corrects, as with `corrected=True` here. With the defaults of both, trained on the same problems of 200 updates,
        some parameters end 3.1 times their mean size apart.
    """

    usual_rate = 1.0

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    beta_3: Number | None = None
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0
    corrected: bool = False
    safeguard_warmup: bool = False
    d0: Number = 1e-6
    d_coef: Number = 1.0
    growth_rate: Number | None = None

    def check(self) -> None:
        require_adaptive(self.beta_1, self.beta_2, self.epsilon, self.weight_decay)
        require(self.beta_3 is None or 0 <= self.beta_3 < 1, "beta_3", "must be in [0, 1) or None", self.beta_3)
        require_estimate(self.d0, self.growth_rate)
        require(self.d_coef > 0, "d_coef", "must be > 0", self.d_coef)

    def begin(self, parameters: Sequence[Tensor]) -> Nest:
        zeros = ops.zeros_like
        each = [
            {"momentum": zeros(one), "velocity": zeros(one), "sum": zeros(one), "start": ops.copy(one)}
            for one in parameters
        ]
        return {"each": each, "d": double(self.d0), "d_max": double(self.d0), "numerator": double(0.0)}

    def advance(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        d, d0 = state["d"], double(self.d0)
        beta_3 = ops.sqrt(double(self.beta_2)) if self.beta_3 is None else double(self.beta_3)
        step = d * double(rate)
        if self.corrected:
            step = step * correction(self.beta_1, self.beta_2, first_count(count))
        of_sum = d / d0 * (d if self.safeguard_warmup else step)
        each, inner, size = [], double(0.0), double(0.0)
        for place, (gradient, one, parameter) in enumerate(zip(gradients, state["each"], parameters, strict=True)):
            start = at_first(count_at(count, place), parameter, one["start"])
            inner = inner + total(gradient * (start - parameter))
            sums = one["sum"] * cast(beta_3, gradient) + gradient * cast(of_sum, gradient)
            size = size + total(ops.abs(sums))
            momentum = running_mean(one["momentum"], gradient * cast(d, gradient), self.beta_1)
            velocity = running_mean(one["velocity"], ops.square(gradient * cast(d, gradient)), self.beta_2)
            each.append({"momentum": momentum, "velocity": velocity, "sum": sums, "start": start})
        numerator = beta_3 * state["numerator"] + d / d0 * step * inner
        there = size > 0  # otherwise no gradient has been anything but 0, and nothing changes
        numerator = ops.where(there, numerator, state["numerator"])
        found = ops.where(there, double(self.d_coef) * numerator / ops.where(there, size, 1.0), 0.0)
        most = ops.maximum(state["d_max"], found)
        grown = ops.where(d == d0, ops.maximum(d, found), d)
        new = most if self.growth_rate is None else ops.minimum(most, grown * double(self.growth_rate))
        updates = [
            -cast(step, one) * held["momentum"] / (ops.sqrt(held["velocity"]) + cast(new * self.epsilon, one))
            - one * cast(ops.where(there, step, 0.0) * self.weight_decay, one)
            for held, one in zip(each, parameters)
        ]
        return updates, {"each": each, "d": new, "d_max": most, "numerator": numerator}


@registry.register
class DAdaptAdam(InFloat32):
    """Adam whose rate d is a lower bound of the distance from the start to the solution: D-Adaptation.

    b = rate, or rate * sqrt(1 - beta_2 ** count) / (1 - beta_1 ** count) when corrected; d is that of the last update,
    and c = sqrt(beta_2). n = c * n + (1 - c) * d * b * sum(gradient * s / (sqrt(v) + epsilon)), over all parameters;
    m = beta_1 * m + (1 - beta_1) * d * b * gradient; v = beta_2 * v + (1 - beta_2) * gradient ** 2;
    s = c * s + (1 - c) * d * b * gradient; new d = max(d, min(n / ((1 - c) * sum(abs(s))), growth_rate * d));
    update = -m / (sqrt(v) + epsilon) - weight_decay * d * b * parameter.

    The forerunner of `Prodigy`, with smaller rates and fewer arrays. Leave the rate at 1 and give it a schedule.

    Args:
        beta_1: The factor of the running mean of the gradient, in [0, 1).
        beta_2: The factor of the running mean of the squared gradient, in [0, 1).
        epsilon: Added to the root, > 0.
        weight_decay: The share of a parameter that an update subtracts at rate 1 and d 1, >= 0.
        corrected: Whether to correct the bias of m and v, which start at zero.
        d0: The first estimate, > 0.
        growth_rate: The largest growth of d in an update, > 1; None for any. 1.02 is a kind of warm-up.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.schedules import Cosine
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, DAdaptAdam(), rate=Cosine(1), steps=400).parameters.round(2)
        np.float32(3.0)

    Source:
        Defazio and Mishchenko, Learning-Rate-Free Learning by D-Adaptation, 2023, algorithm 5; as the authors' package
        dadaptation 3.2 with decouple=True: an L2 penalty is the loss's concern here.
    """

    usual_rate = 1.0

    beta_1: Number = 0.9
    beta_2: Number = 0.999
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0
    corrected: bool = False
    d0: Number = 1e-6
    growth_rate: Number | None = None

    def check(self) -> None:
        require_adaptive(self.beta_1, self.beta_2, self.epsilon, self.weight_decay)
        require_estimate(self.d0, self.growth_rate)

    def begin(self, parameters: Sequence[Tensor]) -> Nest:
        zeros = ops.zeros_like
        each = [{"momentum": zeros(one), "velocity": zeros(one), "sum": zeros(one)} for one in parameters]
        return {"each": each, "d": double(self.d0), "numerator": double(0.0)}

    def advance(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        d, root = state["d"], ops.sqrt(double(self.beta_2))
        step = d * double(rate)
        if self.corrected:
            step = step * correction(self.beta_1, self.beta_2, first_count(count))
        each, inner, size, updates = [], double(0.0), double(0.0), []
        for gradient, one in zip(gradients, state["each"], strict=True):
            epsilon, scaled = cast(self.epsilon, gradient), gradient * cast(step, gradient)
            inner = inner + step * total(gradient * (one["sum"] / (ops.sqrt(one["velocity"]) + epsilon)))
            momentum = running_mean(one["momentum"], scaled, self.beta_1)
            velocity = running_mean(one["velocity"], ops.square(gradient), self.beta_2)
            sums = running_mean(one["sum"], scaled, root)
            size = size + total(ops.abs(sums))
            updates.append(-momentum / (ops.sqrt(velocity) + epsilon))
            each.append({"momentum": momentum, "velocity": velocity, "sum": sums})
        there = size > 0  # otherwise no gradient has been anything but 0, and nothing changes
        numerator = ops.where(there, root * state["numerator"] + (1 - root) * inner, state["numerator"])
        found = ops.where(there, numerator / ((1 - root) * ops.where(there, size, 1.0)), 0.0)
        most = found if self.growth_rate is None else ops.minimum(found, d * double(self.growth_rate))
        decay = ops.where(there, step, 0.0) * self.weight_decay
        updates = [update - one * cast(decay, one) for update, one in zip(updates, parameters)]
        return updates, {"each": each, "d": ops.maximum(d, most), "numerator": numerator}


@registry.register
class DoG(InFloat32):
    """Gradient descent whose rate is the distance so far over the root of the squared gradients so far.

    distance = max(distance, norm(parameters - start)), at first reps_rel * (1 + norm(start)); with g = gradient +
    weight_decay * parameter, total = total + sum(g ** 2); update = -rate * distance / sqrt(total + epsilon) * g.
    The norms are over all parameters, or over each parameter when `layerwise` (L-DoG), which suits transformers.

    A start for descent where nobody has tuned a rate: leave the rate at 1. Its last weights are noisy, and its authors
    always average them: `callbacks.Average(EMA(...))`. Parameters of half precision round small steps away, and the
    distance then never grows: take a larger `reps_rel` for them.

    Args:
        reps_rel: The first distance, relative to 1 + the norm of the start, > 0; 1e-4 with BatchNormalization.
        weight_decay: The decay that is added to the gradient, as an L2 penalty, >= 0.
        epsilon: Added under the root, > 0.
        layerwise: Whether each parameter has a rate of its own.

    Raises:
        ValueError: When a number is out of range.

    Example:
        >>> from kopt.training import minimize
        >>> minimize(lambda w: (w - 3) ** 2, 0, DoG(), rate=1, steps=400).parameters.round(2)
        np.float32(3.0)

    Source:
        Ivgi et al., DoG is SGD's Best Friend, 2023, equations 2 and 3; as the authors' package dog-optimizer 1.0 and
        `optax.contrib.dog`, which agree.
    """

    usual_rate = 1.0

    reps_rel: Number = 1e-6
    weight_decay: Number = 0.0
    epsilon: Number = 1e-8
    layerwise: bool = False

    def check(self) -> None:
        require(self.reps_rel > 0, "reps_rel", "must be > 0", self.reps_rel)
        require(self.epsilon > 0, "epsilon", "must be > 0", self.epsilon)
        require_sizes(weight_decay=self.weight_decay)

    def begin(self, parameters: Sequence[Tensor]) -> Nest:
        groups = len(parameters) if self.layerwise else 1
        held = {"distance": ops.zeros(groups, "float64"), "total": ops.zeros(groups, "float64")}
        return {"each": [{"start": ops.copy(one)} for one in parameters], **held}

    def norms(self, squares: Sequence[Tensor]) -> Tensor:
        """Return the sums of squares, of each parameter or of all of them, as a vector."""
        each = ops.stack(list(squares))
        return each if self.layerwise else ops.sum(each, keepdims=True)

    def advance(
        self, gradients: Sequence[Tensor], state: Nest, parameters: Sequence[Tensor], rate: Scalar, count: Scalar
    ) -> tuple[list[Tensor], Nest]:
        decayed = [one + two * cast(self.weight_decay, two) for one, two in zip(gradients, parameters, strict=True)]
        starts = [
            at_first(count_at(count, place), now, one["start"])
            for place, (now, one) in enumerate(zip(parameters, state["each"], strict=True))
        ]
        moved = ops.sqrt(self.norms([total(ops.square(now - one)) for now, one in zip(parameters, starts)]))
        first = double(self.reps_rel) * (1 + ops.sqrt(self.norms([total(ops.square(one)) for one in starts])))
        counts = ops.stack(count) if isinstance(count, list) and self.layerwise else first_count(count)
        distance = ops.maximum(state["distance"], at_first(counts, first, moved))
        sums = state["total"] + self.norms([total(ops.square(one)) for one in decayed])
        rates = double(rate) * distance / ops.sqrt(sums + double(self.epsilon))
        places = range(len(decayed)) if self.layerwise else [0] * len(decayed)
        updates = [-one * cast(rates[place], one) for one, place in zip(decayed, places)]
        return updates, {"each": [{"start": one} for one in starts], "distance": distance, "total": sums}


def require_adaptive(beta_1: float, beta_2: float, epsilon: float, weight_decay: float) -> None:
    """Raise ValueError when a number that Adam has is out of range."""
    require(0 <= beta_1 < 1, "beta_1", "must be in [0, 1)", beta_1)
    require(0 <= beta_2 < 1, "beta_2", "must be in [0, 1)", beta_2)
    require(epsilon > 0, "epsilon", "must be > 0", epsilon)
    require(weight_decay >= 0, "weight_decay", "must be >= 0", weight_decay)


def require_estimate(d0: float, growth_rate: float | None) -> None:
    """Raise ValueError when a number of an estimate of the distance is out of range."""
    require(d0 > 0, "d0", "must be > 0", d0)
    require(growth_rate is None or growth_rate > 1, "growth_rate", "must be > 1 or None", growth_rate)


def correction(beta_1: Scalar, beta_2: Scalar, count: Scalar) -> Tensor:
    """Return Adam's correction of the bias of both moments, in float64."""
    return ops.sqrt(missing_share(beta_2, count)) / missing_share(beta_1, count)


def at_first(count: Scalar, first: Tensor, later: Tensor) -> Tensor:
    """Return one value at the first update, and another one later: weights may be set after the state was made."""
    return ops.where(ops.equal(count, 1), first, later)


def total(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor's numbers, in float64."""
    return ops.sum(ops.cast(tensor, "float64"))
