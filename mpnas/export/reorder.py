"""Reordering: channels of equal bit-width side by side, the permutation folded into the neighbours.

A packed kernel is then a few runs of one width each. Channels that layers share (a residual sum, a
depthwise layer) have one order, that of their first writer's widths, then of the next one's; the input
and the output of the network, and channels of grouped layers, keep theirs. Only arrays are permuted: the
graph computes the same.
"""

import dataclasses
import math

import numpy as np

from mpnas.export.graph import IntegerGraph
from mpnas.export.ops import Concat, Contraction, Dequantise, Op, Quantise, Requantise, Reshape


def sorted_by_bits(graph: IntegerGraph) -> IntegerGraph:
    """The same graph with the channels of every contraction sorted by bits, where they are free to move."""
    orders = _Orders(graph)
    tensors = {
        name: dataclasses.replace(tensor, scale=_permuted(tensor.scale, orders.of(name)))
        for name, tensor in graph.tensors.items()
    }
    ops = tuple(_moved(op, orders) for op in graph.ops)
    return dataclasses.replace(graph, tensors=tensors, ops=ops)


class _Orders:
    """For every tensor the old channel that stands at each new place."""

    def __init__(self, graph: IntegerGraph) -> None:
        self.graph = graph
        self._parent = {name: name for name in graph.tensors}
        self._fixed: set[str] = {graph.input, graph.output}
        for op in graph.ops:
            self._join(op)
        self._sources = self._derivations()
        self._orders: dict[str, np.ndarray] = {}

    def of(self, tensor: str) -> np.ndarray:
        """The order of a tensor's channels."""
        root = self._root(tensor)
        if root not in self._orders:
            self._orders[root] = self._order(root)
        return self._orders[root]

    def _join(self, op: Op) -> None:
        """Note which tensors have the same channels, and which must keep them."""
        if isinstance(op, Contraction):
            shared = op.kind == "depthwise" and op.out_channels == op.groups
            if shared:
                self._same(op.input, op.output)
            elif op.groups > 1:
                self._fixed |= {op.input, op.output}
        elif not isinstance(op, (Concat, Reshape)) or self._passes(op):
            for name in op.inputs:
                # A factor of one channel counts for all channels, in whatever order.
                if self.graph.tensors[name].channels == self.graph.tensors[op.output].channels:
                    self._same(name, op.output)

    def _passes(self, op: Op) -> bool:
        """Whether a reshape leaves the last axis as it is."""
        channels = self.graph.tensors[op.output].channels
        return isinstance(op, Reshape) and self.graph.tensors[op.input].channels == channels

    def _derivations(self) -> dict[str, Op]:
        """Channels -> the concatenation or flattening whose order follows from that of its inputs.

        Where a layer also writes such channels, or two follow from different inputs, none of them moves.
        """
        written = {
            self._root(op.output)
            for op in self.graph.ops
            if isinstance(op, Contraction) and (op.groups == 1 or op.out_channels != op.groups)
        }
        found: dict[str, Op] = {}
        for op in self.graph.ops:
            if not isinstance(op, (Concat, Reshape)) or self._passes(op):
                continue
            root, whole = self._root(op.output), isinstance(op, Concat) or self._flattens(op)
            if whole and root not in written and root not in found and not self._is_fixed(root):
                found[root] = op
            else:
                self._fixed |= {op.output, *op.inputs}
        # What follows from channels that are derived themselves keeps the order: no chains.
        for root, op in list(found.items()):
            if self._is_fixed(root) or any(self._root(name) in found for name in op.inputs):
                del found[root]
                self._fixed |= {op.output, *op.inputs}
        return found

    def _flattens(self, op: Op) -> bool:
        return len(self.graph.tensors[op.output].shape) == 1

    def _order(self, root: str) -> np.ndarray:
        channels = self.graph.tensors[root].channels
        if self._is_fixed(root):
            return np.arange(channels)
        if (op := self._sources.get(root)) is not None:
            rows = [self.of(name) for name in op.inputs]
            if isinstance(op, Concat):
                starts = np.cumsum([0, *map(len, rows[:-1])])
                return np.concatenate([start + row for start, row in zip(starts, rows, strict=True)])
            repeats = math.prod(self.graph.tensors[op.inputs[0]].shape) // len(rows[0])
            return (np.arange(repeats)[:, None] * len(rows[0]) + rows[0]).ravel()
        writers = [op.bits for op in self.graph.contractions if self._root(op.output) == root]
        # The last key counts first.
        return np.lexsort(writers[::-1]) if writers else np.arange(channels)

    def _is_fixed(self, root: str) -> bool:
        return any(self._root(name) == root for name in self._fixed)

    def _root(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def _same(self, one: str, other: str) -> None:
        self._parent[self._root(one)] = self._root(other)


def _permuted(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """One value per channel in the new order; a single value for all stays."""
    return values[order] if len(values) == len(order) else values


def _moved(op: Op, orders: _Orders) -> Op:
    if isinstance(op, (Quantise, Dequantise)):
        return op
    order = orders.of(op.output)
    names: tuple[str, ...]
    if isinstance(op, Requantise):
        names = ("multiplier", "shift", "offset", "low", "high")
    elif isinstance(op, Contraction):
        names = ("bits", "zero_point", "midrise", "bias")
    else:
        return op
    changes = {name: _permuted(getattr(op, name), order) for name in names}
    if isinstance(op, Contraction):
        codes = op.codes[..., order]
        changes["codes"] = codes if op.groups > 1 else codes[..., orders.of(op.input), :]
    return dataclasses.replace(op, **changes)  # type: ignore[arg-type]
