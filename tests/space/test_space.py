"""Tests of mpnas/space/space.py."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from work_maker import chain, residual

from mpnas.errors import SearchSpaceError
from mpnas.space import Rule, build_space

EVERYTHING = Rule(match="*", weights=(0, 2, 4), activations=(4, 8), granularity="channel")
SPACE = build_space(residual(), [EVERYTHING, Rule(match="skip", granularity=4)])


@st.composite
def points(draw):
    return {
        site: draw(st.lists(st.integers(0, len(c.bits) - 1), min_size=c.decisions, max_size=c.decisions))
        for site, c in SPACE.choices.items()
    }


@given(points())
@settings(deadline=None, max_examples=40)
def test_indices_gates_and_assignments_say_the_same(point):
    assignment = SPACE.from_indices(point)
    assert {site: list(found) for site, found in SPACE.indices(assignment).items()} == point
    gates = SPACE.one_hot(assignment)
    assert all(np.array_equal(g.sum(axis=1), np.ones(len(g))) for g in gates.values())
    assert SPACE.nearest(gates) == assignment


def test_one_hot_gates_are_exact_float64():
    gates = SPACE.one_hot(SPACE.uniform(4))
    assert gates["conv/kernel"].dtype == np.float64
    np.testing.assert_array_equal(gates["conv/kernel"], [[0.0, 1.0]] * 4)
    np.testing.assert_array_equal(gates["skip/kernel"], [[0.0, 0.0, 1.0]] * 2)


def test_nearest_takes_the_largest_gate_of_each_decision():
    gates = SPACE.one_hot(SPACE.uniform(None))
    gates["conv/kernel"] = np.array([[0.6, 0.4], [0.4, 0.6], [0.5, 0.5], [0.0, 1.0]])
    assert SPACE.nearest(gates).bits["conv/kernel"] == (2, 4, 2, 4)


def test_sites_are_found_by_layer_and_by_group():
    assert SPACE.weight_site["conv"] == "conv/kernel"
    assert SPACE.act_site["skip"] == "conv/input", "the first reader names the tensor"
    assert SPACE.remover == {"stem/channels": "stem/channels", "skip/channels": "skip/kernel"}
    np.testing.assert_array_equal(SPACE.channel_decision["skip/kernel"], [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(SPACE.channel_decision["stem/channels"], [0, 1, 2, 3])
    np.testing.assert_array_equal(SPACE.channel_decision["conv/input"], [0])
    # weights 4 + 4 + 2 + 2, activations stem, conv = skip, head, and the mask's 4
    assert SPACE.decisions == 12 + 3 + 4


@pytest.mark.parametrize("bits, weights, acts", [(8, 4, 8), (3, 4, 4), (1, 2, 4), (0, 2, 4), (None, 4, 8)])
def test_uniform_takes_the_nearest_candidate_and_keeps_all_channels(bits, weights, acts):
    assignment = SPACE.uniform(bits)
    assert set(assignment.bits["skip/kernel"]) == set(assignment.bits["conv/kernel"]) == {weights}
    assert assignment.bits["conv/input"] == (acts,)
    assert set(assignment.bits["stem/channels"]) == {1}
    SPACE.check(assignment)


def test_the_lowest_point_can_remove_everything_which_check_refuses():
    lowest = SPACE.uniform(None, highest=False)
    assert set(lowest.bits["skip/kernel"]) == {0} and set(lowest.bits["stem/channels"]) == {0}
    with pytest.raises(SearchSpaceError, match="removes all 6 channels of 'skip/channels'. Keep"):
        SPACE.check(lowest)


def test_check_refuses_a_group_without_channels_and_accepts_one_channel():
    point = SPACE.indices(SPACE.uniform(4))
    point["stem/channels"][:] = 0
    with pytest.raises(SearchSpaceError, match="removes all 4 channels"):
        SPACE.check(SPACE.from_indices(point))
    point["stem/channels"][2] = 1
    SPACE.check(SPACE.from_indices(point))


def _with(site, bits):
    made = SPACE.uniform(4)
    return dataclasses.replace(made, bits={**made.bits, site: bits})


@pytest.mark.parametrize("site, bits, message", [
    ("conv/kernel", (4, 4), r"2 decisions at 'conv/kernel' \(channel\), the space has 4 \(channel\)"),
    ("conv/kernel", (4, 4, 4, 3), r"gives 3 bits at 'conv/kernel', which offers \[2, 4\]"),
    ("conv/kernal", (4,), "names 'conv/kernal', which is no site of this space; nearest: 'conv/kernel'"),
])
def test_an_assignment_of_another_space_is_refused(site, bits, message):
    with pytest.raises(SearchSpaceError, match=message):
        SPACE.one_hot(_with(site, bits))


def test_a_missing_site_is_named():
    made = SPACE.uniform(4)
    rest = {site: bits for site, bits in made.bits.items() if site != "head/kernel"}
    with pytest.raises(SearchSpaceError, match=r"lacks 'head/kernel' \(1 of 8 sites are missing\)"):
        SPACE.check(dataclasses.replace(made, bits=rest))


def test_equally_many_decisions_of_another_group_size_are_refused():
    other = build_space(residual(), [EVERYTHING, Rule(match="skip", granularity=3)])
    assert other.choices["skip/kernel"].decisions == SPACE.choices["skip/kernel"].decisions
    with pytest.raises(SearchSpaceError, match="subgroup of 3 channels.*subgroup of 4 channels"):
        SPACE.indices(other.uniform(4))


WIDTHS = build_space(
    residual(), [Rule(match="*", weights=(0, 4), granularity="channel", widths=(0.5, 1)),
                 Rule(match="skip", granularity=4)],
)


def chosen(**changes):
    """Indices of the highest assignment, with sites (`_` for `/`) changed."""
    point = WIDTHS.indices(WIDTHS.uniform(None))
    for site, values in changes.items():
        point[site.replace("_", "/")] = np.array(values)
    return point


def test_a_channel_exists_where_a_mask_and_a_width_let_it():
    alive = WIDTHS.existing(chosen(stem_channels=[1, 0, 1, 1], stem_width=[0], skip_kernel=[1, 0]))
    np.testing.assert_array_equal(alive["stem/channels"], [True, False, False, False])
    np.testing.assert_array_equal(alive["skip/channels"], [True] * 4 + [False] * 2)
    assert WIDTHS.removable == ("skip/channels", "stem/channels")


def test_a_mask_and_a_width_that_leave_nothing_together_are_refused():
    gone = chosen(stem_channels=[0, 0, 1, 1], stem_width=[0])
    with pytest.raises(SearchSpaceError, match="removes all 4 channels of 'stem/channels'"):
        WIDTHS.check(WIDTHS.from_indices(gone))
    WIDTHS.check(WIDTHS.from_indices(gone | {"stem/width": np.array([1])}))


def test_the_cheapest_decision_to_keep_lies_within_the_least_width():
    # `stem`: any of the 2 channels of the least width. `skip`: 3 of the first four, none of the last two.
    assert WIDTHS.fewest == {"stem/channels": (0, 1), "skip/channels": (0, 3)}


def test_uniform_keeps_the_given_width_and_the_lowest_takes_the_least():
    wider = [Rule(match="*", weights=(4, 8), widths=(0.5, 1, 1.5))]
    space = build_space(residual(), wider, given={"stem/channels": 4, "skip/channels": 4})
    assert space.uniform(8).bits["stem/width"] == (4,) and space.uniform(None).bits["stem/width"] == (6,)
    assert space.uniform(None, highest=False).bits["skip/width"] == (2,)
    between = build_space(residual(), [Rule(match="*", widths=(0.75, 1.25))], given={"stem/channels": 4})
    assert between.uniform(8).bits["stem/width"] == (5,), "of two equally near widths the larger one"


def test_a_width_that_is_not_offered_is_refused():
    made = WIDTHS.uniform(4)
    strange = dataclasses.replace(made, bits={**made.bits, "stem/width": (3,)})
    with pytest.raises(SearchSpaceError, match=r"gives 3 channels at 'stem/width', which offers \[2, 4\]"):
        WIDTHS.check(strange)


def test_a_space_without_choices_has_one_empty_assignment():
    space = build_space(chain(), [])
    empty = space.uniform(8)
    space.check(empty)
    assert space.one_hot(empty) == {} and empty.bits == {}
