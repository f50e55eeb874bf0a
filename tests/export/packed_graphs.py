"""What tests of packed files share: equality of graphs, a graph for any assignment, files with new seals."""

import dataclasses
import struct
import zlib
from unittest import mock

import numpy as np

from mpnas.export import (
    Concat,
    Contraction,
    Dequantise,
    IntegerGraph,
    Multiply,
    Quantise,
    Requantise,
    Reshape,
    Table,
    Tensor,
)
from mpnas.export.pack import _Writer, pack
from mpnas.quant import IntFormat

HEADER_BYTES = 72


def fields(value):
    """Every field of a frozen record, arrays as shape and numbers."""
    rows = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {k: (v.shape, v.tolist()) if isinstance(v, np.ndarray) else v for k, v in rows.items()}


def assert_same(one, other):
    """Two graphs hold the same, bit for bit."""
    assert (one.input, one.output, one.float_ops) == (other.input, other.output, other.float_ops)
    assert [fields(t) for t in one.tensors.values()] == [fields(t) for t in other.tensors.values()]
    assert [type(op) for op in one.ops] == [type(op) for op in other.ops]
    assert [fields(op) for op in one.ops] == [fields(op) for op in other.ops]


def resealed(data):
    """A file that was changed behind its header, with checksums that hold again."""
    changed = bytearray(data)
    middle = struct.unpack_from("<Q", changed, 40)[0]
    struct.pack_into("<I", changed, 56, zlib.crc32(changed[HEADER_BYTES:middle]))
    struct.pack_into("<I", changed, 60, zlib.crc32(changed[middle:]))
    struct.pack_into("<I", changed, 64, zlib.crc32(changed[:64]))
    return bytes(changed)


def graph_of(space, assignment, draw):
    """A graph with the kernels of an assignment, random in all else: each layer reads its own input."""
    exists = {name: np.ones(group.size, bool) for name, group in space.work.groups.items()}
    exists |= space.existing(space.indices(assignment))
    tensors, ops = {"x": Tensor("x", (1,), "real")}, []
    for layer in space.work.layers:
        path, window = layer.path, layer.kernel_shape[:-2]
        kept = np.flatnonzero(layer.writes.along(exists))
        inner = 1 if layer.reads is None else int(layer.reads.along(exists).sum())
        groups = len(kept) if layer.kind == "depthwise" else 1
        act = input_of(space, assignment, path)
        place = (1,) * len(window)
        tensors[f"{path}/in"] = dataclasses.replace(act, name=f"{path}/in", shape=(*place, inner * groups))
        single = dataclasses.replace(act, name=f"{path}/one", shape=(1,))
        tensors[single.name] = single
        ops += lifted(path, single, tensors)
        op, scale = kernel_of(space, assignment, layer, kept, inner, groups, draw)
        shape = (*place, len(kept))
        tensors[op.output] = Tensor(op.output, shape, "sum", scale=act.scale * scale)
        tensors[f"{path}/code"] = Tensor(f"{path}/code", shape, "code", 8)
        ops += [op, requantisation(path, len(kept), draw)]
    last = tensors[ops[-1].output]
    tensors["y"] = Tensor("y", last.shape, "real")
    return IntegerGraph("x", "y", tensors, (*ops, Dequantise("end", last.name, "y")))


def lifted(path, single, tensors):
    """The input's one number as many channels, or as many places of one."""
    out = tensors[f"{path}/in"]
    flat = dataclasses.replace(single, name=f"{path}/flat", shape=(out.channels,))
    tensors[flat.name] = flat
    return [
        Quantise(f"{path}/quantise", "x", single.name),
        Concat(f"{path}/concat", (single.name,) * out.channels, flat.name),
        Reshape(f"{path}/lift", flat.name, out.name),
    ]


def input_of(space, assignment, path):
    """A tensor as the activation quantizer of a layer gives it."""
    site = space.act_site[path]
    formats = {c.bits: c.format for c in space.choices[site].candidates if isinstance(c.format, IntFormat)}
    fmt = formats[assignment.bits[site][0]]
    zero = 3 if fmt.has_zero_point else 0
    # Layers that share a site read the same numbers.
    scale = np.array([np.float32(0.1 + 0.01 * len(site))], np.float64)
    return Tensor("", (1,), "code", fmt.bits, fmt.signed, scale, zero, False)


