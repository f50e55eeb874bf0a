"""Tests of mpnas/cost: what every cost promises, on every kind of small network.

A new cost is one new row in `COSTS`; a new way of connecting or deciding one new row in `SPACES`.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.cost import COSTS, achievable, exact_cost, floor_assignment, soft_cost
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
EVERY_COST = pytest.mark.parametrize("cost", COSTS, ids=lambda cost: cost.name)
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
    assert hash(type(cost)()) == hash(cost) and type(cost)() == cost


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
    assert exact_cost(cost, space, space.from_indices(indices)) >= before


@EVERY_COST
@settings(deadline=None, max_examples=50)
@given(ANY_SPACE, ANY_SEED)
def test_every_assignment_costs_between_the_floor_and_the_highest(cost, name, seed):
    space = SPACES[name]
    low, high = achievable([cost], space)[cost.name]
    assert low <= exact_cost(cost, space, any_assignment(space, np.random.default_rng(seed))) <= high


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


@EVERY_COST
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
    assert all(float(row) >= 0 for row in rows)


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
