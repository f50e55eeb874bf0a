"""Tests of mpnas/space/usage.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from work_maker import chain, residual

from mpnas.space import Rule, alive_channels, build_space, usage

CHAIN = build_space(chain(), [Rule(match="*", weights=(0, 2, 8), activations=(4, 8), granularity="channel")])
RESIDUAL = build_space(residual(), [Rule(match="*", weights=(0, 2, 4), granularity="channel")])


def test_expected_bits_are_gates_times_bits():
    gates = CHAIN.one_hot(CHAIN.uniform(8))
    gates["a/kernel"] = np.array([[0.5, 0.5, 0], [0, 0.25, 0.75], [1, 0, 0], [0, 0, 1.0]])
    gates["b/input"] = np.array([[0.25, 0.75]])
    use = usage(CHAIN, gates)
    np.testing.assert_allclose(use.weight_bits["a"], [1.0, 6.5, 0.0, 8.0])
    np.testing.assert_allclose(use.act_bits["b"], 7.0)
    np.testing.assert_allclose(use.out_alive["a/channels"], [0.5, 1.0, 0.0, 1.0])
    np.testing.assert_array_equal(use.out_alive["c/channels"], np.ones(2))
    assert use.in_alive is use.out_alive


def test_what_is_not_searched_counts_as_float():
    space = build_space(chain(), [Rule(match="b", weights=(4,))])
    use = usage(space, space.one_hot(space.uniform(4)))
    np.testing.assert_array_equal(use.weight_bits["a"], [32.0] * 4)
    np.testing.assert_array_equal(use.weight_bits["b"], [4.0] * 5)
    assert use.act_bits["b"] == 32.0
    none = usage(build_space(chain(), []), {})
    np.testing.assert_array_equal(none.weight_bits["c"], [32.0, 32.0])


def test_bits_of_a_subgroup_hold_for_its_channels():
    space = build_space(chain(), [Rule(match="b", weights=(2, 8), granularity=2)])
    use = usage(space, space.one_hot(space.from_indices({"b/kernel": [0, 1, 0]})))
    np.testing.assert_array_equal(use.weight_bits["b"], [2, 2, 8, 8, 2])


def test_a_shared_mask_takes_the_bits_of_all_its_layers():
    point = RESIDUAL.indices(RESIDUAL.uniform(4))
    point["stem/channels"][:] = [1, 0, 1, 0]
    point["conv/kernel"][:] = [0, 0, 1, 1]
    use = usage(RESIDUAL, RESIDUAL.one_hot(RESIDUAL.from_indices(point)))
    np.testing.assert_array_equal(use.weight_bits["stem"], [4, 0, 4, 0])
    np.testing.assert_array_equal(use.weight_bits["conv"], [2, 0, 4, 0])
    np.testing.assert_array_equal(use.weight_bits["skip"], [4] * 6)
    np.testing.assert_array_equal(use.out_alive["stem/channels"], [1, 0, 1, 0])


def test_the_reading_side_can_be_held_fixed():
    gates = CHAIN.one_hot(CHAIN.uniform(8))
    held = {"a/channels": np.array([1.0, 0.0, 0.0, 0.0])}
    use = usage(CHAIN, gates, in_alive=held)
    np.testing.assert_array_equal(use.in_alive["a/channels"], [1, 0, 0, 0])
    np.testing.assert_array_equal(use.out_alive["a/channels"], np.ones(4))
    np.testing.assert_array_equal(use.in_alive["b/channels"], np.ones(5))


def test_only_removable_groups_are_in_alive_channels():
    alive = alive_channels(CHAIN, CHAIN.one_hot(CHAIN.uniform(8)))
    assert set(alive) == {"a/channels", "b/channels"}


WIDE = build_space(chain(), [Rule(match="*", weights=(0, 2, 8), granularity="channel", widths=(0.5, 1))])


def drawn_gates(space, seed=0):
    rng = np.random.default_rng(seed)
    return {s: rng.dirichlet(np.ones(len(c.bits)), c.decisions) for s, c in space.choices.items()}


def test_a_width_reaches_its_first_channels():
    gates = WIDE.one_hot(WIDE.uniform(8))
    gates["a/width"] = np.array([[0.25, 0.75]])
    gates["a/kernel"][[0, 3]] = [0.5, 0, 0.5]
    use = usage(WIDE, gates)
    np.testing.assert_allclose(use.out_alive["a/channels"], [0.5, 1, 0.75, 0.75 * 0.5])
    np.testing.assert_allclose(use.weight_bits["a"], [4, 8, 0.75 * 8, 0.75 * 4])
    np.testing.assert_allclose(use.weight_bits["b"], [8] * 5)


@pytest.mark.parametrize("net", [chain, residual])
def test_expected_use_is_the_mean_over_independent_draws(net):
    space = build_space(net(), [Rule(match="*", weights=(0, 2, 8), granularity="channel", widths=(0.5, 1))])
    gates, rng, draws = drawn_gates(space), np.random.default_rng(1), 4000
    soft = usage(space, gates)
    bits = {path: 0.0 for path in soft.weight_bits}
    alive = {group: 0.0 for group in soft.out_alive}
    for _ in range(draws):
        point = {site: [rng.choice(len(row), p=row) for row in gate] for site, gate in gates.items()}
        use = usage(space, space.one_hot(space.from_indices(point)))
        bits = {path: bits[path] + use.weight_bits[path] / draws for path in bits}
        alive = {group: alive[group] + use.out_alive[group] / draws for group in alive}
    for path, mean in bits.items():
        # Four standard errors of numbers between 0 and 8.
        np.testing.assert_allclose(soft.weight_bits[path], mean, atol=4 * 4 / np.sqrt(draws))
    for group, mean in alive.items():
        np.testing.assert_allclose(soft.out_alive[group], mean, atol=4 * 0.5 / np.sqrt(draws))


def test_jax_gates_give_the_numbers_of_numpy_and_a_gradient():
    gates = CHAIN.one_hot(CHAIN.from_indices({
        "a/kernel": [0, 1, 2, 0], "b/kernel": [2, 1, 0, 1, 2], "c/kernel": [0, 1],
        "a/input": [0], "b/input": [1], "c/input": [0],
    }))
    traced = {site: jnp.asarray(g, jnp.float32) for site, g in gates.items()}
    exact, soft = usage(CHAIN, gates), usage(CHAIN, traced)
    for path in ("a", "b", "c"):
        np.testing.assert_array_equal(exact.weight_bits[path], soft.weight_bits[path])
        np.testing.assert_array_equal(exact.act_bits[path], soft.act_bits[path])

    def reading_channels(gates):
        return usage(CHAIN, gates).in_alive["a/channels"].sum()

    slope = jax.grad(reading_channels)(traced)
    np.testing.assert_array_equal(slope["a/kernel"], [[-1, 0, 0]] * 4)
    np.testing.assert_array_equal(slope["b/kernel"], np.zeros((5, 3)))
