"""Tests of mpnas/export/pack.py, mpnas/export/storage.py and mpnas/export/unpack.py.

What a file must be as long as is counted by `mpnas.cost` and, in small, by hand.
"""

import dataclasses
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from packed_graphs import HOSTILE, assert_same, foreign_entries, gated, graph_of, hostile, resealed
from random_graphs import random_graph

from mpnas.cost import WeightBytes, measure
from mpnas.errors import PackError
from mpnas.export import Contraction, Dequantise, IntegerGraph, Quantise, Tensor
from mpnas.export.container import LENGTH, Sections, opened, sealed
from mpnas.export.pack import pack
from mpnas.export.storage import own_storage, storage_of
from mpnas.export.unpack import unpack
from mpnas.quant import IntFormat, MinMax
from mpnas.space import Rule

sys.path.insert(0, str(Path(__file__).parents[1] / "cost"))
from cost_spaces import chain, random_assignment, residual, separable, space_of  # noqa: E402

ALL = (0, 1, 2, 3, 4, 5, 6, 7, 8)
FREE = {"match": "*", "weights": ALL, "granularity": "channel"}
RULES = {
    "layer": Rule(match="*", weights=ALL[1:], activations=(2, 4, 8, 16), granularity="layer", scale="layer"),
    "layer, scale by channel": Rule(match="*", weights=ALL[1:], activations=(4, 8), granularity="layer"),
    "channel": Rule(activations=(1, 4, 8), scale="channel", **FREE),
    "channel, one scale": Rule(activations=(8,), scale="layer", **FREE),
    "subgroup": Rule(match="*", weights=(0, 3, 16), activations=(4, 8), granularity=2, scale=2),
    "channel, scale by subgroup": Rule(activations=(8,), scale=3, **FREE),
}


def shifted(space):
    """The same space, its formats with zero points."""
    def with_zero_point(candidate):
        if not isinstance(getattr(candidate, "format", None), IntFormat):
            return candidate
        fmt = dataclasses.replace(candidate.format, symmetric=False)
        return dataclasses.replace(candidate, format=fmt, scale=MinMax())

    choices = {
        site: dataclasses.replace(choice, candidates=tuple(map(with_zero_point, choice.candidates)))
        for site, choice in space.choices.items()
    }
    return dataclasses.replace(space, choices=choices)


def made(space, seed):
    """An assignment, a graph with its kernels, and its file."""
    draw = np.random.default_rng(seed)
    assignment = random_assignment(space, draw)
    graph = graph_of(space, assignment, draw)
    return assignment, graph, pack(graph, storage_of(space, assignment))


