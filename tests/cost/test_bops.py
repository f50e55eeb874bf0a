"""Tests of mpnas/cost/bops.py."""

import math

import pytest
from cost_spaces import chain, residual, separable, space_of

from mpnas.cost import Bops, BopsBaskin, exact_cost
from mpnas.space import Rule


def test_uniform_network_costs_64_per_mac_and_1024_per_mac_of_two_activations():
    space = space_of(chain)
    assert exact_cost(Bops(), space, space.uniform(8)) == 1812 * 64 + 7 * 1024


def test_operands_have_their_own_widths():
    space = space_of(chain)
    indices = space.indices(space.uniform(8))
    indices["b/kernel"][:] = 0  # 2 bits: 0 is not offered, the outputs must stay
    indices["a/input"][:] = 0  # 4 bits
    assert exact_cost(Bops(), space, space.from_indices(indices)) == 1800 * 32 + 12 * 16 + 7 * 1024


def test_operand_that_no_rule_touches_counts_as_32_bits():
    space = space_of(chain, Rule(match="a", weights=(4,)), Rule(match="b", activations=(8,)))
    assert exact_cost(Bops(), space, space.uniform(8)) == 1800 * 4 * 32 + 12 * 32 * 8 + 7 * 1024


def test_channel_removed_by_a_shared_mask_costs_nothing_whatever_its_bits():
    space = space_of(residual)
    indices = space.indices(space.uniform(8))
    indices["stem/channels"][:3] = 0
    stem, inner, conv, head = 2 * 1 * 9, 1 * 6 * 9, 6 * 1 * 9, 1 * 3
    assert exact_cost(Bops(), space, space.from_indices(indices)) == 64 * (stem + inner + conv + head)


def test_accumulator_counts_both_widths_and_the_logarithm_of_its_terms():
    space = space_of(chain)
    by_hand = 1800 * (64 + 16 + math.log2(18)) + 12 * (64 + 16 + 2) + 7 * (1024 + 64)
    assert exact_cost(BopsBaskin(), space, space.uniform(8)) == pytest.approx(by_hand, rel=1e-12)


def test_removed_inputs_shorten_the_accumulator_of_their_reader():
    space = space_of(chain)
    indices = space.indices(space.uniform(8))
    indices["a/kernel"][:3] = 0
    by_hand = 450 * (80 + math.log2(18)) + 3 * (80 + 0) + 7 * 1088
    assert exact_cost(BopsBaskin(), space, space.from_indices(indices)) == pytest.approx(by_hand, rel=1e-12)


def test_depthwise_accumulator_sums_one_channel():
    space = space_of(separable)
    by_hand = 60 * (80 + math.log2(3)) + 180 * (80 + math.log2(9)) + 40 * (80 + math.log2(5))
    assert exact_cost(BopsBaskin(), space, space.uniform(8)) == pytest.approx(by_hand, rel=1e-12)


def test_channel_removed_by_a_shared_mask_has_no_accumulator():
    space = space_of(residual)
    indices = space.indices(space.uniform(8))
    indices["stem/channels"][:2] = 0
    by_hand = 36 * (80 + 1) + 108 * (80 + 1) + 108 * (80 + math.log2(6)) + 6 * (80 + 1)
    assert exact_cost(BopsBaskin(), space, space.from_indices(indices)) == pytest.approx(by_hand, rel=1e-12)
