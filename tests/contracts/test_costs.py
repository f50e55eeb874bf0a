"""Tests of mpnas/cost: what every cost promises, on every kind of small network.

A new cost is one new row in `MEMBERS`; a new way of connecting or deciding one new row in `SPACES`.
"""

import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.cost import (
    COSTS,
    BopsBaskin,
    Cycles,
    Energy,
    Energy45nm,
    Latency,
    Roofline,
    Throughput,
    achievable,
    exact_cost,
    floor_assignment,
    measure,
    repair,
    satisfied,
    soft_cost,
)
from mpnas.cost.base import largest
from mpnas.cost.linear import bound_at, linearised, slices
from mpnas.errors import BudgetError
from mpnas.space import Rule, build_space, usage
from mpnas.supernet import trace


class Residual(nnx.Module):
    """Normalised convolutions, an addition, a strided shortcut and a linear head."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(2, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.inner = nnx.Conv(4, 6, (3, 3), rngs=rngs)
        self.outer = nnx.Conv(6, 4, (3, 3), use_bias=False, rngs=rngs)
        self.down = nnx.Conv(4, 5, (1, 1), strides=2, rngs=rngs)
        self.head = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.norm(self.stem(x)))
        x = jax.nn.relu(x + self.outer(jax.nn.relu(self.inner(x))))
        return self.head(self.down(x).mean(axis=(1, 2)))


class Separable(nnx.Module):
    """A depthwise convolution, a layer that is called twice, and a norm that folds into nothing."""

    def __init__(self, rngs):
        self.wide = nnx.Conv(2, 6, (1, 1), rngs=rngs)
        self.each = nnx.Conv(6, 6, (3, 3), feature_group_count=6, rngs=rngs)
        self.twice = nnx.Conv(6, 6, (1, 1), rngs=rngs)
        self.norm = nnx.LayerNorm(6, rngs=rngs)
        self.head = nnx.LinearGeneral(6, (2, 3), rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.each(jax.nn.relu(self.wide(x))))
        x = self.twice(jax.nn.relu(self.twice(x)))
        return self.head(self.norm(x.mean(axis=(1, 2))))


class Attention(nnx.Module):
    """Three readers of one tensor and products of activations."""

    def __init__(self, rngs):
        self.query, self.key, self.value, self.out = (nnx.Linear(4, 4, rngs=rngs) for _ in range(4))

    def __call__(self, x):
        x = x.reshape(x.shape[0], -1, 4)
        scores = jax.nn.softmax(self.query(x) @ self.key(x).transpose(0, 2, 1))
        return self.out(scores @ self.value(x) + x)


@functools.cache
def work_of(net):
    model = nnx.eval_shape(lambda: net(nnx.Rngs(0)))
    return trace(model, jax.ShapeDtypeStruct((1, 4, 4, 2), jnp.float32))


RULES = {
    "layers": Rule(match="*", weights=(2, 4, 8), activations=(4, 8)),
    "channels": Rule(match="*", weights=(0, 2, 8), activations=(4, 8, 16), granularity="channel"),
    "subgroups": Rule(match="*", weights=(0, 1, 3), activations=(2, 8), granularity=4, scale=3),
    "shared_scale": Rule(match="*", weights=(2, 5, 16, 32), granularity="channel", scale="layer"),
    "floats": Rule(match="*", weights=(8, 32), activations=(8, 32), granularity="channel"),
}
# Layers that cannot be searched stay float.
EXCEPT = {Separable: (Rule(match="head", weights=(), activations=()),)}


def space_of(net, rule):
    return build_space(work_of(net), (RULES[rule], *EXCEPT.get(net, ())))


SPACES = {f"{net.__name__}-{rule}": space_of(net, rule) for net in (Residual, Separable, Attention)
          for rule in RULES}
# Every width that the rules above offer is between two of this table.
CORE = Throughput(
    name="core", act_bits=(2, 8, 32), weight_bits=(1, 8, 32),
    macs_per_cycle=((16, 8, 2), (8, 4, 1), (2, 1, 0.25)), hertz=1e8, watt=0.1,
)
MEMBERS = (
    *COSTS,
    BopsBaskin(),
    Cycles(table=CORE, missing="interpolate"),
    Latency(table=CORE, missing="interpolate"),
    Energy(table=CORE, missing="interpolate"),
    Energy45nm(),
    Energy45nm(weights="sram", activations="dram", accumulator_bits=16),
    Roofline(peak=1e9, bandwidth=2e8, narrowest=2),
)
ONCE = {cost.name: cost for cost in MEMBERS}
EVERY_COST = pytest.mark.parametrize("cost", MEMBERS, ids=lambda cost: cost.name)
ROUNDING = 1e-12  # sums of what is no whole number
EVERY_SPACE = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
ANY_SPACE, ANY_SEED = st.sampled_from(sorted(SPACES)), st.integers(0, 2**32 - 1)


def any_assignment(space, rng):
    indices = {s: rng.integers(len(c.bits), size=c.decisions) for s, c in space.choices.items()}
    for site in space.remover.values():
        kept = rng.integers(len(indices[site]))
        indices[site][kept] = max(indices[site][kept], 1)
    return space.from_indices(indices)


@EVERY_COST
def test_cost_names_itself_and_says_in_json_what_it_counts(cost):
    assert cost.name and cost.unit and cost.combine in {"sum", "max"}
    assert json.loads(json.dumps(dict(cost.counts))) == cost.counts
    assert all(isinstance(flag, bool) for flag in cost.counts.values())


@EVERY_COST
def test_cost_is_hashable_and_equal_to_its_copy(cost):
    assert hash(dataclasses.replace(cost)) == hash(cost) and dataclasses.replace(cost) == cost


@EVERY_COST
@settings(deadline=None, max_examples=50)
@given(ANY_SPACE, ANY_SEED)
def test_more_bits_and_more_channels_never_cost_less(cost, name, seed):
    space, rng = SPACES[name], np.random.default_rng(seed)
    start = any_assignment(space, rng)
    before = exact_cost(cost, space, start)
    indices = space.indices(start)
    site = sorted(indices)[rng.integers(len(indices))]
    decision = rng.integers(len(indices[site]))
    indices[site][decision] = min(indices[site][decision] + 1, len(space.choices[site].bits) - 1)
    assert exact_cost(cost, space, space.from_indices(indices)) >= before * (1 - ROUNDING)


@EVERY_COST
@settings(deadline=None, max_examples=50)
@given(ANY_SPACE, ANY_SEED)
def test_every_assignment_costs_between_the_floor_and_the_highest(cost, name, seed):
    space = SPACES[name]
    low, high = achievable([cost], space)[cost.name]
    found = exact_cost(cost, space, any_assignment(space, np.random.default_rng(seed)))
    assert low * (1 - ROUNDING) <= found <= high * (1 + ROUNDING)


@EVERY_COST
@settings(deadline=None, max_examples=30)
@given(ANY_SPACE, ANY_SEED)
def test_one_hot_gates_cost_what_the_assignment_does(cost, name, seed):
    space = SPACES[name]
    assignment = any_assignment(space, np.random.default_rng(seed))
    exact, gates = exact_cost(cost, space, assignment), space.one_hot(assignment)
    assert float(soft_cost(cost, space, gates)) == exact
    np.testing.assert_allclose(compiled(cost, name)(gates), exact, rtol=1e-5)


@functools.cache
def compiled(cost, name):
    return jax.jit(functools.partial(soft_cost, cost, SPACES[name]))


@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: cost.name)
@settings(deadline=None, max_examples=50)
@given(ANY_SPACE, ANY_SEED)
def test_exact_cost_is_a_whole_number_of_bits(cost, name, seed):
    space = SPACES[name]
    exact = exact_cost(cost, space, any_assignment(space, np.random.default_rng(seed)))
    assert (8 * exact).is_integer() and exact > 0


@EVERY_COST
@EVERY_SPACE
def test_rows_follow_the_layers_or_the_moments_and_are_not_negative(cost, space):
    rows = cost.rows(space, usage(space, space.one_hot(floor_assignment(space))))
    places = space.work.timeline if cost.combine == "max" else space.work.layers
    assert len(rows) == len(places) if cost.combine == "max" else len(rows) >= len(places)
    assert all(float(largest(row) if isinstance(row, tuple) else row) >= 0 for row in rows)


@EVERY_COST
@pytest.mark.parametrize("name", ["Residual-channels", "Separable-subgroups", "Attention-shared_scale"])
def test_gradient_is_finite_in_every_gate_and_not_zero_everywhere(cost, name):
    space, rng = SPACES[name], np.random.default_rng(0)
    gates = {s: rng.dirichlet(np.ones(len(c.bits)), c.decisions) for s, c in space.choices.items()}
    slopes = jax.jit(jax.grad(functools.partial(soft_cost, cost, space)))(gates)
    assert all(np.isfinite(slope).all() for slope in slopes.values())
    # The memory of activations looks at no weight's bits, and work at no bits at all.
    free = cost.name == "macs" and not space.remover or cost.name == "peak_act_bytes" and not space.act_site
    assert any(np.any(np.asarray(slope) != 0) for slope in slopes.values()) or free


def linear_net(*sizes):
    """Linear layers one after another, with a rectifier between them."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(sizes)])

        def __call__(self, x):
            for number, layer in enumerate(self.layers):
                x = layer(jax.nn.relu(x) if number else x)
            return x

    return Net


