"""Rules within wrappers beside optax's and pytorch_optimizer's."""

import numpy as np
import pytest
from compared import Case, Oracle, by_rule, distance, optax_oracle, torch_oracle
from problems import problem

from kopt.rules import AGC, Adam, AdamW, Cautious, Centralize, GradientDescent, LayerScaled, Lookahead, SkipNonFinite

jax = pytest.importorskip("jax", reason="jax is in the extra [dev]")
optax = pytest.importorskip("optax", reason="optax is in the extra [dev]")
torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")
peers = pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer is in the extra [peers]")


def adam(rate, beta_1: float = 0.9, beta_2: float = 0.99):
    """Adam by optax, with the epsilon of the cases."""
    return optax.adam(rate, beta_1, beta_2, eps=1e-12)


def reshaped(oracle: Oracle, to, back) -> Oracle:
    """An oracle on parameters and gradients in another layout."""

    def begin(start, rates):
        step = oracle([to(one) for one in start], rates)
        return lambda gradients: [back(one, like) for one, like in zip(step([to(one) for one in gradients]), start)]

    return begin


def outputs_first(oracle: Oracle) -> Oracle:
    """The layout of PyTorch."""
    move = lambda one, source, target: np.moveaxis(one, source, target).copy() if one.ndim else one
    return reshaped(oracle, lambda one: move(one, -1, 0), lambda one, like: move(one, 0, -1))


def as_matrices(oracle: Oracle) -> Oracle:
    """A row for all inputs of an output."""
    flat = lambda one: one.reshape(-1, one.shape[-1]) if one.ndim > 2 else one
    return reshaped(oracle, flat, lambda one, like: one.reshape(like.shape))


def rows_of_outputs(oracle: Oracle) -> Oracle:
    """Matrices in the layout of PyTorch."""
    return as_matrices(outputs_first(oracle))


def centralized(parameters):
    """torch's Adam on gradients that pytorch_optimizer centralizes."""
    optimizer = torch.optim.Adam(parameters, betas=(0.8, 0.99), eps=1e-12)

    def hook(*_):
        for one in parameters:
            peers.centralize_gradient(one.grad)

    optimizer.register_step_pre_hook(hook)
    return optimizer


def clipped(parameters):
    """torch's Adam on gradients that pytorch_optimizer clips."""
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99), eps=1e-12)

    def hook(*_):
        for one in parameters:
            one.grad = peers.agc(one.detach(), one.grad, agc_eps=0.01, agc_clip_val=0.02)

    optimizer.register_step_pre_hook(hook)
    return optimizer


def lookahead(inner, every: int, share: float) -> Oracle:
    """The oracle of optax, whose parameters are pairs of fast and slow ones."""

    def begin(start, rates):
        table = jax.numpy.asarray(rates, "float32")
        transformation = optax.lookahead(inner(lambda count: table[count]), every, share)
        pairs = optax.LookaheadParams.init_synced([jax.numpy.asarray(one) for one in start])
        held = [pairs, transformation.init(pairs)]

        @jax.jit
        def change(gradients, pairs, state):
            updates, state = transformation.update(gradients, state, pairs)
            return optax.apply_updates(pairs, updates), state

        def step(gradients):
            held[:] = change([jax.numpy.asarray(one) for one in gradients], *held)
            return [np.array(one) for one in held[0].fast]

        return step

    return begin


def cautious(inner, rate):
    """What the paper writes, around a transformation of optax."""

    def update(gradients, state, parameters=None):
        updates, state = inner(rate).update(gradients, state, parameters)
        signs = [jax.numpy.sign(one) * jax.numpy.sign(gradient) for one, gradient in zip(updates, gradients)]
        agrees = [(-one >= 0).astype("float32") for one in signs]
        shares = [jax.numpy.maximum(one.mean(), 1e-3) for one in agrees]
        return [one * mask / share for one, mask, share in zip(updates, agrees, shares)], state

    return optax.GradientTransformation(inner(rate).init, update)


def before(transformation, inner) -> Oracle:
    """A transformation of gradients, then an optimizer of optax."""
    return optax_oracle(lambda rate: optax.chain(transformation, inner(rate)))


def if_finite(inner) -> Oracle:
    """An optimizer of optax that skips."""
    return optax_oracle(lambda rate: optax.apply_if_finite(inner(rate), 10**6))


def scaled(before, trust: float = 1.0):
    """A transformation, the trust ratio, the rate."""
    return optax_oracle(
        lambda rate: optax.chain(before, optax.scale_by_trust_ratio(0.0, trust), optax.scale_by_learning_rate(rate))
    )


