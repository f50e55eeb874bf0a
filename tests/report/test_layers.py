"""Tests of mpnas/report/layers.py."""

from mpnas.report.layers import counts_of, in_order, layers_of

SITE = {"decisions": 1, "parameters": 0, "macs": 0}


def test_layers_come_in_network_order_and_without_one_by_their_numbers():
    names = ["block10/conv", "block2/conv", "block1/conv"]
    plain = {f"{name}/kernel": SITE | {"kind": "weight"} for name in names}
    one = {name: {"granularity": "layer", "bits": 8} for name in plain}
    assert list(layers_of(plain, one)) == ["block1/conv", "block2/conv", "block10/conv"]
    placed = {name: site | {"index": k} for k, (name, site) in enumerate(plain.items())}
    assert list(layers_of(placed, one)) == names


def test_the_two_inputs_of_a_product_have_a_row_each():
    sites = {f"attention/{name}": SITE | {"kind": "activation"} for name in ("left", "right")}
    one = {name: {"granularity": "layer", "bits": 8} for name in sites}
    assert list(layers_of(sites, one)) == ["attention", "attention/right"]


def test_masks_and_sites_without_a_decision_have_no_row():
    sites = {"a/kernel": SITE | {"kind": "weight"}, "a/channels": SITE | {"kind": "mask"}}
    assert layers_of(sites, {"a/channels": {"granularity": "channel", "bits": 1}}) == {}


def test_a_width_has_no_counts():
    assert counts_of({"granularity": "group", "channels": 24}, 1) == {}


def test_numbers_in_names_are_numbers():
    assert in_order("b2", {}) < in_order("b10", {}) < in_order("c1", {})
