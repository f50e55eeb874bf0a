"""Tests of mpnas/space/widths.py."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from work_maker import chain, residual

from mpnas.errors import SearchSpaceError
from mpnas.space import Rule, asked_widths, channel_counts, resolve
from mpnas.space.widths import width_name


def asked(work, *rules):
    return asked_widths(work, resolve(work, rules), rules)


def test_counts_are_rounded_shares_and_at_least_one():
    assert channel_counts((0.1, 0.25, 0.5, 1, 1.5), 4) == {1: 0.25, 2: 0.5, 4: 1, 6: 1.5}
    assert channel_counts((0.5, 1, 2), 1) == {1: 1, 2: 2}, "half of one channel is one"


@given(st.lists(st.floats(1e-3, 16), min_size=1, max_size=6), st.integers(1, 300))
def test_counts_ascend_with_their_shares(shares, channels):
    counts = channel_counts(shares, channels)
    assert list(counts) == sorted(counts) and list(counts.values()) == sorted(counts.values())
    assert min(counts) >= 1
    assert all(abs(count - share * channels) <= 0.5 or count == 1 for count, share in counts.items())


def test_the_site_is_called_after_its_group():
    assert width_name("stem/channels") == "stem/width"
    assert width_name("stem/channels@2") == "stem/channels@2/width"


def test_every_group_whose_layers_ask_is_offered_and_the_ends_are_noted():
    widths, notes = asked(residual(), Rule(match="*", widths=(0.5, 1)))
    assert widths == {"stem/channels": (0.5, 1), "skip/channels": (0.5, 1)}
    assert notes == ["widths are not offered at head, whose channels must stay: they are the model's output."]


def test_nobody_asks_and_nothing_is_offered():
    assert asked(residual(), Rule(match="*", weights=(4,))) == ({}, [])


def test_a_width_where_channels_must_stay_names_the_layer_and_the_reason():
    with pytest.raises(SearchSpaceError) as refused:
        asked(chain(), Rule(match="c", widths=(0.5, 1)))
    assert str(refused.value) == (
        "rule 'c' offers widths [0.5, 1], but none of its layers can have another number of channels: those "
        "of 'c' must stay, they are the model's output. Delete the key, or match other layers."
    )


def test_a_width_of_one_of_several_writers_names_the_silent_one():
    with pytest.raises(SearchSpaceError, match="'conv' writes the same channels and no rule offers widths"):
        asked(residual(), Rule(match="stem", widths=(0.5, 1)))
    widths, notes = asked(residual(), Rule(match="s*", widths=(0.5, 1)))
    assert widths == {"skip/channels": (0.5, 1)}
    assert notes == [
        "widths are not offered at stem, whose channels must stay: 'conv' writes the same channels and no "
        "rule offers widths there."
    ]


def test_contradicting_widths_of_tied_layers_name_both_and_the_tie():
    with pytest.raises(SearchSpaceError) as refused:
        asked(residual(), Rule(match="*", widths=(0.5, 1)), Rule(match="conv", widths=(1, 2)))
    assert str(refused.value) == (
        "'stem' and 'conv' write the same channels (added in f (net.py:1)), but the rules give them the "
        "widths [0.5, 1] and [1, 2]. Give both the same."
    )


def test_a_later_rule_takes_widths_back():
    rules = Rule(match="*", widths=(0.5, 1)), Rule(match="skip", widths=())
    assert asked(residual(), *rules)[0] == {"stem/channels": (0.5, 1)}


def test_a_rule_that_another_one_overrides_everywhere_is_not_refused():
    rules = Rule(match="@last", widths=(0.5, 1)), Rule(match="*", widths=(1, 2))
    assert asked(residual(), *rules)[0] == {"stem/channels": (1, 2), "skip/channels": (1, 2)}


def test_a_layer_with_one_free_and_one_held_group_keeps_its_width_where_it_must():
    work = chain()
    held = dataclasses.replace(work.groups["b/channels"], name="b/channels@2", frozen="they are summed")
    work = dataclasses.replace(work, groups={**work.groups, "b/channels@2": held})
    widths, notes = asked(work, Rule(match="b", widths=(0.5, 1)))
    assert widths == {"b/channels": (0.5, 1)} and notes == []
