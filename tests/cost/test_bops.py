"""Tests of mpnas/cost/bops.py."""

from cost_spaces import chain, residual, space_of

from mpnas.cost import Bops, exact_cost
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
