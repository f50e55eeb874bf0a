"""Tests of mpnas/cost/base.py."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cost_spaces import chain, counted, layer, random_assignment, residual, separable, space_of, work
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.cost import COSTS, Bops, Macs, PeakActBytes, WeightBytes, exact_cost, measure, soft_cost
from mpnas.cost.base import alive_pairs, combined
from mpnas.space import Rule, build_space, usage

RULES = (
    Rule(match="*", weights=(0, 2, 4, 8), activations=(4, 8), granularity="channel"),
    Rule(match="*", weights=(4, 16), activations=(16, 32), scale="layer"),
    Rule(match="*", weights=(0, 8), granularity="channel", scale=3),
    Rule(match="*", activations=(1, 5)),
)
UNEVEN = Rule(match="*", weights=(0, 8, 32), activations=(2, 8, 32), granularity=3, scale="channel")
SPACES = [space_of(net, rule) for net in (chain, residual, separable) for rule in (*RULES, UNEVEN)]


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(SPACES), st.integers(0, 2**32 - 1))
def test_every_cost_equals_a_count_by_loops_over_channels(space, seed):
    assignment = random_assignment(space, np.random.default_rng(seed))
    expected = counted(space, assignment)
    assert measure(COSTS, space, assignment) == {name: float(value) for name, value in expected.items()}


def test_half_the_channels_at_4_and_half_at_8_bits_cost_what_two_layers_of_half_the_channels_do():
    def of(channels, *bits):
        parts = [
            layer("a", (3, 3, 2, channels), "input", "a/channels", macs=25 * 18 * channels, tensor="x"),
            layer("b", (channels, 3), "a/channels", "b/channels", macs=3 * channels, tensor="y"),
        ]
        rule = Rule(match="*", weights=(4, 8), activations=(8,), granularity="channel")
        space = build_space(work(parts, (), (), frozen={"b/channels"}), [rule])
        chosen = {**space.uniform(8).bits, "a/kernel": bits}
        gates = space.one_hot(space.from_indices({s: [space.choices[s].bits.index(b) for b in bs]
                                                  for s, bs in chosen.items()}))
        return {cost.name: cost.rows(space, usage(space, gates)) for cost in (Macs(), Bops(), WeightBytes())}

    mixed, low, high = of(8, 4, 8, 4, 8, 8, 8, 4, 4), of(4, 4, 4, 4, 4), of(4, 8, 8, 8, 8)
    for name in mixed:
        # The two layers would each store the scale (4 bytes) and width (half a byte) of their input.
        twice = 4.5 if name == "weight_bytes" else 0
        assert mixed[name][-2] == low[name][-2] + high[name][-2] - twice


@pytest.mark.parametrize("cost", [Macs(), Bops(), WeightBytes()], ids=lambda cost: cost.name)
def test_gradient_reaches_the_layer_that_produces_an_input_channel(cost):
    space = space_of(chain)
    rng = np.random.default_rng(0)
    gates = {s: rng.dirichlet(np.ones(len(c.bits)), c.decisions) for s, c in space.choices.items()}

    def consumer(values):
        return cost.rows(space, usage(space, values))[-1]

    slope = jax.grad(lambda g: consumer({**jax.tree.map(jnp.asarray, gates), "a/kernel": g}))(
        jnp.asarray(gates["a/kernel"])
    )
    step = 1e-3
    for d, k in np.ndindex(4, 4):
        moved = {site: values.copy() for site, values in gates.items()}
        moved["a/kernel"][d, k] += step
        # Linear in one gate, so that the difference is the slope but for rounding.
        expected = (consumer(moved) - consumer(gates)) / step
        np.testing.assert_allclose(slope[d, k], expected, rtol=1e-4, atol=1e-4)
    assert np.all(slope[:, 0] < 0)


def test_gradient_of_the_whole_cost_is_the_finite_difference_in_every_gate():
    space = space_of(residual, Rule(match="*", weights=(0, 8), activations=(4, 8), granularity=2))
    rng = np.random.default_rng(1)
    gates = {s: rng.dirichlet(np.ones(len(c.bits)), c.decisions) for s, c in space.choices.items()}
    for cost in COSTS:
        slopes = jax.jit(jax.grad(functools.partial(soft_cost, cost, space)))(gates)
        for site, values in gates.items():
            for place in np.ndindex(values.shape):
                ends = []
                for step in (1e-4, -1e-4):
                    moved = {s: v.copy() for s, v in gates.items()}
                    moved[site][place] += step
                    ends.append(float(soft_cost(cost, space, moved)))
                expected = (ends[0] - ends[1]) / 2e-4
                np.testing.assert_allclose(slopes[site][place], expected, rtol=1e-3, atol=1e-3)


def test_expected_cost_of_even_gates_is_at_the_mean_bits():
    space = space_of(chain, Rule(match="*", weights=(2, 8), activations=(4, 8)))
    even = {site: np.full((c.decisions, 2), 0.5) for site, c in space.choices.items()}
    assert soft_cost(Bops(), space, even) == 1812 * 5 * 6 + 7 * 1024


def test_combined_adds_or_takes_the_largest_of_floats_and_of_arrays():
    for rows in ([1.0, 3.0, 2.0], [jnp.float32(1), 3.0, jnp.float32(2)], [np.float64(1), np.array(3.0), 2]):
        assert float(combined(Macs(), rows)) == 6
        assert float(combined(PeakActBytes(), rows)) == 3
    assert combined(PeakActBytes(), []) == combined(Macs(), []) == 0


def test_layer_without_an_input_channel_axis_reads_all_of_its_input():
    lone = layer("a", (4, 3), "input", "a/channels", macs=12, tensor="x")
    space = build_space(work([lone], (), ()), [])
    use = usage(space, {})
    assert alive_pairs(use, lone) == (3, 4)
    assert alive_pairs(use, dataclasses.replace(lone, reads=None)) == (3, 4)


def test_counts_beyond_float32_stay_whole():
    # 2^24 + 1 is no float32; the count is exact because one-hot gates are float64.
    parts = [layer("a", (1, 1), "input", "a/channels", macs=2**24 + 1, tensor="x")]
    space = build_space(work(parts, (), ()), [Rule(match="a", weights=(3,), activations=(5,))])
    assert exact_cost(Bops(), space, space.uniform(None)) == 15 * (2**24 + 1)
