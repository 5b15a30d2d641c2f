"""Schedule-Free beside the authors' package: the parameters of training y, the average x and the iterate z."""

import numpy as np
import pytest
from compared import Case, distance, torch_oracle
from problems import problem, rates

from kopt.rules import ScheduleFree, ScheduleFreeAdamW, ScheduleFreeRAdam, ScheduleFreeSGD

schedulefree = pytest.importorskip("schedulefree", reason="schedulefree is in the extra [peers]")
torch = pytest.importorskip("torch", reason="torch is in the extra [peers]")

OF_KIND = {
    ScheduleFreeSGD: schedulefree.SGDScheduleFree,
    ScheduleFreeAdamW: schedulefree.AdamWScheduleFree,
    ScheduleFreeRAdam: schedulefree.RAdamScheduleFree,
}


def theirs(rule: ScheduleFree, parameters):
    """The package's optimizer with the numbers of a rule, in its mode of training."""
    how = {"weight_decay": rule.weight_decay, "r": rule.r, "weight_lr_power": rule.weight_lr_power}
    if isinstance(rule, ScheduleFreeSGD):
        how |= {"momentum": rule.momentum}
    else:
        how |= {"betas": (rule.beta_1, rule.beta_2), "eps": rule.epsilon}
    how |= {"silent_sgd_phase": rule.silent} if isinstance(rule, ScheduleFreeRAdam) else {"warmup_steps": rule.warmup}
    optimizer = OF_KIND[type(rule)](parameters, **how)
    optimizer.train()
    return optimizer


def case(rule: ScheduleFree, rate: float) -> Case:
    return Case(rule, torch_oracle(lambda parameters: theirs(rule, parameters)), rate)


CASES = [
    case(ScheduleFreeSGD(), 0.01),
    case(ScheduleFreeSGD(0.95, 30, weight_decay=0.1), 0.005),
    case(ScheduleFreeSGD(0.8, r=1, weight_lr_power=1), 0.01),
    case(ScheduleFreeAdamW(), 0.01),
    case(ScheduleFreeAdamW(0.95, 0.99, 1e-6, 25, weight_decay=0.1), 0.01),
    case(ScheduleFreeAdamW(0.8, r=2, weight_lr_power=0), 0.02),
    case(ScheduleFreeRAdam(), 0.01),
    case(ScheduleFreeRAdam(0.95, 0.99, weight_decay=0.1), 0.01),
    case(ScheduleFreeRAdam(0.9, 0.95, silent=False, r=1), 0.003),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_the_oracle_agrees(case: Case) -> None:
    assert distance(case) <= case.tolerance


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
def test_x_and_z_are_theirs(case: Case) -> None:
    """After 60 steps, and there and back is the identity."""
    given, table = problem(), rates(case.rate)[:60]
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in given.start]
    optimizer = theirs(case.rule, parameters)
    ours, state = list(given.start), case.rule.init(given.start)
    for count, (rate, gradients) in enumerate(zip(table, given.gradients), 1):
        optimizer.param_groups[0]["lr"] = rate
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = torch.tensor(gradient)
        optimizer.step()
        updates, state = case.rule.update(gradients, state, ours, rate, count)
        ours = [one + np.asarray(update) for one, update in zip(ours, updates)]
    optimizer.eval()
    evaluated = case.rule.evaluate(state, ours)
    z = [one + np.asarray(held["lead"]) for one, held in zip(ours, state["each"])]
    for x, found, ahead, other in zip(evaluated, parameters, z, optimizer.state.values()):
        scale = np.abs(found.detach().numpy()).mean()
        np.testing.assert_allclose(x, found.detach().numpy(), rtol=1e-5, atol=1e-5 * scale)
        np.testing.assert_allclose(ahead, other["z"].numpy(), rtol=1e-5, atol=2e-5 * scale)
    for one, again in zip(ours, case.rule.restore(state, evaluated)):
        np.testing.assert_allclose(one, again, rtol=1e-6, atol=1e-7)