class Halves(nnx.Module):
    """Two layers beside each other that read the same input."""

    def __init__(self, rngs):
        self.low, self.high = nnx.Linear(4, 3, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return jnp.concatenate([self.low(x), self.high(x)], axis=-1)


class Grouped(nnx.Module):
    """One convolution of 6 channels in a number of groups."""

    def __init__(self, rngs, groups):
        self.conv = nnx.Conv(6, 6, (3, 3), feature_group_count=groups, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.conv(x)


def priced(cost, net, shape, rule, indices=None, **options):
    """The cost of one assignment of a small network, all at its widest if no indices are given."""
    model = nnx.eval_shape(lambda: net(nnx.Rngs(0), **options))
    space = build_space(trace(model, jax.ShapeDtypeStruct((1, *shape), jnp.float32)), [rule])
    chosen = space.indices(space.uniform(None)) | (indices or {})
    return exact_cost(cost, space, space.from_indices(chosen))


# Costs of the arithmetic alone; the others also count an input per layer, or what is alive together.
ARITHMETIC = [ONCE[n] for n in ("macs", "bops", "bops_baskin", "cycles_core", "latency_core", "energy_core")]
CHANNELS = Rule(match="*", weights=(0, 4, 8), activations=(8,), granularity="channel")
KEPT = Rule(match="*", weights=(4, 8), activations=(8,), granularity="channel")


@pytest.mark.parametrize("cost", [*ARITHMETIC, ONCE["weight_bytes"]], ids=lambda cost: cost.name)
def test_half_the_channels_at_4_bits_and_half_at_8_cost_what_two_layers_do(cost):
    joint = priced(cost, linear_net(4, 6), (4,), KEPT, {"layers/0/kernel": [0, 0, 0, 1, 1, 1]})
    apart = priced(cost, Halves, (4,), KEPT, {"low/kernel": [0, 0, 0], "high/kernel": [1, 1, 1]})
    assert joint == pytest.approx(apart, rel=ROUNDING)


@EVERY_COST
def test_half_the_channels_removed_cost_what_the_narrower_network_does(cost):
    pruned = priced(cost, linear_net(4, 6, 3), (4,), CHANNELS, {"layers/0/kernel": [2, 0, 2, 0, 2, 0]})
    narrow = priced(cost, linear_net(4, 3, 3), (4,), CHANNELS)
    # That three channels are removed is stored, in 4 bits each.
    stored = 3 * 4 / 8 if cost.name == "weight_bytes" else 0
    assert pruned == pytest.approx(narrow + stored, rel=ROUNDING)


@pytest.mark.parametrize("cost", ARITHMETIC, ids=lambda cost: cost.name)
def test_removed_half_halves_its_layer_and_the_one_that_reads_it(cost):
    if cost.name == "bops_baskin":
        pytest.skip("its accumulators get shorter, too")
    full, half = (
        priced(cost, linear_net(4, 6, 3), (4,), CHANNELS, {"layers/0/kernel": kept})
        for kept in ([2] * 6, [2, 2, 2, 0, 0, 0])
    )
    assert half == pytest.approx(full / 2, rel=ROUNDING)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_groups_divide_the_arithmetic(groups):
    rule = Rule(match="*", weights=(8,), activations=(8,))
    macs = 5 * 5 * 6 * (6 // groups) * 9  # padded to the same size
    found = {c.name: priced(c, Grouped, (5, 5, 6), rule, groups=groups) for c in ARITHMETIC}
    accumulated = 64 + 16 + np.log2(6 // groups * 9)
    by_hand = {"macs": macs, "bops": 64 * macs, "bops_baskin": macs * accumulated, "cycles_core": macs / 4,
               "latency_core": macs / 4 / 1e8, "energy_core": macs / 4 / 1e8 * 0.1}
    assert found == pytest.approx(by_hand, rel=ROUNDING)


@EVERY_COST
def test_tokens_multiply_arithmetic_and_activations(cost):
    rule = Rule(match="*", weights=(8,), activations=(8,))
    one, seven = (priced(cost, linear_net(4, 6), shape, rule) for shape in ((4,), (7, 4)))
    if cost in ARITHMETIC or cost.name == "peak_act_bytes":
        assert seven == pytest.approx(7 * one, rel=ROUNDING)
    elif cost.name == "weight_bytes":
        assert seven == one
    else:  # weights are read once, all the rest per token
        assert one < seven <= 7 * one


@EVERY_COST
@pytest.mark.parametrize("name", ["Residual-layers", "Separable-layers", "Attention-shared_scale"])
def test_cost_is_linear_for_the_repair_where_no_channel_is_removed(cost, name):
    if cost.combine == "max":
        pytest.skip("a maximum is met by tangents")
    space, rng = SPACES[name], np.random.default_rng(0)
    around, there = (np.concatenate([g.ravel() for g in space.one_hot(any_assignment(space, rng)).values()])
                     for _ in range(2))
    (bound,) = linearised(space, cost, 1.0, {}, around)
    gates = {s: there[p].reshape(space.choices[s].decisions, -1) for s, p in slices(space).items()}
    np.testing.assert_allclose(bound_at(bound, there), float(soft_cost(cost, space, gates)), rtol=1e-5)


# Seconds and joule of a core are multiples of its cycles, and MACs see no bits.
SEARCHED = [c for c in ONCE.values() if c.name not in {"macs", "latency_core", "energy_core"}]
REPAIRED = ["Residual-channels", "Separable-subgroups", "Attention-layers"]


@functools.cache
def reach_of(name):
    return achievable(SEARCHED, SPACES[name])


def asked(name, rng):
    """One to four costs, limits from nearly the floor up, and a preference."""
    space, reach = SPACES[name], reach_of(name)
    names = rng.permutation([cost.name for cost in SEARCHED])[: rng.integers(1, 5)]
    limits = {n: reach[n][0] + rng.uniform() ** 2 * (reach[n][1] - reach[n][0]) for n in names}
    wanted = {s: rng.dirichlet(np.ones(len(c.bits)), c.decisions) for s, c in space.choices.items()}
    return space, limits, wanted


def test_200_random_budgets_of_several_costs_all_hold_exactly_after_the_repair():
    rng = np.random.default_rng(0)
    for number in range(200):
        space, limits, wanted = asked(REPAIRED[number % len(REPAIRED)], rng)
        found = repair(space, SEARCHED, limits, wanted)
        space.check(found)
        assert satisfied(measure(SEARCHED, space, found), limits)


def test_50_random_budgets_with_one_below_the_floor_are_all_refused():
    rng = np.random.default_rng(1)
    for number in range(50):
        name = REPAIRED[number % len(REPAIRED)]
        space, limits, wanted = asked(name, rng)
        impossible = sorted(limits)[rng.integers(len(limits))]
        limits[impossible] = reach_of(name)[impossible][0] * rng.uniform(0.1, 0.999)
        with pytest.raises(BudgetError, match=impossible):
            repair(space, SEARCHED, limits, wanted)