def kernel_of(space, assignment, layer, kept, inner, groups, draw):
    """A contraction with random codes in the widths of the assignment, and a scale per channel."""
    site = space.weight_site[layer.path]
    choice, decision = space.choices[site], space.channel_decision[site][kept]
    bits = np.array(assignment.bits[site])[decision]
    group = np.asarray(choice.candidates[-1].granularity.index(layer.out_channels))[kept]
    scale = np.float32(0.01) * (1 + group) * np.float32(bits)
    codes = draw.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (*layer.kernel_shape[:-2], inner, len(kept)))
    zeros = group % 3 if any(c.bits and c.format.has_zero_point for c in choice.candidates) else 0 * group
    spatial = len(layer.kernel_shape) - 2
    padding = tuple(((size - 1), 0) for size in layer.kernel_shape[:-2])
    bias = draw.integers(-99, 99, len(kept)) if layer.bias else np.zeros(len(kept), np.int64)
    op = Contraction(
        layer.path, f"{layer.path}/in", f"{layer.path}/sum", layer.path, codes.astype(np.int32), bits, zeros,
        np.zeros(len(kept), bool), bias, strides=(1,) * spatial, padding=padding, dilation=(1,) * spatial,
        groups=groups,
    )
    return op, scale.astype(np.float64)


def requantisation(path, channels, draw):
    """With a multiplier of its own for each channel, as a folded normalisation gives it."""
    row = [np.array([n]) for n in (40, 0, -128, 127)]
    multiplier = draw.integers(-(2**31) + 1, 2**31, channels)
    return Requantise(f"{path}/requantise", f"{path}/sum", f"{path}/code", multiplier, *row)


def gated(seed=0):
    """Sums of 30 bits, a table of all of them, and their product, which is as wide again.

    A row of two numbers of 16 bits is multiplied by 2^14 and by 1: up to 2^29 + 2^15, of any low bits.
    """
    shape, zeros, draw = (2, 3, 2), np.zeros(2, np.int64), np.random.default_rng(seed)
    names = {"x": "real", "s": "sum", "t": "sum", "u": "sum", "y": "real"}
    tensors = {name: Tensor(name, shape, kind) for name, kind in names.items()}
    tensors["q"] = Tensor("q", shape, "code", 16)
    kernel = np.array([[2**14, -1], [1, 2**14]], np.int32)
    entries = draw.integers(-(2**30), 2**30, 9)
    ops = (
        Quantise("in", "x", "q"),
        Contraction("a", "q", "s", "a", kernel, np.full(2, 16), zeros, zeros.astype(bool), zeros),
        Table("table", "s", "t", entries, -(2**29), 27), Multiply("product", ("t", "s"), "u", 30),
        Dequantise("out", "u", "y"),
    )
    return IntegerGraph("x", "y", tensors, ops)


def wide(count, seed=1):
    """Inputs of `gated` whose codes are of all 16 bits."""
    return np.random.default_rng(seed).uniform(-40_000, 40_000, (count, 2, 3, 2)).astype(np.float32)


def _table(**changes):
    return lambda graph: _changed(graph.ops[2], changes)


def _product(**changes):
    return lambda graph: _changed(graph.ops[3], changes)


def _changed(op, changes):
    """Past the checks of a frozen record."""
    for name, value in changes.items():
        object.__setattr__(op, name, value)


def _reshaped(name, shape):
    return lambda graph: graph.tensors.update({name: dataclasses.replace(graph.tensors[name], shape=shape)})


def _lifted(graph):
    graph.tensors["t"] = dataclasses.replace(graph.tensors["t"], zero_point=1)


HOSTILE = {
    "one_entry": _table(entries=np.array([5])), "no_entry": _table(entries=np.zeros(0, np.int64)),
    "entries_of_64_bits": _table(entries=np.array([2**62, -(2**62), 2**63 - 1, -(2**63)])),
    "entries_beyond_int32": _table(entries=np.array([0, 2**31])),
    "entries_apart": _table(entries=np.array([-(2**31) + 1, 2**31 - 1])),
    "starts_beyond_int32": _table(start=2**31), "starts_before_int32": _table(start=-(2**31) - 1),
    "ends_beyond_int32": _table(start=2**30 + 1), "long_segments": _table(shift=31),
    "too_many_inputs": _table(shift=30, start=-(2**31)), "table_of_codes": _table(input="q"),
    "table_of_places": _reshaped("s", (3, 2, 2)), "shift_of_63": _product(shift=63),
    "one_factor": _product(inputs=("t",)), "three_factors": _product(inputs=("t", "s", "s")),
    "codes_as_factor": _product(inputs=("t", "q")), "real_as_factor": _product(inputs=("x", "s")),
    "later_factor": _product(inputs=("u", "s")), "zero_point": _lifted,
    "factor_of_other_length": _reshaped("t", (2, 2, 3)), "factor_of_other_rank": _reshaped("t", (6, 2)),
    "longer_product": _reshaped("u", (4, 3, 2)), "shorter_product": _reshaped("u", (1, 3, 2)),
}
"""What makes a file of `gated` contradict itself: `(graph)` changes its table or its product."""


def hostile(name):
    """The file, with right checksums."""
    graph = gated()
    HOSTILE[name](graph)
    return pack(graph).data


def foreign_entries():
    """The file of a table that has the entries of a quantisation."""
    with mock.patch.object(_Writer, "_same_entries", lambda writer, op: 0):
        return pack(gated()).data
