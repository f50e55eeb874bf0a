"""Tests of mpnas/control/dbp.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from control_choices import chain, choice

from mpnas.control import DBP, Arch
from mpnas.cost import COSTS, expected
from mpnas.errors import ConfigError
from mpnas.space import Rule

BITS = (2, 3, 4, 8)
KEY = jax.random.key(0)


def coins(count, beta, level=3):
    """`count` decisions with the same beta on the pair (level, level - 1)."""
    choices = {"a": choice("a", count, BITS)}
    return choices, Arch({"a": jnp.full(count, beta)}, {"a": jnp.full(count, level, jnp.int32)})


def drop(arch, choices, over=True, **settings):
    return DBP(**settings).event(arch, choices, over_budget=over, progress=0.5)


def test_search_starts_surely_at_the_widest_candidate():
    choices = {"a": choice("a", 5, BITS), "b": choice("b", 2, (8,))}
    arch = DBP().init(choices)
    for made in (DBP().probabilities(arch, choices), DBP().gates(arch, choices, progress=0.0, key=KEY)):
        np.testing.assert_array_equal(made["a"], [[0, 0, 0, 1]] * 5)
        np.testing.assert_array_equal(made["b"], [[1], [1]])


@pytest.mark.parametrize("level", [1, 2, 3])
def test_sample_is_one_hot_on_the_pair_and_takes_the_upper_one_as_often_as_beta_says(level):
    choices, arch = coins(20000, 0.3, level)
    gates = np.asarray(DBP().gates(arch, choices, progress=0.5, key=KEY)["a"])
    np.testing.assert_array_equal(gates.sum(axis=1), 1)
    assert set(np.unique(gates)) == {0.0, 1.0}
    assert set(gates.argmax(axis=1)) == {level, level - 1}
    deviation = np.sqrt(0.3 * 0.7 / 20000)
    assert abs(gates[:, level].mean() - 0.3) < 5 * deviation
    expected = np.zeros(4)
    expected[[level, level - 1]] = 0.3, 0.7
    np.testing.assert_allclose(DBP().probabilities(arch, choices)["a"][0], expected, rtol=1e-6)


def test_lowest_candidate_is_certain_and_feels_no_gradient():
    choices, arch = coins(4, 0.4, level=0)
    gates, back = jax.vjp(
        lambda beta: DBP().gates(Arch({"a": beta}, arch.memory), choices, progress=0.5, key=KEY)["a"],
        arch.logits["a"],
    )
    np.testing.assert_array_equal(gates, [[1, 0, 0, 0]] * 4)
    np.testing.assert_array_equal(back(jnp.arange(16.0).reshape(4, 4))[0], 0)


def mean_slope(beta, loss, count=20000):
    """Mean over many coins of dL/dbeta, and its standard deviation."""
    choices, arch = coins(count, beta)

    def total(values):
        gates = DBP().gates(Arch({"a": values}, arch.memory), choices, progress=0.5, key=KEY)["a"]
        # The quantised value of a weight: Q_8 = 0.9 and Q_4 = 0.5.
        return loss(gates @ jnp.array([0.0, 0.0, 0.5, 0.9])).sum()

    slopes = np.asarray(jax.grad(total)(arch.logits["a"]))
    return slopes.mean(), slopes.std() / np.sqrt(count)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.25, 0.5, 0.8, 1.0])
def test_expected_slope_is_the_finite_difference_and_the_bias_of_the_curvature(beta):
    def quadratic(w):
        return 3.0 * (w - 0.2) ** 2 - w

    # With w = 0.5 + 0.4 u the loss is c u^2 + ..., c = 3 * 0.4^2.
    difference = (3 * 0.7**2 - 0.9) - (3 * 0.3**2 - 0.5)
    bias = 3 * 0.4**2 * (2 * beta - 1)
    mean, deviation = mean_slope(beta, quadratic)
    assert abs(mean - (difference + bias)) < 5 * deviation + 1e-5
    if beta == 0.5:
        assert abs(mean - difference) < 5 * deviation + 1e-5


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_slope_of_a_linear_loss_is_the_finite_difference_at_every_beta(beta):
    # On the bounds too: every decision starts at beta = 1.
    mean, deviation = mean_slope(beta, lambda w: 5 * w)
    assert (mean, deviation) == pytest.approx((5 * 0.4, 0), abs=1e-5)


def test_slope_of_the_probabilities_is_one_on_the_bounds_too():
    choices, arch = coins(3, 0.0)
    arch = Arch({"a": jnp.array([0.0, 0.5, 1.0])}, arch.memory)
    slope = jax.grad(lambda logits: DBP().probabilities(Arch(logits, arch.memory), choices)["a"][:, 3].sum())
    np.testing.assert_array_equal(slope(arch.logits)["a"], 1)


def test_beta_below_the_threshold_drops_to_the_next_pair_and_starts_again_at_one():
    choices, arch = coins(4, 0.0)
    arch = Arch({"a": jnp.array([0.05, 0.1, 0.15, -3.0])}, arch.memory)
    after = drop(arch, choices, threshold=0.1)
    np.testing.assert_array_equal(after.memory["a"], [2, 3, 3, 2])
    np.testing.assert_allclose(after.logits["a"], [1, 0.1, 0.15, 1])
    np.testing.assert_array_equal(DBP().probabilities(after, choices)["a"][0], [0, 0, 1, 0])


def test_decision_drops_pair_by_pair_down_to_the_lowest_candidate_and_no_further():
    choices, arch = coins(1, 1.0)
    levels = []
    for _ in range(5):
        arch = drop(Arch({"a": jnp.zeros(1)}, arch.memory), choices)
        levels.append(int(arch.memory["a"][0]))
    assert levels == [2, 1, 0, 0, 0]
    np.testing.assert_array_equal(DBP().probabilities(arch, choices)["a"], [[1, 0, 0, 0]])


def test_nothing_drops_once_the_costs_are_within_the_budget():
    choices, arch = coins(4, 0.0)
    for over in (False, jnp.asarray(False)):
        after = drop(arch, choices, over=over)
        np.testing.assert_array_equal(after.memory["a"], arch.memory["a"])
        np.testing.assert_array_equal(after.logits["a"], 0)


def test_betas_are_put_back_into_the_unit_interval_after_each_update():
    choices, arch = coins(3, 0.0)
    arch = Arch({"a": jnp.array([-0.2, 0.5, 1.7])}, arch.memory)
    np.testing.assert_array_equal(drop(arch, choices, over=False).logits["a"], [0, 0.5, 1])


def test_regularizer_is_beta_times_the_error_of_the_upper_candidate():
    choices = {"a": choice("a", 2, BITS), "x": choice("x", 1, (4, 8))}
    arch = Arch(
        {"a": jnp.array([0.5, 1.0]), "x": jnp.array([1.0])},
        {"a": jnp.array([3, 1]), "x": jnp.array([1])},
    )
    errors = {"a": jnp.array([[9.0, 7.0, 5.0, 3.0], [8.0, 6.0, 4.0, 2.0]])}
    value = DBP(distortion_weight=10.0).regularizer(arch, choices, lambda: errors)
    assert float(value) == pytest.approx(10 * (0.5 * 3 + 1.0 * 6))
    slope = jax.grad(
        lambda logits: DBP(distortion_weight=10.0).regularizer(
            Arch(logits, arch.memory), choices, lambda: errors
        )
    )(arch.logits)
    np.testing.assert_allclose(slope["a"], [30, 60])
    np.testing.assert_array_equal(slope["x"], 0)


def test_regularizer_of_weight_zero_asks_for_no_distortions():
    choices, arch = coins(2, 0.5)
    assert DBP(distortion_weight=0.0).regularizer(arch, choices, lambda: 1 / 0) == 0


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"threshold": 1.0}, {"threshold": -0.1},
                                      {"distortion_weight": -1.0}, {"distortion_weight": float("nan")}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match="0 < threshold < 1 and distortion_weight >= 0"):
        DBP(**settings)


@pytest.mark.parametrize("granularity, decisions", [("channel", [6, 5]), (4, [2, 2])])
def test_each_channel_or_subgroup_flips_its_own_coin_and_drops_on_its_own(granularity, decisions):
    rule = Rule(match="*", weights=(2, 4, 8), activations=(8,), granularity=granularity)
    choices = chain(rule=rule).choices
    arch = DBP().init(choices)
    shapes = [arch.logits[site].shape[0] for site in ("l0/kernel", "l1/kernel")]
    assert shapes == decisions
    betas = {site: beta.at[0].set(0.0) for site, beta in arch.logits.items()}
    after = drop(Arch(betas, arch.memory), choices)
    for site in ("l0/kernel", "l1/kernel"):
        np.testing.assert_array_equal(after.memory[site], [1, *[2] * (len(arch.logits[site]) - 1)])
    halves = Arch({site: jnp.full_like(beta, 0.5) for site, beta in arch.logits.items()}, arch.memory)
    rows = [
        DBP().gates(halves, choices, progress=0.5, key=jax.random.key(n))["l0/kernel"] for n in range(30)
    ]
    assert any(np.any(row[0] != row[1]) for row in rows)


def test_subgroup_of_another_size_than_the_others_counts_its_own_channels():
    # 6 channels in subgroups of 4: dropping the last one, of 2 channels, saves half of what the first does.
    space = chain(rule=Rule(match="*", weights=(2, 4, 8), activations=(8,), granularity=4))
    bops = [cost for cost in COSTS if cost.name == "bops"]

    def cost(betas):
        arch = Arch(betas, start.memory)
        return expected(bops, space, DBP().probabilities(arch, space.choices))["bops"]

    start = DBP().init(space.choices)
    slope = jax.grad(cost)(start.logits)["l0/kernel"]
    # 4 channels of 3 inputs, from 8 to 4 bits, by 8 bits of activations.
    np.testing.assert_allclose(slope, [4 * 3 * (8 - 4) * 8, 2 * 3 * (8 - 4) * 8], rtol=1e-6)
