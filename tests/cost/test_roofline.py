"""Tests of mpnas/cost/roofline.py."""

import itertools

import numpy as np
import pytest
from cost_spaces import chain, space_of

from mpnas.cost import Roofline, achievable, exact_cost, repair, satisfied
from mpnas.errors import ConfigError
from mpnas.space import Rule

PLAIN = Rule(match="*", weights=(2, 4, 8), activations=(2, 4, 8))


def test_each_layer_takes_the_longer_of_arithmetic_and_memory():
    space = space_of(chain)
    # a: 1800 MACs against 72 weights and 50 inputs moved twice; b: 12 MACs against 12 weights and 2 x 4.
    balanced = Roofline(peak=100.0, bandwidth=10.0)
    assert exact_cost(balanced, space, space.uniform(8)) == pytest.approx(
        max(18, 17.2) + max(0.12, 2.0) + 7 * 4 / 100  # float products at 32 bits take four times as long
    )


@pytest.mark.parametrize("narrowest, seconds", [(8, 18.0), (4, 9.0), (2, 9.0)])
def test_arithmetic_is_as_fast_as_the_wider_operand_down_to_the_narrowest(narrowest, seconds):
    space = space_of(chain, PLAIN)
    indices = space.indices(space.uniform(8))
    indices["a/kernel"][:], indices["a/input"][:] = 0, 1  # 2 by 4 bits
    memory_free = Roofline(peak=100.0, bandwidth=1e12, narrowest=narrowest)
    rest = 12 / 100 + 7 * 4 / 100
    found = exact_cost(memory_free, space, space.from_indices(indices))
    assert found == pytest.approx(seconds + rest)


@pytest.mark.parametrize("bandwidth", [2.0, 10.0, 1e3])
def test_repair_finds_the_best_assignment_on_both_sides_of_the_ridge(bandwidth):
    space = space_of(chain, PLAIN)
    cost = Roofline(peak=100.0, bandwidth=bandwidth, narrowest=2)
    rng = np.random.default_rng(int(bandwidth))
    low, high = achievable([cost], space)["roofline"]
    every = [
        space.from_indices({s: [k] for s, k in zip(space.choices, picks, strict=True)})
        for picks in itertools.product(range(3), repeat=len(space.choices))
    ]
    priced = [(exact_cost(cost, space, a), a) for a in every]
    for share in (0.1, 0.3, 0.6):
        wanted = {s: rng.dirichlet(np.ones(3), 1) for s in space.choices}
        limit = low + share * (high - low)

        def score(assignment, wanted=wanted):
            return sum(float(np.log(wanted[s][0, i[0]])) for s, i in space.indices(assignment).items())

        found = repair(space, [cost], {"roofline": limit}, wanted)
        assert satisfied({"roofline": exact_cost(cost, space, found)}, {"roofline": limit})
        assert score(found) == pytest.approx(max(score(a) for c, a in priced if c <= limit), abs=1e-6)


@pytest.mark.parametrize("change", [
    {"peak": 0.0}, {"peak": float("nan")}, {"bandwidth": float("inf")}, {"narrowest": 0}, {"narrowest": 33},
])
def test_number_out_of_its_range_is_refused(change):
    with pytest.raises(ConfigError, match="a roofline needs peak > 0 and bandwidth > 0"):
        Roofline(**{"peak": 1.0, "bandwidth": 1.0} | change)
