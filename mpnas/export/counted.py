"""Counted work: what an integer graph says of itself, to be held against what the search was told."""

import math

from mpnas.export.graph import IntegerGraph


def bit_operations(graph: IntegerGraph) -> int:
    """Multiply-accumulates times the bits of both operands, one example; `mpnas.cost.Bops` counts the same.

    Taps that lie on padding count, as in the cost.
    """
    total = 0
    for op in graph.contractions:
        places = math.prod(graph.tensors[op.output].shape[:-1])
        taps = math.prod(op.codes.shape[:-1])
        total += places * taps * int(op.bits.sum()) * graph.tensors[op.input].bits
    return total