def test_weights_are_as_long_as_the_memory_cost_for_200_assignments():
    lengths = set()
    for seed in range(200):
        net = (chain, residual, separable)[seed % 3]
        space = space_of(net, list(RULES.values())[seed // 3 % len(RULES)])
        assignment, graph, packed = made(space, seed)
        cost = measure([WeightBytes()], space, assignment)["weight_bytes"]
        assert packed.weight_bits == 8 * cost
        assert struct.unpack_from("<Q", packed.data, 48) == (packed.weight_bits,)
        assert 8 * len(packed.data) == packed.weight_bits + packed.graph_bits + packed.other_bits
        assert_same(unpack(packed.data), graph)
        lengths.add(packed.weight_bits)
    assert len(lengths) > 100


@pytest.mark.parametrize("rule", list(RULES))
def test_zero_points_are_counted_beside_scales(rule):
    space = shifted(space_of(chain, RULES[rule]))
    for seed in range(5):
        assignment, graph, packed = made(space, seed)
        assert packed.weight_bits == 8 * measure([WeightBytes()], space, assignment)["weight_bytes"]
        assert_same(unpack(packed.data), graph)


def dense(**changes):
    """x -> 8 bits -> two channels of 2 and 3 bits -> y."""
    given = dict(
        name="a", input="q", output="s", site="a", codes=np.array([[1, -4], [-2, 3]], np.int32),
        bits=np.array([2, 3]), zero_point=np.zeros(2, np.int64), midrise=np.zeros(2, bool),
        bias=np.array([1, -1]),
    )
    tensors = (
        Tensor("x", (2,), "real"), Tensor("q", (2,), "code", 8, scale=np.array([0.5])),
        Tensor("s", (2,), "sum", scale=np.array([0.25, 2.0])), Tensor("y", (2,), "real"),
    )
    ops = (Quantise("in", "x", "q"), Contraction(**(given | changes)), Dequantise("out", "s", "y"))
    return IntegerGraph("x", "y", {t.name: t for t in tensors}, ops)


def bit_text(data, bits):
    """The stream as text, the first bit first."""
    return "".join(str(byte >> k & 1) for byte in data for k in range(8))[:bits]


def test_a_small_file_holds_the_bits_that_are_written_by_hand():
    """0.5 and 1.0 are 0x3F000000 and 0x3F800000; the scales of s are those of q, 0.5, times 0.5 and 4."""
    packed = pack(dense())
    half, four, minus = "0" * 24 + "11111100", "0" * 23 + "100000010", "1" * 32
    widths = "0100" + "1100"  # number 2 and number 3 of 0..8, 16, 32, lowest bit first
    biases = "1" + "0" * 31 + minus
    codes = "10" + "01" + "001" + "110"  # 1, -2 in 2 bits; -4, 3 in 3 bits
    act = "0001" + half
    assert packed.weight_bits == 8 + 64 + 64 + 10 + 36
    expected = widths + half + four + biases + codes + act
    assert bit_text(opened(packed.data).weights, packed.weight_bits) == expected
    assert_same(unpack(packed.data), dense())


def test_narrow_channels_stand_first_whatever_their_place():
    swapped = dense(codes=np.array([[-4, 1], [3, -2]], np.int32), bits=np.array([3, 2]))
    assert bit_text(opened(pack(swapped).data).weights, 146)[-10:] == "10" + "01" + "001" + "110"
    assert_same(unpack(pack(swapped).data), swapped)


def test_any_graph_comes_back_as_it_was():
    count = 0
    for seed in range(150):
        graph = random_graph(seed)
        if any(0 in tensor.shape for tensor in graph.tensors.values()):
            with pytest.raises(PackError, match="none of them empty"):
                pack(graph)
            continue
        assert_same(unpack(pack(graph).data), graph)
        count += 1
    assert count > 140


def test_a_kernel_that_is_called_twice_is_stored_once():
    once, twice = pack(dense()), dense()
    tensors = dict(twice.tensors) | {"s2": dataclasses.replace(twice.tensors["s"], name="s2")}
    again = dataclasses.replace(twice.contractions[0], name="a@2", output="s2", bias=np.array([5, 6]))
    graph = IntegerGraph("x", "y", tensors, (*twice.ops[:2], again, twice.ops[2]))
    assert pack(graph).weight_bits == once.weight_bits
    assert_same(unpack(pack(graph).data), graph)


def test_scales_that_float32_cannot_hold_stand_in_the_graph_section():
    graph = dense()
    thirds = dataclasses.replace(graph.tensors["s"], scale=np.array([0.1, 1 / 3]))
    odd = dataclasses.replace(graph, tensors=dict(graph.tensors) | {"s": thirds})
    assert pack(odd).weight_bits == pack(graph).weight_bits
    assert pack(odd).graph_bits > pack(graph).graph_bits
    assert_same(unpack(pack(odd).data), odd)


def test_an_assignment_of_another_network_is_refused():
    space = space_of(chain, RULES["channel"])
    assignment, graph, _ = made(space, 0)
    other = space_of(residual, RULES["channel"])
    with pytest.raises(PackError, match="'a' is in the graph only"):
        pack(graph, storage_of(other, other.uniform(4)))
    with pytest.raises(PackError, match=r"kernel of layer 'a' has .* bits, the assignment 4 of \[8\]"):
        pack(graph, storage_of(space, space.uniform(None)))


def test_a_layer_that_has_two_kernels_is_refused():
    space = space_of(chain, RULES["channel"])
    assignment, graph, _ = made(space, 0)
    op = graph.contractions[0]
    turned = dataclasses.replace(
        op, name="again", output="again", codes=op.codes[..., ::-1], bits=op.bits[::-1],
        midrise=op.midrise[::-1],
    )
    tensors = dict(graph.tensors) | {"again": dataclasses.replace(graph.tensors[op.output], name="again")}
    twice = dataclasses.replace(graph, tensors=tensors, ops=(*graph.ops[:-1], turned, graph.ops[-1]))
    assert_same(unpack(pack(twice).data), twice)
    with pytest.raises(PackError, match="layer 'a' is called more than once"):
        pack(twice, storage_of(space, assignment))


def test_a_layer_in_float_has_no_place_in_a_file():
    space = space_of(chain, Rule(match="*", weights=(4, 32), activations=(8,)))
    with pytest.raises(PackError, match="layer 'a' keeps its weights in float"):
        storage_of(space, space.uniform(None))
    space = space_of(chain, Rule(match="*", weights=(4,), activations=(8, 32)))
    with pytest.raises(PackError, match="layer 'a' keeps its input in float"):
        storage_of(space, space.uniform(None))


def test_changed_bytes_are_noticed():
    """1,000 files with a few bytes changed, cut off or put in: the same graph, or the error."""
    draw, refused = np.random.default_rng(0), 0
    graph = random_graph(3)
    whole = pack(graph).data
    for _ in range(1000):
        data = bytearray(whole)
        place = int(draw.integers(len(data)))
        kind = draw.integers(3)
        if kind == 0:
            data[place] = int(draw.integers(256))
        elif kind == 1:
            del data[place:]
        else:
            data[place:place] = draw.bytes(int(draw.integers(1, 9)))
        try:
            assert_same(unpack(bytes(data)), graph)
        except PackError:
            refused += 1
    assert refused > 980


def test_what_contradicts_itself_behind_right_checksums_is_refused():
    """1,000 files changed behind their header and sealed again: some graph, or the error."""
    draw, refused = np.random.default_rng(1), 0
    files = [pack(random_graph(seed)).data for seed in range(3, 13)]
    for k in range(1000):
        data = bytearray(files[k % len(files)])
        for place in draw.integers(LENGTH, len(data), draw.integers(1, 4)):
            data[place] ^= int(draw.integers(1, 256)) if draw.integers(2) else 1 << int(draw.integers(8))
        try:
            assert isinstance(unpack(resealed(data)), IntegerGraph)
        except PackError as error:
            refused += 1
            assert str(error).endswith(".")
    assert 300 < refused < 1000


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_or_a_product_that_cannot_be_is_refused(name):
    with pytest.raises(PackError, match="packed file .*[.]$"):
        unpack(hostile(name))


def test_entries_of_what_is_no_table_are_refused():
    with pytest.raises(PackError, match="table 'table' has the entries of 'in', which is none"):
        unpack(foreign_entries())


def test_tables_with_the_same_entries_have_them_once():
    graph = gated()
    again = dataclasses.replace(graph.ops[2], name="again", output="v", start=-5, shift=3)
    tensors = dict(graph.tensors) | {"v": dataclasses.replace(graph.tensors["t"], name="v")}
    twice = IntegerGraph("x", "y", tensors, (*graph.ops[:3], again, *graph.ops[3:]))
    other = dataclasses.replace(again, entries=again.entries + 1)
    apart = dataclasses.replace(twice, ops=(*graph.ops[:3], other, *graph.ops[3:]))
    for each in (graph, twice, apart):
        assert_same(unpack(pack(each).data), each)
    # 9 entries of at least 30 bits.
    assert pack(apart).graph_bits - pack(twice).graph_bits >= 9 * 30 - 8


def test_a_file_of_version_1_holds_the_same_graph():
    """It differs from one of version 2 in that number alone, where it has no table and no product."""
    data = bytearray(pack(dense()).data)
    struct.pack_into("<I", data, 8, 1)
    assert_same(unpack(resealed(bytes(data))), dense())


def test_lengths_without_their_bytes_allocate_nothing():
    """A kernel of 2^30 x 2^30 codes, said in a dozen bytes."""
    data = pack(dense()).data
    sections = opened(data)
    at = sections.graph.index(b"\x01a\x02\x02\x02") + 3
    huge = b"\x80\x80\x80\x80\x04"
    graph = sections.graph[:at] + huge + sections.graph[at + 1:]
    with pytest.raises(PackError, match=r"has shape \(1073741824, 2\)"):
        unpack(sealed(Sections(graph, sections.weights, sections.weight_bits)))


def test_bits_that_nobody_reads_are_refused():
    sections = opened(pack(dense()).data)
    with pytest.raises(PackError, match="bits of its weights are nobody's"):
        unpack(sealed(Sections(sections.graph, sections.weights + b"\x00\x00", sections.weight_bits + 16)))


def test_padding_that_fills_the_memory_is_refused():
    """A window of 1 x 1 that strides over 2^29 places of padding: one place comes out."""
    made = (
        Tensor("x", (8, 8, 1), "real"), Tensor("q", (8, 8, 1), "code", 8), Tensor("s", (1, 8, 1), "sum"),
        Tensor("y", (1, 8, 1), "real"),
    )
    kernel = Contraction(
        "a", "q", "s", codes=np.ones((1, 1, 1, 1), np.int32), bits=np.array([2]), site="a",
        zero_point=np.zeros(1, np.int64), midrise=np.zeros(1, bool), bias=np.zeros(1, np.int64),
        strides=(2**30, 1), padding=((0, 2**29), (0, 0)), dilation=(1, 1),
    )
    ops = (Quantise("i", "x", "q"), kernel, Dequantise("o", "s", "y"))
    with pytest.raises(PackError, match=r"operation 'a' pads \(8, 8, 1\) to \[536870920, 8\]"):
        unpack(pack(IntegerGraph("x", "y", {t.name: t for t in made}, ops)).data)


def test_a_graph_without_a_space_has_a_width_and_a_scale_per_channel():
    storage = own_storage(dense())
    (shelf,) = storage.layers.values()
    assert (shelf.slots, shelf.bits(2)) == (2, 2 * 4 + 2 * 32 + 2 * 32 + 2 * (2 + 3))
    assert [act.bits for act in storage.acts] == [36]
