"""Tests of mpnas/cost/linear.py."""

import itertools

import numpy as np
import pytest
from cost_spaces import chain, random_assignment, residual, space_of

from mpnas.cost import Bops, Macs, PeakActBytes, Roofline, exact_cost
from mpnas.cost.knapsack import Knapsack
from mpnas.cost.linear import bound_at, linearised
from mpnas.space import Rule

THREE = Rule(match="*", weights=(2, 4, 8), activations=(2, 4, 8))


class BothInputs:
    """The product of the widths of two activations, and of one with weights."""

    name, unit, combine, counts = "both", "bit", "sum", {}

    def rows(self, space, use):
        both = use.act_bits["a"] * use.act_bits["b"]
        return [both, use.act_bits["a"] * use.weight_bits["a"].sum(), use.weight_bits["b"].sum()]


def flat(space, assignment):
    return np.concatenate([gates.ravel() for gates in space.one_hot(assignment).values()])


BOUND = (Bops(), Macs(), BothInputs(), Roofline(peak=30.0, bandwidth=1.0, narrowest=2))


@pytest.mark.parametrize("cost", BOUND, ids=lambda cost: cost.name)
def test_bound_is_exact_far_from_its_point(cost):
    space, rng = space_of(chain, THREE), np.random.default_rng(0)
    for _ in range(10):
        around, there = random_assignment(space, rng), random_assignment(space, rng)
        (bound,) = linearised(space, cost, 7.0, {}, flat(space, around))
        exact = exact_cost(cost, space, there)
        assert bound_at(bound, flat(space, there)) * 7 == pytest.approx(exact, rel=1e-5)


def test_first_candidate_brings_no_product():
    space = space_of(chain, THREE)
    (bound,) = linearised(space, Bops(), 1.0, {}, flat(space, space.uniform(8)))
    assert [len(row.products) for part in bound for row in part] == [2 * 2]
    (bound,) = linearised(space, Macs(), 1.0, {}, flat(space, space.uniform(8)))
    assert [len(row.products) for part in bound for row in part] == [0]


def test_tangents_of_a_maximum_never_lie_above_it():
    space, rng, peak = space_of(residual, THREE), np.random.default_rng(0), PeakActBytes()
    for _ in range(10):
        around, there = random_assignment(space, rng), random_assignment(space, rng)
        bounds = linearised(space, peak, 1.0, {}, flat(space, around))
        assert len(bounds) == len(space.work.timeline)
        highest = max(bound_at(bound, flat(space, there)) for bound in bounds)
        assert highest <= exact_cost(peak, space, there) * (1 + 1e-6)
        at_point = max(bound_at(bound, flat(space, around)) for bound in bounds)
        assert at_point == pytest.approx(exact_cost(peak, space, around), rel=1e-6)


def test_product_of_two_activations_is_repaired_like_any_other():
    space, cost = space_of(chain, THREE), BothInputs()
    every = [
        space.from_indices({s: [k] for s, k in zip(space.choices, picks, strict=True)})
        for picks in itertools.product(range(3), repeat=len(space.choices))
    ]
    rng = np.random.default_rng(0)
    for limit in (150.0, 220.0, 300.0):
        scores = {s: rng.normal(size=(1, 3)) for s in space.choices}
        problem = Knapsack(space, [cost], {"both": limit}, scores)
        best = max(problem.score(a) for a in every if exact_cost(cost, space, a) <= limit)
        assert problem.score(problem.solve({}, space.uniform(8))) == pytest.approx(best, abs=1e-9)
