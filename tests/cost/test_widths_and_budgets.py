"""Tests of mpnas/cost where a space has widths: floors, ranges, expected costs and the exact repair."""

import itertools

import numpy as np
import pytest
from cost_spaces import chain, residual, separable, space_of

from mpnas.cost import COSTS, achievable, floor_assignment, measure, repair, satisfied
from mpnas.cost.base import soft_cost
from mpnas.errors import BudgetError
from mpnas.space import Rule

LIMITED = ("weight_bytes", "bops", "peak_act_bytes")
BOTH = Rule(match="*", weights=(0, 2, 8), activations=(4, 8), granularity="channel", widths=(0.25, 0.5, 1))
ONLY_WIDTHS = Rule(match="*", weights=(2, 8), activations=(8,), widths=(0.25, 0.5, 1))
SUBGROUPS = Rule(match="*", weights=(0, 4), activations=(8,), granularity=3, widths=(0.25, 0.5, 1))


def any_assignments(space, rng, count):
    for _ in range(count):
        indices = {s: rng.integers(0, len(c.bits), c.decisions) for s, c in space.choices.items()}
        assignment = space.from_indices(indices)
        if all(alive.any() for alive in space.existing(indices).values()):
            yield assignment


@pytest.mark.parametrize("rule", [BOTH, ONLY_WIDTHS, SUBGROUPS], ids=["both", "widths", "subgroups"])
@pytest.mark.parametrize("net", [chain, residual, separable])
def test_no_assignment_is_outside_of_the_achievable_range(net, rule):
    space = space_of(net, rule)
    reach = achievable(COSTS, space)
    floor = floor_assignment(space)
    space.check(floor)
    assert measure(COSTS, space, floor) == {name: low for name, (low, _) in reach.items()}
    for assignment in any_assignments(space, np.random.default_rng(0), 90):
        costs = measure(COSTS, space, assignment)
        assert all(low <= costs[name] <= high for name, (low, high) in reach.items())


def test_the_floor_of_a_small_net_is_the_least_of_all_assignments():
    space = space_of(chain, Rule(match="a", weights=(0, 8), granularity=3, widths=(0.5, 0.75, 1)))
    every = []
    for kernel in itertools.product(range(2), repeat=2):
        for width in range(3):
            assignment = space.from_indices({"a/kernel": kernel, "a/width": [width]})
            if all(alive.any() for alive in space.existing(space.indices(assignment)).values()):
                every.append(measure(COSTS, space, assignment))
    assert len(every) == 7, "the last of four channels alone is there at the full width only"
    found = floor_assignment(space)
    floor = measure(COSTS, space, found)
    # One channel, for which the width must be the full one: 3 x 3 x 2 x 25 products, 3 in the next layer.
    assert found.bits == {"a/kernel": (0, 8), "a/width": (4,)}
    assert floor["macs"] == 450 + 3 + 7
    assert floor == {name: min(costs[name] for costs in every) for name in floor}


@pytest.mark.parametrize("net, rule", [
    (chain, BOTH), (residual, BOTH), (separable, BOTH), (residual, ONLY_WIDTHS), (residual, SUBGROUPS),
])
def test_random_budgets_hold_exactly_where_widths_and_bits_remove_channels(net, rule):
    space = space_of(net, rule)
    reach, rng = achievable(COSTS, space), np.random.default_rng(0)
    for number in range(12):
        names = rng.permutation(LIMITED)[: 1 + number % 3]
        limits = {n: reach[n][0] + rng.uniform() ** 2 * (reach[n][1] - reach[n][0]) for n in names}
        wanted = {s: rng.dirichlet(np.ones(len(c.bits)), c.decisions) for s, c in space.choices.items()}
        found = repair(space, COSTS, limits, wanted)
        assert satisfied(measure(COSTS, space, found), limits)
        space.check(found)


def test_a_preferred_network_that_fits_is_kept_with_its_widths():
    space = space_of(residual, BOTH)
    wanted = {s: np.eye(len(c.bits))[np.full(c.decisions, -1)] for s, c in space.choices.items()}
    wanted["stem/width"] = np.array([[0.1, 0.8, 0.1]])
    limits = measure(COSTS, space, space.nearest(wanted))
    assert repair(space, COSTS, limits, wanted) == space.nearest(wanted)


def test_a_width_that_the_mask_empties_gets_a_channel_back():
    # Only the last channel is wanted, at a width that does not reach it.
    space = space_of(residual, BOTH)
    wanted = {s: np.eye(len(c.bits))[np.full(c.decisions, -1)] for s, c in space.choices.items()}
    wanted["stem/channels"] = np.array([[0.9, 0.1], [0.6, 0.4], [0.9, 0.1], [0.0, 1.0]])
    wanted["stem/width"] = np.array([[0.0, 1.0, 0.0]])
    found = repair(space, COSTS, {}, wanted)
    assert found.bits["stem/width"] == (2,) and found.bits["stem/channels"] == (0, 1, 0, 1)


def test_budgets_below_the_floor_are_refused():
    space = space_of(residual, BOTH)
    low = achievable(COSTS, space)["bops"][0]
    uniform = {s: np.full((c.decisions, len(c.bits)), 1 / len(c.bits)) for s, c in space.choices.items()}
    with pytest.raises(BudgetError, match="no assignment meets bops"):
        repair(space, COSTS, {"bops": low - 1}, uniform)


@pytest.mark.parametrize("name", ["macs", "bops"])
def test_every_cost_falls_with_a_narrower_width(name):
    space = space_of(residual, BOTH)
    (cost,) = (cost for cost in COSTS if cost.name == name)
    gates = space.one_hot(space.uniform(8))
    costs = []
    for share in (0.0, 0.3, 0.7, 1.0):
        gates["stem/width"] = np.array([[0.0, 1 - share, share]])
        costs.append(float(soft_cost(cost, space, gates)))
    assert costs == sorted(costs) and costs[0] < costs[-1]
