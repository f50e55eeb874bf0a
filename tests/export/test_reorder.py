"""Tests of mpnas/export/reorder.py: another order of channels, the same outputs."""

import numpy as np
import pytest

from mpnas.export import (
    Add,
    Concat,
    Contraction,
    Dequantise,
    IntegerGraph,
    Multiply,
    Pool,
    Quantise,
    Requantise,
    Reshape,
    Table,
    Tensor,
    integer,
)
from mpnas.export.reorder import sorted_by_bits


class Grown:
    """A graph of 1x1 convolutions on a 2x2 image, drawn as it grows."""

    def __init__(self):
        self.draw = np.random.default_rng(0)
        self.tensors = {"x": Tensor("x", (2, 2, 3), "real"), "q": Tensor("q", (2, 2, 3), "code", 8)}
        self.ops = [Quantise("q/op", "x", "q")]

    def tensor(self, name, shape, kind, *rest, **options):
        self.tensors[name] = Tensor(name, shape, kind, *rest, **options)
        return name

    def layer(self, name, source, bits, groups=1):
        """A layer with these bits, and its requantised output `name`."""
        bits, shape = np.array(bits), self.tensors[source].shape
        out, inner = len(bits), shape[-1] // groups
        window = (1, 1) if len(shape) == 3 else ()
        codes = self.draw.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (*window, inner, out))
        total = self.tensor(f"{name}/sum", (*shape[:-1], out), "sum", scale=self.draw.uniform(0.1, 1, out))
        spatial = len(window)
        self.ops.append(Contraction(
            f"{name}/layer", source, total, name, codes, bits, self.draw.integers(-2, 3, out),
            self.draw.random(out) < 0.3, self.draw.integers(-9, 9, out), strides=(1,) * spatial,
            padding=((0, 0),) * spatial, dilation=(1,) * spatial, groups=groups,
        ))
        self.tensor(name, (*shape[:-1], out), "code", 8)
        self.rescaled(name, total)
        return name

    def rescaled(self, name, source):
        channels = self.tensors[name].channels
        rows = (self.draw.integers(2**29, 2**30, channels), np.full(channels, 34),
                self.draw.integers(-(2**34), 2**34, channels))
        ends = (np.array([end]) for end in self.tensors[name].code_range)
        if self.tensors[name].kind == "sum":
            ends = (np.array([end]) for end in self.tensors[name].range)
        self.ops.append(Requantise(f"{name}/op", source, name, *rows, *ends))

    def graph(self, last):
        self.tensor("y", self.tensors[last].shape, "real")
        self.ops.append(Dequantise("y/op", last, "y"))
        return IntegerGraph("x", "y", self.tensors, tuple(self.ops))


def same_outputs(graph):
    """The sorted graph, after its outputs were compared."""
    made = sorted_by_bits(graph)
    x = np.random.default_rng(1).normal(size=(20, 2, 2, 3)) * 40
    expected = integer.execute(graph, x)
    assert expected.std() > 0
    np.testing.assert_array_equal(integer.execute(made, x), expected)
    return {op.site: op.bits.tolist() for op in made.contractions}


def test_free_channels_are_sorted_and_the_next_layer_reads_them_so():
    net = Grown()
    last = net.layer("b", net.layer("a", "q", [8, 2, 4, 2, 8]), [4, 2, 8])
    bits = same_outputs(net.graph(last))
    assert bits["a"] == [2, 2, 4, 8, 8]
    assert bits["b"] == [4, 2, 8], "the output's channels are the classes"


def test_channels_that_are_added_follow_the_first_writer_then_the_second():
    net = Grown()
    one, other = net.layer("a", "q", [8, 2, 8, 2]), net.layer("b", "q", [2, 8, 1, 4])
    for name, side in (("s1", one), ("s2", other)):
        net.rescaled(net.tensor(name, (2, 2, 4), "sum"), side)
    net.ops.append(Add("add", ("s1", "s2"), net.tensor("s", (2, 2, 4), "sum")))
    net.rescaled(net.tensor("t", (2, 2, 4), "code", 8), "s")
    bits = same_outputs(net.graph(net.layer("c", "t", [8, 4])))
    assert bits["a"] == [2, 2, 8, 8] and bits["b"] == [4, 8, 1, 2]


