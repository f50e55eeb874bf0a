"""Tests of mpnas/space/rules.py."""

import pytest

from mpnas.errors import SearchSpaceError
from mpnas.space import Rule


@pytest.mark.parametrize("bits", [-1, 9, 12, 33])
@pytest.mark.parametrize("key", ["weights", "activations"])
def test_bits_out_of_range_are_refused_with_the_allowed_ones(key, bits):
    message = f"rule 'stem' offers {bits} bits in '{key}'; allowed are 0, 1"
    with pytest.raises(SearchSpaceError, match=message):
        Rule(match="stem", **{key: (bits,)})


def test_zero_bits_for_activations_are_refused():
    with pytest.raises(SearchSpaceError, match="offers 0 bits for activations.*'weights'"):
        Rule(match="*", activations=(0, 8))


def test_bits_are_sorted_and_distinct_whatever_the_order():
    assert Rule(match="*", weights=[8, 2, 8, 4]).weights == (2, 4, 8)


@pytest.mark.parametrize("key", ["granularity", "scale"])
def test_a_subgroup_without_channels_is_refused(key):
    with pytest.raises(SearchSpaceError, match=f"rule 'b' has {key} = 0; a subgroup needs at least 1"):
        Rule(match="b", **{key: 0})


@pytest.mark.parametrize("key, allowed", [
    ("granularity", "'layer', 'channel' or a number of channels"),
    ("scale", "'layer', 'channel' or a number of channels"),
    ("weight_range", "'learned', 'minmax', 'percentile', 'mse', 'octav', 'dorefa', 'entropy', 'pow2'"),
    ("activation_range", "'learned', 'moving', 'percentile', 'mse', 'octav', 'pact', 'pow2'"),
    ("weight_gradient", "'clipped', 'ste', 'ewgs', 'atanh', 'mad'"),
    ("activation_gradient", "'clipped', 'ste', 'ewgs', 'atanh', 'mad'"),
])
def test_an_unknown_word_is_refused_with_the_known_ones(key, allowed):
    with pytest.raises(SearchSpaceError, match=f"rule 'b' has {key} = 'chanel'; allowed are {allowed}"):
        Rule(match="b", **{key: "chanel"})


def test_widths_are_sorted_and_distinct_whatever_the_order():
    assert Rule(match="*", widths=[1, 0.5, 1.0, 2]).widths == (0.5, 1, 2)
    assert Rule(match="*", widths=[]).widths == (), "no widths at all take back what earlier rules offered"


@pytest.mark.parametrize("share", [0, -0.5, 16.5, float("nan"), float("inf")])
def test_widths_that_are_no_share_are_refused(share):
    with pytest.raises(SearchSpaceError, match="rule 'a' offers widths .*above 0 and at most 16"):
        Rule(match="a", widths=(1, share))


@pytest.mark.parametrize("key, word, why", [
    ("weight_range", "moving", "averages over batches, and weights have none"),
    ("weight_range", "pact", "learns the clip of what a layer reads"),
    ("activation_range", "minmax", "would depend on the batch at hand"),
    ("activation_range", "dorefa", "squashes weights"),
])
def test_a_word_of_the_other_operand_is_refused_with_the_reason(key, word, why):
    with pytest.raises(SearchSpaceError, match=f"rule 'b' has {key} = '{word}', which {why}.*; allowed are"):
        Rule(match="b", **{key: word})
