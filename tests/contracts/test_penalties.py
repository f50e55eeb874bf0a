"""Tests of mpnas/cost/penalty.py: what every penalty promises.

A new penalty is one new row in `mpnas.cost.PENALTIES`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpnas.cost import PENALTIES, penalty_of

LIMITS = {"macs": 100.0, "bops": 10.0}
EVERY = pytest.mark.parametrize("penalty", [kind() for kind in PENALTIES.values()], ids=list(PENALTIES))


def slopes(penalty, expected, discrete, limits, memory):
    """Derivatives of the loss by every expected cost."""
    return jax.grad(lambda costs: penalty.loss(memory, costs, discrete, limits, 1.0))(expected)


@EVERY
def test_penalty_is_hashable_and_comes_back_from_its_name_and_table(penalty):
    assert hash(penalty) == hash(dataclasses.replace(penalty))
    name = next(n for n, kind in PENALTIES.items() if isinstance(penalty, kind))
    assert penalty_of(name) == penalty_of({"name": name, **dataclasses.asdict(penalty)}) == penalty
    assert penalty_of(penalty) is penalty


@EVERY
def test_memory_keeps_its_structure_through_an_update(penalty):
    memory = penalty.init(LIMITS)
    costs = {"macs": jnp.float32(120.0), "bops": jnp.float32(5.0)}
    after = jax.jit(penalty.update)(memory, costs, costs, LIMITS, 0.5)
    assert jax.tree.structure(after) == jax.tree.structure(memory)
    assert [leaf.dtype for leaf in jax.tree.leaves(after)] == [leaf.dtype for leaf in jax.tree.leaves(memory)]


@EVERY
def test_costs_of_nothing_have_finite_slopes(penalty):
    memory = penalty.init({"macs": 100.0})
    zero = {"macs": jnp.float32(0.0)}
    memory = penalty.update(memory, zero, zero, {"macs": 100.0}, 1.0)
    assert math.isfinite(slopes(penalty, zero, zero, {"macs": 100.0}, memory)["macs"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(memory))


@EVERY
def test_without_limits_there_is_no_loss(penalty):
    costs = {"macs": 5.0}
    assert float(penalty.loss(penalty.init({}), costs, costs, {}, 0.5)) == 0


@EVERY
def test_cost_without_a_limit_is_not_pulled_and_one_far_above_its_limit_never_up(penalty):
    costs = {"macs": jnp.float32(400.0), "bops": jnp.float32(90.0), "free": jnp.float32(7.0)}
    memory = penalty.init(LIMITS)
    for _ in range(20):
        memory = penalty.update(memory, costs, costs, LIMITS, 1.0)
    found = slopes(penalty, costs, costs, LIMITS, memory)
    assert float(found["free"]) == 0
    assert float(found["macs"]) > 0 and float(found["bops"]) > 0


@EVERY
def test_one_compilation_serves_all_limits_and_progresses(penalty):
    traces = []

    @jax.jit
    def step(memory, costs, limits, progress):
        traces.append(1)
        value = penalty.loss(memory, costs, costs, limits, progress)
        return value, penalty.update(memory, costs, costs, limits, progress)

    for share in (0.5, 0.9, 1.5):
        limits = {name: jnp.float32(share * limit) for name, limit in LIMITS.items()}
        costs = {name: jnp.float32(limit) for name, limit in LIMITS.items()}
        memory, value = penalty.init(limits), 0.0
        for progress in (0.0, 0.5):
            value, memory = step(memory, costs, limits, jnp.float32(progress))
        assert math.isfinite(float(value))
    assert len(traces) == 1


@EVERY
def test_population_of_limits_can_be_mapped(penalty):
    members = [{name: jnp.float32(share * limit) for name, limit in LIMITS.items()} for share in (0.5, 2.0)]
    costs = {name: jnp.float32(limit) for name, limit in LIMITS.items()}
    one_by_one = [penalty.loss(penalty.init(m), costs, costs, m, 1.0) for m in members]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    mapped = jax.vmap(lambda m: penalty.loss(penalty.init(m), costs, costs, m, 1.0))(stacked)
    np.testing.assert_allclose(mapped, jnp.stack([jnp.asarray(v) for v in one_by_one]), rtol=1e-6)