DECAYED = optax.chain(optax.scale_by_adam(b2=0.99, eps=1e-12), optax.add_decayed_weights(0.1))
CASES = [
    Case(Lookahead(Adam(0.9, 0.99, 1e-12)), lookahead(adam, 5, 0.5)),
    Case(Lookahead(GradientDescent(), 7, share=0.8), lookahead(optax.sgd, 7, 0.8), 0.004),
    Case(
        Lookahead(AdamW(0.8, 0.99, 1e-12, weight_decay=0.1), 3, share=0.3),
        torch_oracle(
            lambda parameters: peers.Lookahead(
                torch.optim.AdamW(parameters, betas=(0.8, 0.99), eps=1e-12, weight_decay=0.1), k=3, alpha=0.3
            )
        ),
    ),
    Case(
        Centralize(Adam(0.9, 0.99, 1e-12)),
        outputs_first(before(optax.centralize(), adam)),
    ),
    Case(
        Centralize(GradientDescent()),
        outputs_first(before(optax.centralize(), optax.sgd)),
        0.004,
    ),
    Case(Centralize(Adam(0.8, 0.99, 1e-12)), outputs_first(torch_oracle(centralized))),
    Case(
        AGC(GradientDescent(), least_norm=0.2),
        as_matrices(before(optax.adaptive_grad_clip(0.01, 0.2), optax.sgd)),
        0.5,  # by steps of the same length the one bias comes back to 0, up to the last bit
        only=("quadratic", "logistic kernel", "embedding", "convolution", "matrix", "bias", "scale"),
    ),
    Case(
        AGC(AdamW(0.8, 0.99, 1e-12, weight_decay=0.1), 0.1, least_norm=1e-2),
        as_matrices(
            optax_oracle(
                lambda rate: optax.chain(
                    optax.adaptive_grad_clip(0.1, 1e-2), optax.adamw(rate, 0.8, 0.99, eps=1e-12, weight_decay=0.1)
                )
            )
        ),
    ),
    Case(AGC(Adam(0.9, 0.99, 1e-12), 0.02, least_norm=1e-2), rows_of_outputs(torch_oracle(clipped))),
    Case(Cautious(Adam(0.9, 0.99, 1e-12)), optax_oracle(lambda rate: cautious(adam, rate))),
    Case(Cautious(Adam(0.5, 0.9, 1e-12)), optax_oracle(lambda rate: cautious(lambda rate: adam(rate, 0.5, 0.9), rate))),
    Case(
        Cautious(AdamW(0.95, 0.98, 1e-12, weight_decay=0.1)),
        optax_oracle(
            lambda rate: cautious(lambda rate: optax.adamw(rate, 0.95, 0.98, eps=1e-12, weight_decay=0.1), rate)
        ),
    ),
    Case(LayerScaled(GradientDescent()), scaled(optax.identity()), 0.01),
    Case(LayerScaled(Adam(0.9, 0.99, 1e-12), trust_ratio=0.5), scaled(optax.scale_by_adam(b2=0.99, eps=1e-12), 0.5)),
    Case(LayerScaled(AdamW(0.9, 0.99, 1e-12, weight_decay=0.1)), scaled(DECAYED)),
    Case(SkipNonFinite(Adam(0.9, 0.99, 1e-12)), if_finite(adam)),
    Case(SkipNonFinite(GradientDescent()), if_finite(optax.sgd), 0.004),
    Case(SkipNonFinite(Adam(0.8, 0.99, 1e-12)), if_finite(lambda rate: adam(rate, 0.8, 0.99))),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance


def test_skipped_updates_are_optaxs() -> None:
    """A NaN at the first step, an infinity in the middle, and gradients of which Adam's square is infinite."""
    given, rates = problem(), [0.01] * 40
    gradients = [[one.copy() for one in step] for step in given.gradients[:40]]
    for step, place, value in ((0, 1, np.nan), (7, 3, np.inf), (8, 3, -np.inf), (30, 0, np.nan)):
        gradients[step][place].flat[0] = value
    step = if_finite(adam)(given.start, rates)
    theirs = [step(one) for one in gradients]
    ours = by_rule(SkipNonFinite(Adam(0.9, 0.99, 1e-12)), given.start, gradients, rates)
    for one, other in zip(ours, theirs):
        for ours_now, theirs_now in zip(one, other):
            np.testing.assert_allclose(ours_now, theirs_now, rtol=1e-5, atol=2e-7)


def test_the_two_scales_of_a_cautious_update_differ_as_the_docstring_says() -> None:
    """pytorch_optimizer has that of the paper; both mask alike where no product is 0."""
    random = np.random.default_rng(0)
    update, gradient = random.normal(size=(2, 3)).astype("float32")
    update = -np.abs(update) * np.sign(gradient)
    theirs = torch.tensor(-update)
    peers.base.optimizer.BaseOptimizer.apply_cautious(theirs, torch.tensor(gradient))
    ours = Cautious(GradientDescent()).changed(update, gradient, gradient, np.float32(1))
    np.testing.assert_allclose(-theirs.numpy(), 0.75 * np.asarray(ours), rtol=1e-6)
