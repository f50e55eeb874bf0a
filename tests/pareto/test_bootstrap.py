"""Tests of mpnas/pareto/bootstrap.py."""

import itertools

import numpy as np
import pytest
from front_maker import OBJECTIVES, made, record

from mpnas.pareto.bootstrap import volume_difference
from mpnas.pareto.objectives import on_front

AXES = on_front(OBJECTIVES)
REFERENCE = [0.0, 1000.0]


def points(*table):
    """Points of (controller, seed, accuracy), all of 500 bytes."""
    rows = [
        record(f"t{n}", controller=controller, seed=seed, accuracy=accuracy,
               costs={"weight_bytes": 500, "bops": 1})
        for n, (controller, seed, accuracy) in enumerate(table)
    ]
    return made(rows)["points"]


def difference(one, other, samples=4000):
    return volume_difference(one, other, AXES, REFERENCE, samples)


TWO = points(("g", 0, 0.2), ("g", 1, 0.4))
THREE = points(("g", 0, 0.2), ("g", 1, 0.4), ("g", 2, 0.8))


@pytest.mark.parametrize(
    "one, other, ends", [([0.2, 0.4], [0.2, 0.4], (-100, 100)), ([0.2, 0.4, 0.8], [0.0, 0.0], (100, 400))],
    ids=["two_and_two", "three"],
)
def test_the_interval_is_that_of_all_equally_likely_draws(one, other, ends):
    def volumes(accuracies):
        return [500 * max(drawn) for drawn in itertools.product(accuracies, repeat=len(accuracies))]

    exact = [a - b for a, b in itertools.product(volumes(one), volumes(other))]
    assert tuple(np.percentile(exact, [2.5, 97.5], method="inverted_cdf")) == pytest.approx(ends)
    some = [points(*(("g", seed, accuracy) for seed, accuracy in enumerate(found))) for found in (one, other)]
    assert difference(*some).ends == pytest.approx(ends)


def test_the_same_fronts_give_the_same_interval():
    assert difference(THREE, TWO, 50) == difference(THREE, TWO, 50)


def test_each_label_is_drawn_by_itself():
    # Label h always has 0.9 in its one or its other seed, so nothing that g draws shows.
    both = points(("g", 0, 0.1), ("g", 1, 0.2), ("h", 0, 0.9), ("h", 1, 0.9))
    assert difference(both, points(("g", 0, 0.5), ("g", 1, 0.5))).ends == pytest.approx((200, 200))


def test_points_of_one_seed_are_drawn_together():
    # Merged fronts may hold a seed twice; it is one draw, so 0.2 alone is as likely as both others.
    paired = points(("g", 0, 0.2), ("g", 1, 0.4), ("g", 1, 0.6))
    low, high = difference(paired, points(("g", 0, 0.0), ("g", 1, 0.0))).ends
    assert (low, high) == pytest.approx((100, 300))


def test_labels_of_one_seed_stay_and_are_counted():
    found = difference(points(("g", 0, 0.2), ("g", 1, 0.4), ("h", 0, 0.3)), TWO)
    assert found.fixed == 1 and found.ends[0] >= 500 * (0.3 - 0.4) - 1e-9


@pytest.mark.parametrize(
    "one, other, says",
    [
        (points(("g", 0, 0.2), ("h", 1, 0.4)), THREE, "one seed: no interval (no label of A"),
        (THREE, points(("g", 0, 0.2)), "one seed: no interval (no label of B"),
        (THREE, [], "B has no points: no interval"),
    ],
    ids=["first", "second", "empty"],
)
def test_without_a_second_seed_there_is_no_interval(one, other, says):
    found = difference(one, other)
    assert found.ends is None and found.samples == 0 and found.why.startswith(says)