def squeezed(net, source):
    """The sums of a layer `s`, and over all places of them, looked up, `g`."""
    channels = net.tensors[source].channels
    net.rescaled(net.tensor("s", (2, 2, channels), "sum"), source)
    net.ops.append(
        Pool("pool", "s", net.tensor("p", (1, 1, channels), "sum"), "sum", (2, 2), (2, 2), ((0, 0), (0, 0)))
    )
    net.ops.append(
        Table("table", "p", net.tensor("g", (1, 1, channels), "sum"), np.array([-70, 9, 2, 50]), -90, 6)
    )


def test_channels_that_are_multiplied_stay_in_one_order():
    net = Grown()
    squeezed(net, net.layer("a", "q", [8, 2, 4, 2]))
    net.ops.append(Multiply("m", ("g", "s"), net.tensor("t", (2, 2, 4), "sum"), 5))
    net.rescaled(net.tensor("u", (2, 2, 4), "code", 8), "t")
    bits = same_outputs(net.graph(net.layer("b", "u", [8, 4])))
    assert bits == {"a": [2, 2, 4, 8], "b": [8, 4]}


def test_a_factor_of_one_channel_counts_for_channels_of_any_order():
    net = Grown()
    one = net.layer("c", "q", [3])
    squeezed(net, net.layer("a", "q", [8, 2, 4, 2]))
    net.rescaled(net.tensor("one", (2, 2, 1), "sum"), one)
    net.ops.append(Multiply("m", ("s", "one"), net.tensor("t", (2, 2, 4), "sum")))
    net.ops.append(Multiply("n", ("g", "t"), net.tensor("v", (2, 2, 4), "sum"), 1))
    net.rescaled(net.tensor("u", (2, 2, 4), "code", 8), "v")
    bits = same_outputs(net.graph(net.layer("b", "u", [8, 4])))
    assert bits == {"c": [3], "a": [2, 2, 4, 8], "b": [8, 4]}


def test_depthwise_channels_move_with_those_that_they_keep():
    net = Grown()
    deep = net.layer("d", net.layer("a", "q", [8, 2, 4]), [1, 2, 3], groups=3)
    bits = same_outputs(net.graph(net.layer("b", deep, [8, 4])))
    assert bits["a"] == [2, 4, 8] and bits["d"] == [2, 3, 1]


def test_grouped_channels_stay():
    net = Grown()
    grouped = net.layer("g", net.layer("a", "q", [8, 2, 8, 2]), [8, 2, 4, 1], groups=2)
    bits = same_outputs(net.graph(net.layer("b", grouped, [8, 4])))
    assert bits["a"] == [8, 2, 8, 2] and bits["g"] == [8, 2, 4, 1]


def test_channels_side_by_side_move_within_their_part():
    net = Grown()
    one, other = net.layer("a", "q", [8, 2]), net.layer("b", "q", [4, 8, 2])
    net.ops.append(Concat("c", (one, other), net.tensor("c", (2, 2, 5), "code", 8)))
    bits = same_outputs(net.graph(net.layer("d", "c", [8, 4])))
    assert bits["a"] == [2, 8] and bits["b"] == [2, 4, 8]


@pytest.mark.parametrize("again", [False, True])
def test_flattened_channels_move_in_every_place(again):
    net = Grown()
    last = net.layer("a", "q", [8, 2, 4])
    net.ops.append(Reshape("f", last, net.tensor("f", (12,), "code", 8)))
    last = "f"
    if again:
        net.rescaled(net.tensor("r", (12,), "code", 8), "f")
        last = "r"
    bits = same_outputs(net.graph(net.layer("b", last, [8, 4])))
    assert bits["a"] == [2, 4, 8]
