"""Tests of mpnas/cost/spend.py."""

import itertools

import jax
import numpy as np
import pytest
from flax import nnx

from mpnas.cost import COSTS, achievable, measure, repair, spend
from mpnas.space import Rule
from mpnas.supernet import attach

PRICED = [cost for cost in COSTS if cost.name == "weight_bytes"]


class Chain(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(6, 5, rngs=rngs)
        self.second = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        return self.second(jax.nn.relu(self.first(x)))


@pytest.fixture(scope="module")
def spaces():
    example = np.zeros((2, 6), np.float32)
    return {
        bits: attach(
            Chain(nnx.Rngs(0)), example, [Rule(match="*", weights=bits, granularity="channel")]
        ).space
        for bits in ((2, 4, 8), (0, 2, 4, 8))
    }


def even(space):
    return {s: np.full((c.decisions, len(c.bits)), 1 / len(c.bits)) for s, c in space.choices.items()}


@pytest.mark.parametrize("bits", [(2, 4, 8), (0, 2, 4, 8)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_limit_holds_and_no_single_raise_would_still_fit(spaces, bits, share):
    space = spaces[bits]
    low, high = achievable(PRICED, space)["weight_bytes"]
    limits = {"weight_bytes": low + share * (high - low)}
    rng = np.random.default_rng(int(100 * share))
    preference = {s: rng.dirichlet(np.ones(len(c.bits)), c.decisions) for s, c in space.choices.items()}
    before = repair(space, COSTS, limits, preference)
    after = spend(space, COSTS, limits, preference, before)
    assert measure(PRICED, space, after)["weight_bytes"] <= limits["weight_bytes"]
    low, high = space.indices(before), space.indices(after)
    for site, choice in space.choices.items():
        assert np.all(high[site] >= low[site])
        for decision in range(choice.decisions):
            alive = not (choice.removes and high[site][decision] == 0)
            if alive and high[site][decision] + 1 < len(choice.bits):
                more = {s: v.copy() for s, v in high.items()}
                more[site][decision] += 1
                cost = measure(PRICED, space, space.from_indices(more))["weight_bytes"]
                assert cost > limits["weight_bytes"]


def test_removed_channels_stay_removed(spaces):
    space = spaces[(0, 2, 4, 8)]
    indices = space.indices(space.uniform(2))
    indices["first/kernel"][[1, 3]] = 0
    after = space.indices(
        spend(space, COSTS, {"weight_bytes": 1e9}, even(space), space.from_indices(indices))
    )
    assert after["first/kernel"].tolist() == [3, 0, 3, 0, 3]


def test_least_regretted_decision_is_raised_first(spaces):
    space = spaces[(2, 4, 8)]
    preference = even(space)
    preference["second/kernel"] = np.array([[0.98, 0.01, 0.01], [0.5, 0.49, 0.01], [0.98, 0.01, 0.01]])
    preference["first/kernel"] = np.tile([0.98, 0.01, 0.01], (5, 1))
    start = space.uniform(2)
    # Room for one raise of one channel of `second`: 5 weights by 2 bits.
    limit = measure(PRICED, space, start)["weight_bytes"] + 5 * 2 / 8
    after = space.indices(spend(space, COSTS, {"weight_bytes": limit}, preference, start))
    assert after["second/kernel"].tolist() == [0, 1, 0]
    assert after["first/kernel"].tolist() == [0] * 5


def test_without_limits_nothing_is_raised(spaces):
    space = spaces[(2, 4, 8)]
    assert spend(space, COSTS, {}, even(space), space.uniform(2)) == space.uniform(2)


def test_all_is_raised_where_the_budget_allows_all(spaces):
    space = spaces[(2, 4, 8)]
    after = spend(space, COSTS, {"weight_bytes": 1e9}, even(space), space.uniform(2))
    assert set(itertools.chain(*after.bits.values())) == {8}
