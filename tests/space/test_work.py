"""Tests of mpnas/space/work.py."""

import dataclasses

from work_maker import chain, layer

from mpnas.space import Product


def test_layers_read_their_sizes_off_the_kernel():
    conv = layer("conv", (3, 3, 4, 8), "g", "h", macs=1)
    assert (conv.parameters, conv.in_channels, conv.out_channels) == (288, 4, 8)


def test_a_depthwise_kernel_has_one_input_channel_per_output():
    conv = layer("dw", (3, 3, 1, 8), "g", "g", macs=1, kind="depthwise")
    assert (conv.parameters, conv.in_channels, conv.out_channels) == (72, 1, 8)


def test_totals_are_the_hand_counts():
    work = chain()
    assert work.macs == 1080 + 20 + 10
    assert work.parameters == (108 + 4) + (20 + 5) + (10 + 2)
    assert list(work.layer) == ["a", "b", "c"]


def test_products_and_loose_parameters_count_too():
    products = (Product("scores", 50), Product("mix", 50))
    work = dataclasses.replace(chain(), products=products, loose_parameters=7)
    assert work.macs == 1110 + 100
    assert work.parameters == 149 + 7
