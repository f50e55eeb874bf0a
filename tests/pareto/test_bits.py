"""Tests of mpnas/pareto/bits.py."""

import pytest
from front_maker import HALF, MIXED, SITES, UNIFORM
from hypothesis import given, settings
from hypothesis import strategies as st

from mpnas.pareto.bits import main_bits, runs_of, same_zeros, shares, zeros_of


def test_shares_of_parameters_are_counted_channel_by_channel():
    # 200 weights of 8 bits in conv1 and 100 in the head; 100 + 400 of 4; 200 of 2; 100 + 200 of 0.
    assert shares(MIXED, SITES, "weight", "parameters") == pytest.approx(
        {0: 300 / 1300, 2: 200 / 1300, 4: 500 / 1300, 8: 300 / 1300}
    )


def test_shares_of_macs_differ_from_those_of_parameters():
    assert shares(HALF, SITES, "weight", "macs") == pytest.approx(
        {4: 8000 / 12100, 8: 4100 / 12100}
    )
    assert shares(HALF, SITES, "activation", "macs") == {8: 1.0}
    assert shares(HALF, SITES, "activation", "parameters") == {}


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_uniform_network_has_one_main_width(bits):
    assert main_bits(UNIFORM[bits], SITES, "weight") == bits
    assert main_bits(UNIFORM[bits], SITES, "activation") == bits


def test_a_float_network_has_none():
    assert main_bits({}, SITES, "weight") is None


def test_a_width_has_no_bits():
    assert runs_of({"granularity": "group", "channels": 6}, 1) == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([0, 0, 2, 8]), min_size=1, max_size=12), st.data())
def test_zero_patterns_are_those_of_the_expanded_channels(bits, data):
    other = data.draw(st.permutations(bits))

    def coded(channels):
        return {"granularity": "channel", "rle": [[b, 1] for b in channels]}

    same = [b == 0 for b in bits] == [b == 0 for b in other]
    patterns = [zeros_of(coded(channels), len(bits)) for channels in (bits, other)]
    assert same_zeros(*patterns) == same


@pytest.mark.parametrize(
    "channels, same",
    [([[8, 4], [0, 6]], True), ([[8, 4], [0, 3]], False), ([[8, 5], [0, 5]], False)],
    ids=["last_subgroup_short", "too_short", "shifted"],
)
def test_subgroups_count_as_their_channels(channels, same):
    grouped = {"granularity": "subgroup", "group_size": 4, "rle": [[2, 1], [0, 2]]}  # 4 + 8
    single = {"granularity": "channel", "rle": channels}
    assert same_zeros(zeros_of(grouped, 3), zeros_of(single, 10), slack=3) == same


def test_enormous_claims_are_read_at_once():
    claim = {"granularity": "channel", "rle": [[8, 10**15], [0, 10**15]]}
    assert zeros_of(claim, 1) == [(False, 10**15), (True, 10**15)]
