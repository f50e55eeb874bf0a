"""Tests of mpnas/space/assignment.py."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.errors import SearchSpaceError
from mpnas.space import Assignment

BITS = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32])
LAYER = st.tuples(st.just("layer"), st.tuples(BITS), st.none())
SEVERAL = st.lists(BITS, min_size=1, max_size=20).map(tuple)
GROUP = st.tuples(st.just("group"), st.tuples(st.integers(1, 4096)), st.none())
CHANNEL = st.tuples(st.just("channel"), SEVERAL, st.none())
SUBGROUP = st.tuples(st.just("subgroup"), SEVERAL, st.integers(1, 64))


@st.composite
def assignments(draw):
    sites = draw(st.dictionaries(st.text(min_size=1, max_size=8), st.one_of(LAYER, CHANNEL, SUBGROUP, GROUP)))
    return Assignment(
        bits={site: bits for site, (_, bits, _) in sites.items()},
        granularity={site: word for site, (word, _, _) in sites.items()},
        group_size={site: size for site, (_, _, size) in sites.items() if size is not None},
    )


@given(assignments())
@settings(deadline=None, max_examples=50)
def test_json_gives_back_the_same_assignment(assignment):
    document = json.loads(json.dumps(assignment.to_json()))
    assert Assignment.from_json(document) == assignment


def test_channels_are_written_as_run_lengths():
    assignment = Assignment(bits={"a": (4, 4, 0, 4), "b": (8,)}, granularity={"a": "channel", "b": "layer"})
    assert assignment.to_json() == {
        "a": {"granularity": "channel", "rle": [[4, 2], [0, 1], [4, 1]]},
        "b": {"granularity": "layer", "bits": 8},
    }


def test_a_width_is_written_as_its_number_of_channels():
    assignment = Assignment(bits={"stem/width": (24,)}, granularity={"stem/width": "group"})
    assert assignment.to_json() == {"stem/width": {"granularity": "group", "channels": 24}}
    assert Assignment.from_json(assignment.to_json()) == assignment


@pytest.mark.parametrize("entry, message", [
    ({"granularity": "group", "channels": 1.5}, "'stem' has no readable"),
    ({"granularity": "layer"}, "'stem' has no readable 'bits' or 'rle'"),
    ({"granularity": "layer", "bits": 2.5}, "no readable 'bits' or 'rle'"),
    ({"granularity": "channel", "rle": [[4]]}, "no readable 'bits' or 'rle'"),
    ({"granularity": "channel", "rle": [[4, 0]]}, "a run of less than one decision"),
    ({"bits": 4}, "'stem' has no 'granularity'"),
])
def test_a_broken_entry_is_named(entry, message):
    with pytest.raises(SearchSpaceError, match=message):
        Assignment.from_json({"stem": entry})
