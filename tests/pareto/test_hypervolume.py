"""Tests of mpnas/pareto/hypervolume.py."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.pareto.hypervolume import hypervolume


def by_inclusion_exclusion(gains):
    """Volume of a union of boxes at the origin: all intersections, with alternating signs."""
    return sum(
        (-1) ** (size + 1) * math.prod(min(column) for column in zip(*some, strict=True))
        for size in range(1, len(gains) + 1)
        for some in itertools.combinations(gains, size)
    )


@pytest.mark.parametrize(
    "values, expected",
    [
        ([], 0),
        ([[3, 2]], 6),
        ([[3, 1], [1, 3]], 5),
        ([[3, 1], [3, 1]], 3),
        ([[3, 1], [2, 1]], 3),
        ([[4, 1], [3, 2], [1, 5]], 4 + 3 + 3),
        ([[0, 9], [9, -1]], 0),
    ],
    ids=["none", "one", "two", "twins", "dominated", "three", "beyond_the_reference"],
)
def test_hand_counts_in_the_plane(values, expected):
    assert hypervolume(values, ["max", "max"], [0, 0]) == expected


def test_a_front_of_accuracy_against_bytes():
    # Between 600 and 900 bytes 0.88 is reached, from 900 to 5200 bytes 0.895.
    value = hypervolume([[0.88, 600], [0.895, 900]], ["max", "min"], [0.0, 5200])
    assert value == pytest.approx(300 * 0.88 + 4300 * 0.895, rel=1e-12)


@pytest.mark.parametrize(
    "values, expected",
    [
        ([[2, 3, 4]], 24),
        ([[2, 1, 1], [1, 2, 1], [1, 1, 2]], 4),
        ([[1, 1, 1], [1, 1, 1]], 1),
    ],
    ids=["box", "three_arms_of_a_corner", "twins"],
)
def test_hand_counts_in_space(values, expected):
    assert hypervolume(values, ["max"] * 3, [0, 0, 0]) == expected


def test_one_objective_is_the_best_gain():
    assert hypervolume([[3], [5], [9]], ["min"], [8]) == 5


@settings(deadline=None, max_examples=50)
@given(
    st.integers(2, 4).flatmap(
        lambda m: st.lists(st.tuples(*[st.integers(1, 6)] * m), min_size=1, max_size=6)
    )
)
def test_it_equals_inclusion_and_exclusion(gains):
    # Integers, so both are exact.
    dims = len(gains[0])
    assert hypervolume(gains, ["max"] * dims, [0] * dims) == by_inclusion_exclusion(gains)
    costs = -np.array(gains)
    assert hypervolume(costs, ["min"] * dims, [0] * dims) == by_inclusion_exclusion(gains)


def test_a_thousand_points_of_three_objectives_are_counted_at_once():
    rng = np.random.default_rng(0)
    gains = np.sort(rng.uniform(0.1, 1.0, (1000, 3)), axis=0)
    gains[:, 1] = gains[::-1, 1]  # nobody beats another
    began = time.process_time()
    volume = hypervolume(gains, ["max"] * 3, [0, 0, 0])
    assert time.process_time() - began < 2
    apart = hypervolume(np.column_stack([gains, np.ones(1000)])[::25], ["max"] * 4, [0] * 4)
    assert apart == pytest.approx(hypervolume(gains[::25], ["max"] * 3, [0] * 3), rel=1e-12)
    assert apart < volume < 1


def test_it_agrees_with_random_sampling():
    rng = np.random.default_rng(0)
    gains = rng.uniform(0.2, 1.0, (8, 3))
    samples = rng.uniform(0, 1, (40_000, 3))
    beaten = (samples[:, None] < gains[None]).all(axis=-1).any(axis=1).mean()
    # Five standard errors of a share of 40,000 samples are below 0.0125.
    assert hypervolume(gains, ["max"] * 3, [0, 0, 0]) == pytest.approx(beaten, abs=0.0125)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_more_points_never_take_volume_away(points):
    whole = hypervolume(points, ["max", "max"], [0, 0])
    assert all(hypervolume(points[:k], ["max"] * 2, [0, 0]) <= whole for k in range(len(points)))


def test_a_volume_that_no_float_holds_is_infinite():
    assert hypervolume([[1e30] * 11], ["max"] * 11, [0] * 11) == np.inf
