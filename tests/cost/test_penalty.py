"""Tests of mpnas/cost/penalty.py."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.cost import (
    PID,
    AugmentedLagrangian,
    BandedLog,
    Linear,
    LogHinge,
    SignedGap,
    SquaredHinge,
    penalty_of,
)
from mpnas.errors import ConfigError

LIMITS = {"macs": 100.0, "bops": 10.0}


def loss(penalty, expected, discrete=None, limits=LIMITS, memory=None, progress=1.0):
    memory = penalty.init(limits) if memory is None else memory
    return penalty.loss(memory, expected, discrete or expected, limits, progress)


def slope(penalty, expected, discrete, limit=100.0, memory=None):
    """The derivative of the loss by one expected cost, at a discrete one."""
    limits = {"macs": limit}
    value = lambda c: loss(penalty, {"macs": c}, {"macs": discrete}, limits, memory)  # noqa: E731
    return float(jax.grad(value)(jnp.float32(expected)))


def test_log_hinge_is_zero_within_the_limits_and_by_hand_above_them():
    assert float(loss(LogHinge(), {"macs": 100.0, "bops": 1.0, "other": 1e9})) == 0
    over = math.log(2.0)
    doubled = loss(LogHinge(), {"macs": 200.0, "bops": 20.0})
    np.testing.assert_allclose(doubled, 2 * (over + over**2), rtol=1e-6)


def test_log_hinge_pulls_a_share_of_the_present_cost_at_the_limit_and_nothing_at_zero_cost():
    # d/dc (log(c / L) + log(c / L)^2) = (1 + 2 log(c / L)) / c
    np.testing.assert_allclose(slope(LogHinge(), 200.0, 0.0), (1 + 2 * math.log(2)) / 200, rtol=1e-5)
    assert slope(LogHinge(), 50.0, 200.0) == slope(LogHinge(), 0.0, 200.0) == 0


def test_linear_pulls_the_same_above_and_below():
    np.testing.assert_allclose([slope(Linear(weight=3.0), c, 0.0) for c in (5.0, 500.0)], 3 / 100, rtol=1e-6)


@pytest.mark.parametrize("discrete, sign", [(106, 1), (104.9, 0), (100, 0), (95.1, 0), (94, -1), (0, -1)])
def test_banded_log_flips_its_sign_across_the_band_and_is_zero_inside(discrete, sign):
    # +-log E whatever the expected cost is: d/dE = sign / E, and exactly 0 inside.
    for expected in (50.0, 200.0):
        found = slope(BandedLog(tolerance=0.05), expected, discrete)
        assert found == 0 if sign == 0 else found == pytest.approx(sign / expected, rel=1e-6)
    inside = loss(BandedLog(tolerance=0.05), {"macs": 300.0}, {"macs": 99.0}, {"macs": 100.0})
    assert float(inside) == 0


def test_squared_hinge_is_zero_when_feasible_and_quadratic_above():
    assert float(loss(SquaredHinge(), {"macs": 100.0, "bops": 9.0})) == 0
    assert slope(SquaredHinge(), 99.0, 500.0) == 0
    np.testing.assert_allclose(loss(SquaredHinge(), {"macs": 150.0, "bops": 12.0}), 0.25 + 0.04, rtol=1e-5)
    np.testing.assert_allclose(slope(SquaredHinge(), 150.0, 0.0), 2 * 0.5 / 100, rtol=1e-6)


@pytest.mark.parametrize("discrete", [20.0, 90.0, 100.0, 130.0])
def test_signed_gap_grows_the_cost_below_its_target_and_shrinks_it_above(discrete):
    # The gap is a number, not a function of the gates: d/dE (D E / L) = D / L.
    found = slope(SignedGap(), 70.0, discrete)
    assert found == pytest.approx((discrete / 100 - 1) / 100, rel=1e-5, abs=1e-12)


def test_signed_gap_is_not_differentiated_through_the_discrete_cost():
    both = jax.grad(lambda c: loss(SignedGap(), {"macs": c}, {"macs": c}, {"macs": 100.0}))(150.0)
    np.testing.assert_allclose(both, 0.5 / 100, rtol=1e-6)


def test_multipliers_of_the_lagrangian_move_at_events_only():
    penalty = AugmentedLagrangian(rho=2.0, every=3, start=0.5)
    limits, costs = {"macs": 100.0}, {"macs": jnp.float32(200.0)}
    memory, seen = penalty.init(limits), []
    for number in range(9):
        memory = penalty.update(memory, costs, costs, limits, number / 9)
        seen.append(float(memory["multiplier"]["macs"]))
    rise = 2 * math.log(2)  # events at the 6th and the 9th; that at the 3rd comes before half of the phase
    np.testing.assert_allclose(seen, [0, 0, 0, 0, 0, rise, rise, rise, 2 * rise], rtol=1e-6)


def test_lagrangian_pulls_by_its_multiplier_at_the_limit_and_lets_go_far_below():
    penalty = AugmentedLagrangian(rho=2.0)
    memory = {"multiplier": {"macs": jnp.float32(0.7)}, "updates": jnp.int32(0)}
    np.testing.assert_allclose(slope(penalty, 100.0, 0.0, memory=memory), 0.7 / 100, rtol=1e-5)
    assert slope(penalty, 50.0, 0.0, memory=memory) == 0  # 0.7 + 2 log(1/2) < 0


def test_pid_adds_error_sum_and_rise():
    penalty = PID(kp=2.0, ki=0.5, kd=3.0)
    limits, memory = {"macs": 100.0}, penalty.init({"macs": 100.0})
    errors, total, before = [1.0, 0.4, -5.0, 0.2], 0.0, 0.0
    for error in errors:
        costs = {"macs": jnp.float32(100 * math.exp(error))}
        memory = penalty.update(memory, costs, costs, limits, 0.0)
        total = max(total + error, 0.0)
        expected = max(2 * error + 0.5 * total + 3 * max(error - before, 0.0), 0.0)
        np.testing.assert_allclose(memory["multiplier"]["macs"], expected, rtol=1e-4, atol=1e-6)
        before = error
    assert float(memory["integral"]["macs"]) == pytest.approx(0.2, abs=1e-5)  # nothing is owed for the -5


def test_pid_rests_before_its_start():
    costs = {"macs": jnp.float32(300.0)}
    penalty = PID(kd=1.0, start=0.5)
    memory = penalty.update(penalty.init(costs), costs, costs, {"macs": 100.0}, 0.4)
    assert all(float(leaf) == 0 for leaf in jax.tree.leaves(memory))


@pytest.mark.parametrize("penalty", [
    AugmentedLagrangian(rho=1.0, every=5), PID(kp=1.0, ki=0.05), PID(kp=0.5, ki=0.1, kd=0.5),
], ids=["lagrangian", "pi", "pid"])
def test_multiplier_methods_end_at_the_closed_form_of_a_convex_problem(penalty):
    """min |x - c|^2 / 2 under a sum <= limit: x = c - m / L with the multiplier m = L (sum(c) - L) / n."""
    wanted, rates, traces = jnp.array([1.0, 2.0, 4.0, 5.0]), {"total": 0.05, "part": 0.05}, []

    def costs_of(x):
        return {"total": x.sum(), "part": x[:2].sum()}

    @jax.jit
    def solved(limits):
        traces.append(1)

        def step(state, _):
            x, memory = state
            objective = lambda x: (  # noqa: E731
                0.5 * jnp.sum((x - wanted) ** 2) + penalty.loss(memory, costs_of(x), costs_of(x), limits, 1.0)
            )
            x = x - rates["total"] * jax.grad(objective)(x)
            return (x, penalty.update(memory, costs_of(x), costs_of(x), limits, 1.0)), None

        return jax.lax.scan(step, (wanted, penalty.init(limits)), None, length=20000)[0]

    for limit in (10.0, 6.0):
        # The second limit is loose: it gets no multiplier and changes nothing.
        limits = {"total": jnp.float32(limit), "part": jnp.float32(50.0)}
        x, memory = solved(limits)
        np.testing.assert_allclose(x, wanted - (12 - limit) / 4, atol=2e-3)
        np.testing.assert_allclose(memory["multiplier"]["total"], limit * (12 - limit) / 4, rtol=2e-3)
        assert float(memory["multiplier"]["part"]) == 0
    assert len(traces) == 1


@pytest.mark.parametrize("asked, words", [
    ("pdi", "no penalty 'pdi'; nearest: 'pid'"),
    ({"kp": 1.0}, "no penalty ''"),
    ({"name": "pid", "kpp": 1.0}, "penalty 'pid' has no option 'kpp'; nearest: 'kp'"),
    ({"name": "signed_gap", "weight": 1.0}, "no option 'weight'; nearest: none, it has no options"),
    ({"name": "pid", "kp": "much"}, "penalty 'pid': kp = 'much' is no number"),
    ({"name": "augmented_lagrangian", "every": 1.5}, "every = 1.5 is no whole number"),
    ({"name": "pid", "kp": True}, "kp = True is no number"),
    ({"name": "pid", "kp": math.nan}, "kp, ki, kd >= 0"),
    ({"name": "pid", "ki": -0.1}, "kp, ki, kd >= 0"),
    ({"name": "pid", "kp": 0, "ki": 0}, "one of them > 0"),
    ({"name": "pid", "start": 2.0}, "0 <= start <= 1"),
    ({"name": "linear", "weight": 0.0}, "weight > 0"),
    ({"name": "linear", "weight": math.inf}, "weight > 0"),
    ({"name": "banded_log", "tolerance": 1.0}, "0 <= tolerance < 1"),
    ({"name": "augmented_lagrangian", "rho": -1.0}, "rho > 0"),
    ({"name": "augmented_lagrangian", "every": 0}, "every >= 1"),
    (3, "a penalty is a name, a table or an object of mpnas.cost.penalty, got 3"),
])
def test_what_is_no_penalty_is_refused_in_a_sentence(asked, words):
    with pytest.raises(ConfigError, match=words):
        penalty_of(asked)


def test_table_of_a_penalty_survives_json():
    table = {"name": "pid", **dataclasses.asdict(PID(kp=3.0))}
    assert penalty_of(json.loads(json.dumps(table))) == PID(kp=3.0)
