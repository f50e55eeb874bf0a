"""Tests of mpnas/cost/repair.py."""

import dataclasses
import itertools

import numpy as np
import pytest
from cost_spaces import EVERYTHING, KEEPING, chain, residual, separable, space_of

from mpnas.cost import COSTS, achievable, floor_assignment, measure, repair, satisfied
from mpnas.errors import BudgetError
from mpnas.space import Rule

LIMITED = ("weight_bytes", "bops", "peak_act_bytes")


def preference(space, rng, spread=1.0):
    return {s: rng.dirichlet(np.full(len(c.bits), spread), c.decisions) for s, c in space.choices.items()}


def score(space, wanted, assignment):
    indices = space.indices(assignment)
    return sum(float(np.log(wanted[s][np.arange(len(i)), i]).sum()) for s, i in indices.items())


def within_reach(space, rng, names):
    """Limits somewhere between the lowest and the highest cost, more often near the lowest."""
    reach = achievable(COSTS, space)
    return {n: reach[n][0] + rng.uniform() ** 2 * (reach[n][1] - reach[n][0]) for n in names}


@pytest.mark.parametrize("net, rule", [(chain, KEEPING), (residual, KEEPING), (chain, EVERYTHING),
                                       (residual, EVERYTHING), (separable, EVERYTHING)])
def test_random_feasible_budgets_hold_exactly_and_leave_a_channel_in_every_group(net, rule):
    space = space_of(net, rule)
    rng = np.random.default_rng(0)
    for number in range(40):
        names = rng.permutation(LIMITED)[: 1 + number % 3]
        limits = within_reach(space, rng, names)
        found = repair(space, COSTS, limits, preference(space, rng, spread=rng.choice([0.2, 1.0, 5.0])))
        assert satisfied(measure(COSTS, space, found), limits)
        space.check(found)


def test_preferred_assignment_is_kept_where_it_meets_the_limits():
    space = space_of(residual, EVERYTHING)
    rng = np.random.default_rng(1)
    wanted = preference(space, rng)
    for gates in wanted.values():
        gates[:, 0] = 0
    limits = measure(COSTS, space, space.nearest(wanted))
    assert repair(space, COSTS, limits, wanted) == space.nearest(wanted)
    assert repair(space, COSTS, {}, wanted) == space.nearest(wanted)


def test_preference_that_removes_a_whole_group_keeps_the_channel_that_minds_least():
    space = space_of(chain, EVERYTHING)
    wanted = {s: np.eye(len(c.bits))[np.zeros(c.decisions, int)] for s, c in space.choices.items()}
    wanted["a/kernel"] = np.array([[0.9, 0.1, 0, 0], [0.7, 0.1, 0.2, 0], [0.8, 0, 0.1, 0.1], [1, 0, 0, 0]])
    assert repair(space, COSTS, {}, wanted).bits["a/kernel"] == (0, 4, 0, 0)


@pytest.mark.parametrize("seed", range(8))
def test_repair_is_the_best_of_all_assignments_where_nothing_is_removed(seed):
    space = space_of(chain, Rule(match="*", weights=(2, 4, 8), activations=(4, 8)),
                     Rule(match="b", granularity="channel"))
    rng = np.random.default_rng(seed)
    wanted, limits = preference(space, rng), within_reach(space, rng, LIMITED[: 1 + seed % 3])
    ranges = [range(len(c.bits)) for c in space.choices.values() for _ in range(c.decisions)]
    cuts = np.cumsum([c.decisions for c in space.choices.values()])[:-1]
    every = (
        space.from_indices(dict(zip(space.choices, np.split(np.array(picks), cuts), strict=True)))
        for picks in itertools.product(*ranges)
    )
    best = max(score(space, wanted, a) for a in every if satisfied(measure(COSTS, space, a), limits))
    assert score(space, wanted, repair(space, COSTS, limits, wanted)) == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_repair_with_removed_channels_is_within_the_limits_and_close_to_the_best(seed):
    space = space_of(chain, Rule(match="a", weights=(0, 2, 8), granularity="channel"),
                     Rule(match="b", weights=(2, 8), activations=(4, 8)))
    rng = np.random.default_rng(seed)
    wanted, limits = preference(space, rng), within_reach(space, rng, LIMITED)
    best, floor = -np.inf, score(space, wanted, floor_assignment(space))
    for a in itertools.product(range(3), repeat=4):
        for b, act in itertools.product(range(2), repeat=2):
            tried = space.from_indices({"a/kernel": a, "b/kernel": [b], "b/input": [act]})
            if any(a) and satisfied(measure(COSTS, space, tried), limits):
                best = max(best, score(space, wanted, tried))
    found = repair(space, COSTS, limits, wanted)
    assert satisfied(measure(COSTS, space, found), limits)
    assert score(space, wanted, found) <= best + 1e-9
    assert best - score(space, wanted, found) <= 0.1 * (best - floor)


def test_channels_are_removed_only_as_far_as_the_limit_asks():
    # Everybody wants 8 bits and dislikes removal as much as 2 bits: half the work needs some of each.
    space = space_of(residual, EVERYTHING)
    wanted = {s: np.full((c.decisions, len(c.bits)), 0.01) for s, c in space.choices.items()}
    for gates in wanted.values():
        gates[:, -1] = 1
    for share in (0.9, 0.5, 0.2, 0.05):
        reach = achievable(COSTS, space)["bops"]
        limits = {"bops": reach[0] + share * (reach[1] - reach[0])}
        found = repair(space, COSTS, limits, wanted)
        assert 0.7 * limits["bops"] <= measure(COSTS, space, found)["bops"] <= limits["bops"]


def test_same_arguments_give_the_same_assignment():
    rng = np.random.default_rng(0)
    # Another space object, equal in value: nothing hangs on what was compiled before.
    space, twin = space_of(chain, EVERYTHING), dataclasses.replace(space_of(chain, EVERYTHING))
    for _ in range(5):
        wanted, limits = preference(space, rng), within_reach(space, rng, LIMITED)
        assert repair(space, COSTS, limits, wanted) == repair(twin, COSTS, limits, wanted)


def test_preferences_of_zero_and_one_are_taken():
    space = space_of(residual, EVERYTHING)
    wanted = {s: np.eye(len(c.bits))[np.full(c.decisions, -1)] for s, c in space.choices.items()}
    limits = within_reach(space, np.random.default_rng(0), LIMITED)
    assert satisfied(measure(COSTS, space, repair(space, COSTS, limits, wanted)), limits)


def test_limits_at_the_floor_give_the_floor():
    for net in (chain, residual, separable):
        space = space_of(net, EVERYTHING)
        limits = measure([c for c in COSTS if c.name in LIMITED], space, floor_assignment(space))
        found = repair(space, COSTS, limits, preference(space, np.random.default_rng(0)))
        assert satisfied(measure(COSTS, space, found), limits)


def test_limits_that_cannot_be_met_together_are_refused_in_a_sentence():
    space = space_of(chain, EVERYTHING)
    lowest = measure(COSTS, space, floor_assignment(space))
    limits = {"bops": lowest["bops"], "weight_bytes": lowest["weight_bytes"] - 1}
    with pytest.raises(BudgetError) as refused:
        repair(space, COSTS, limits, preference(space, np.random.default_rng(0)))
    # One channel of a: 450 MACs of 2 x 4 bits, and 3 of b; 7 products of 32 x 32.
    assert str(refused.value) == (
        "no assignment meets bops <= 10,792, weight_bytes <= 68.75 together; the cheapest one has "
        "bops = 10,792, weight_bytes = 69.75. Raise the budget of weight_bytes."
    )
