"""Tests of mpnas/cost/macs.py."""

from cost_spaces import chain, separable, space_of

from mpnas.cost import Macs, exact_cost


def keeping(space, site, kept):
    """Everything at the highest candidate, `kept` of the decisions of one site, the others removed."""
    indices = space.indices(space.uniform(None))
    indices[site][kept:] = 0
    return space.from_indices(indices)


def test_uniform_network_does_all_of_its_work_and_the_products_of_activations():
    assert exact_cost(Macs(), space_of(chain), space_of(chain).uniform(8)) == 1800 + 12 + 7


def test_half_the_channels_halve_their_layer_and_the_layer_that_reads_them():
    space = space_of(chain)
    assert exact_cost(Macs(), space, keeping(space, "a/kernel", 2)) == 900 + 6 + 7


def test_depthwise_layer_does_work_in_proportion_to_its_channels():
    space = space_of(separable)
    assert exact_cost(Macs(), space, space.uniform(8)) == 60 + 180 + 40
    assert exact_cost(Macs(), space, keeping(space, "wide/channels", 2)) == 24 + 72 + 16


def test_bits_do_not_matter():
    space = space_of(chain)
    assert exact_cost(Macs(), space, space.uniform(2)) == exact_cost(Macs(), space, space.uniform(8))
