"""Tests of mpnas/cost/knapsack.py."""

import itertools

import numpy as np
import pytest
from cost_spaces import chain, random_assignment, residual, separable, space_of

from mpnas.cost import COSTS, achievable, measure, satisfied
from mpnas.cost.knapsack import Knapsack
from mpnas.cost.linear import bound_at
from mpnas.space import Rule

LAYERWISE = Rule(match="*", weights=(2, 4, 8), activations=(4, 8))
PRUNING = Rule(match="*", weights=(0, 2, 8), activations=(4, 8), granularity=2)


def problem(space, limits, seed):
    rng = np.random.default_rng(seed)
    scores = {s: rng.normal(size=(c.decisions, len(c.bits))) for s, c in space.choices.items()}
    return Knapsack(space, [cost for cost in COSTS if cost.name in limits], limits, scores)


def every_assignment(space):
    ranges = [range(len(c.bits)) for c in space.choices.values() for _ in range(c.decisions)]
    for picks in itertools.product(*ranges):
        rest = iter(picks)
        yield space.from_indices(
            {s: [next(rest) for _ in range(c.decisions)] for s, c in space.choices.items()}
        )


def limits_at(space, names, share):
    reach = achievable(COSTS, space)
    return {name: reach[name][0] + share * (reach[name][1] - reach[name][0]) for name in names}


@pytest.mark.parametrize("net", [chain, separable])
@pytest.mark.parametrize(
    "names", [("bops",), ("weight_bytes",), ("peak_act_bytes",), ("weight_bytes", "bops", "peak_act_bytes")]
)
def test_solution_is_the_best_of_all_assignments_where_nothing_is_removed(net, names):
    space = space_of(net, LAYERWISE)
    priced = [(a, measure(COSTS, space, a)) for a in every_assignment(space)]
    for seed, share in enumerate((0.02, 0.2, 0.5, 0.9)):
        limits = limits_at(space, names, share)
        knapsack = problem(space, limits, seed)
        best = max(knapsack.score(a) for a, costs in priced if satisfied(costs, limits))
        assert knapsack.score(knapsack.solve({}, space.uniform(None))) == pytest.approx(best, abs=1e-9)


def test_tensor_with_two_readers_is_met_by_tangents():
    # `h` is kept at the wider of two activations: a maximum, which is no linear row.
    space = space_of(residual, Rule(match="*", activations=(2, 4, 8)))
    priced = [(a, measure(COSTS, space, a)) for a in every_assignment(space)]
    for seed in range(12):
        limits = limits_at(space, ["peak_act_bytes"], (seed + 1) / 13)
        knapsack = problem(space, limits, seed)
        best = max(knapsack.score(a) for a, costs in priced if satisfied(costs, limits))
        for around in (space.uniform(None), space.uniform(2), space.uniform(4)):
            assert knapsack.score(knapsack.solve({}, around)) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_caps_and_limits_hold_and_the_held_channels_are_never_too_few(seed):
    space = space_of(residual, PRUNING)
    rng = np.random.default_rng(seed)
    caps = {group: int(rng.integers(2, space.work.groups[group].size + 1)) for group in space.remover}
    limits = limits_at(space, ["bops", "weight_bytes"], 0.4)
    found = problem(space, limits, seed).solve(caps, space.uniform(None))
    assert found is not None and satisfied(measure(COSTS, space, found), limits)
    space.check(found)
    for group, site in space.remover.items():
        assert sum(space.indices(found)[site][space.channel_decision[site]] > 0) <= caps[group]


def test_row_is_the_exact_cost_where_as_many_channels_exist_as_the_caps_say():
    space = space_of(chain, PRUNING)
    rng = np.random.default_rng(0)
    names = ("macs", "bops", "weight_bytes")
    knapsack = problem(space, dict.fromkeys(names, 10.0), 0)
    for _ in range(20):
        around, there = random_assignment(space, rng), random_assignment(space, rng)
        alive = np.array(there.bits["a/kernel"])[space.channel_decision["a/kernel"]] > 0
        x, y = (np.concatenate([g.ravel() for g in space.one_hot(a).values()]) for a in (around, there))
        for cost in knapsack.costs:
            (bound,) = knapsack._bounds(cost, {"a/channels": int(alive.sum())}, x)
            exact = measure([cost], space, there)[cost.name]
            np.testing.assert_allclose(bound_at(bound, y) * 10, exact, rtol=1e-5)


def test_limits_out_of_reach_have_no_solution():
    space = space_of(chain, LAYERWISE)
    limits = {"bops": achievable(COSTS, space)["bops"][0] * 0.999}
    assert problem(space, limits, 0).solve({}, space.uniform(None)) is None


def test_limit_that_one_assignment_meets_exactly_is_met_by_it():
    space = space_of(chain, LAYERWISE)
    floor = space.uniform(None, highest=False)
    limits = measure(COSTS, space, floor)
    assert problem(space, limits, 0).solve({}, space.uniform(None)) == floor
