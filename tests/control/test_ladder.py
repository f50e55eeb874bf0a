"""Tests of mpnas/control/ladder.py."""

import itertools

import numpy as np
import pytest
from control_choices import bit_sum, chain
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.control.ladder import TRIES, Ladder, key_of, unseen
from mpnas.errors import BudgetError
from mpnas.space import Rule

SPACE = chain()
LADDER = Ladder(SPACE)
SUBGROUPS = chain((3, 7, 2), Rule(match="*", weights=(0, 8), granularity=3))
HIGHEST = bit_sum(SPACE.uniform(None))["bits"]
# One channel of l0 and of l1 and both outputs of l2 at 2 bits, three inputs at 4.
LOWEST = 2 + 2 + 2 * 2 + 3 * 4


def drawn(seed):
    return np.random.default_rng(seed).integers(0, LADDER.tops + 1)


def cost(vector):
    return bit_sum(LADDER.assignment(vector))["bits"]


def test_vector_and_assignment_are_inverse_to_each_other():
    for seed in range(5):
        np.testing.assert_array_equal(LADDER.vector(LADDER.assignment(drawn(seed))), drawn(seed))
    assert LADDER.assignment(LADDER.tops) == SPACE.uniform(None)
    assert sum(place.stop - place.start for place in LADDER.places.values()) == SPACE.decisions


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(LOWEST, HIGHEST))
def test_moving_within_a_limit_goes_down_and_no_further_than_asked(seed, limit):
    start, rng = drawn(seed), np.random.default_rng(seed)
    found = LADDER.within(start, rng, bit_sum, {"bits": limit})
    SPACE.check(LADDER.assignment(found))
    assert cost(found) <= limit
    # A group that had lost all its channels gets one back; nothing else goes up.
    assert np.sum(found > start) <= len(SPACE.remover)
    # The last rung that was taken is worth 4 bits at most.
    assert cost(found) > limit - 5 or cost(found) >= cost(start) - 4


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(LOWEST, HIGHEST))
def test_filling_goes_up_within_the_limit_and_brings_no_channel_back(seed, limit):
    rng = np.random.default_rng(seed)
    start = LADDER.within(drawn(seed), rng, bit_sum, {"bits": limit})
    found = LADDER.filled(start, rng, bit_sum, {"bits": limit})
    assert np.all(found >= start) and cost(found) <= limit
    for site in SPACE.remover.values():
        place = LADDER.places[site]
        np.testing.assert_array_equal(found[place] == 0, start[place] == 0)
    full = np.where((start == 0) & LADDER._removes, 0, LADDER.tops)
    assert cost(found) > limit - 5 or np.array_equal(found, full)


def test_lowest_limit_is_met_also_where_one_subgroup_is_shorter():
    def channels(assignment):
        alive = np.array(assignment.bits["l0/kernel"])[SUBGROUPS.channel_decision["l0/kernel"]] > 0
        return {"channels": float(alive.sum())}

    ladder = Ladder(SUBGROUPS)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        found = ladder.within(ladder.tops, rng, channels, {"channels": 1.0})
        assert ladder.assignment(found).bits["l0/kernel"] == (0, 0, 8)


def test_limit_below_the_lowest_is_refused_with_what_there_is():
    with pytest.raises(BudgetError) as refused:
        LADDER.within(LADDER.tops, np.random.default_rng(0), bit_sum, {"bits": LOWEST - 1})
    assert str(refused.value) == (
        f"no assignment meets bits <= {LOWEST - 1}; the cheapest has bits = {LOWEST}. Raise the budget."
    )


def test_drawing_goes_on_until_enough_are_new():
    assignments = [LADDER.assignment(drawn(seed)) for seed in range(4)]
    draws = itertools.cycle(assignments)
    found = unseen(lambda: next(draws), {key_of(assignments[1])}, 3)
    assert found == [assignments[0], assignments[2], assignments[3]]


def test_drawing_ends_where_nothing_new_comes():
    calls = []

    def draw():
        calls.append(1)
        return SPACE.uniform(None)

    assert unseen(draw, set(), 3) == [SPACE.uniform(None)]
    assert len(calls) == 1 + TRIES
