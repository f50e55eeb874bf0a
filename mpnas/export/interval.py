"""Intervals: the smallest and largest integer that each tensor of a graph can hold, for any input.

Read off the kernels, channel by channel, before anything runs. A graph that passes cannot overflow an
int32 accumulator, nor the 64 bits of a requantisation.
"""

import math
from collections.abc import Mapping

import numpy as np

from mpnas.errors import GraphError
from mpnas.export.graph import IntegerGraph, Tensor
from mpnas.export.ops import Add, Concat, Contraction, Multiply, Op, Pool, Requantise, Table
from mpnas.export.rounding import looked_up, multiplied, requantised

Bounds = tuple[np.ndarray, np.ndarray]  # lowest and highest, int64 (channels,)
INT32 = (-(2**31), 2**31 - 1)
EXACT_IN_FLOAT32 = 2**24  # below it float32 sums whole numbers without rounding, in any order


def intervals(graph: IntegerGraph) -> dict[str, Bounds]:
    """Tensor -> lowest and highest integer per channel; real tensors are left out.

    Raises:
      GraphError: an accumulator could leave int32, or a requantisation 64 bits; names it and the way out.
    """
    found: dict[str, Bounds] = {}
    for op in graph.ops:
        out = graph.tensors[op.output]
        if out.kind != "real":
            found[op.output] = bounds_after(op, graph.tensors, found)
    return found


def bounds_after(op: Op, tensors: Mapping[str, Tensor], found: Mapping[str, Bounds]) -> Bounds:
    """What one operation can give, from what its inputs can be.

    Raises:
      GraphError: as `intervals`.
    """
    out, rows = tensors[op.output], [found.get(name) for name in op.inputs]
    if any(row is None for row in rows):
        return _full(out, *out.range)
    known: list[Bounds] = [row for row in rows if row is not None]
    low, high = known[0]
    if isinstance(op, Contraction):
        low, high = _of_contraction(op, tensors[op.input], low, high)
    elif isinstance(op, Requantise):
        return _of_requantisation(op, out, low, high)
    elif isinstance(op, Add):
        low, high = sum(row[0] for row in known), sum(row[1] for row in known)  # type: ignore[assignment]
    elif isinstance(op, Multiply):
        # The ends of a product are products of ends, and rounding keeps their order.
        corners = np.stack([multiplied(op, one, other) for one in known[0] for other in known[1]])
        low, high = corners.min(axis=0), corners.max(axis=0)
    elif isinstance(op, Table):
        low, high = _of_table(op, low, high)
    elif isinstance(op, Concat):
        low, high = (np.concatenate([row[k] for row in known]) for k in (0, 1))
    elif isinstance(op, Pool) and op.kind == "sum":
        area, zero = math.prod(op.window), tensors[op.input].zero_point
        if any(map(any, op.padding)):
            low, high = np.minimum(low, zero), np.maximum(high, zero)
        low, high = area * low, area * high
    elif low.shape != (out.channels,):
        low, high = _full(out, int(low.min()), int(high.max()))
    _refuse_overflow(op, low, high)
    return low, high


def magnitude(op: Contraction, source: Tensor, bounds: Bounds) -> int:
    """What no partial sum of the products can exceed in size, whatever their order."""
    size = np.maximum(np.abs(bounds[0] - source.zero_point), np.abs(bounds[1] - source.zero_point))
    return int(_summed(op, np.abs(op.levels), size).max(initial=0))


def _full(tensor: Tensor, low: int, high: int) -> Bounds:
    return np.full(tensor.channels, low, np.int64), np.full(tensor.channels, high, np.int64)


def _summed(op: Contraction, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`sum weights * values` per output channel, with one value per input channel."""
    *_, inner, out = weights.shape
    by_group = weights.reshape(-1, inner, op.groups, out // op.groups).sum(axis=0)
    return np.einsum("igo,gi->go", by_group, values.reshape(op.groups, inner)).reshape(out)


def _of_contraction(op: Contraction, source: Tensor, low: np.ndarray, high: np.ndarray) -> Bounds:
    low, high = low - source.zero_point, high - source.zero_point
    terms = math.prod(op.codes.shape[:-1])
    if float(np.abs(op.levels).max()) * float(np.abs([low, high]).max()) * terms >= 2.0**62:
        raise GraphError(f"the sums of '{op.name}' can leave 64 bits, far beyond int32. Use fewer bits.")
    if any(map(any, op.padding)):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    positive, negative = np.maximum(op.levels, 0), np.minimum(op.levels, 0)
    bias = op.bias.astype(np.int64)
    return (
        _summed(op, positive, low) + _summed(op, negative, high) + bias,
        _summed(op, positive, high) + _summed(op, negative, low) + bias,
    )


def _of_requantisation(op: Requantise, out: Tensor, low: np.ndarray, high: np.ndarray) -> Bounds:
    ends = np.stack([low, high])
    before = (ends - op.zero_in).astype(object) * 2**op.left_shift
    wide = before * op.multiplier.astype(object) + op.offset.astype(object)
    if np.abs(before).max() > INT32[1] or np.abs(wide).max() >= 2**63:
        raise GraphError(
            f"requantisation '{op.name}' can leave the 64 bits of its product, for inputs of "
            f"{int(low.min())} to {int(high.max())}. Use fewer bits before it, or a smaller multiplier."
        )
    result = requantised(op, ends)
    if out.kind == "sum" or op.rounding not in ("single_round", "dyadic_half_up"):
        # A code is clipped, and the exact kinds saturate far beyond it.
        _refuse_overflow(op, result.min(axis=0), result.max(axis=0))
    result = np.clip(result, op.low, op.high)
    result = 2 * result + 1 if out.midrise else result
    return result.min(axis=0), result.max(axis=0)


def _of_table(op: Table, low: np.ndarray, high: np.ndarray) -> Bounds:
    """The smallest and largest of both ends and of the entries between them."""
    ends = np.stack([low, high])
    found = looked_up(op, ends)
    least, most = found.min(axis=0), found.max(axis=0)
    segments = (np.clip(ends, op.start, op.last) - op.start) >> op.shift
    for channel, (first, last) in enumerate(segments.T.tolist()):
        between = op.entries[first + 1 : last + 1].astype(np.int64)
        least[channel] = between.min(initial=least[channel])
        most[channel] = between.max(initial=most[channel])
    return least, most


def _refuse_overflow(op: Op, low: np.ndarray, high: np.ndarray) -> None:
    reach = np.maximum(-low.astype(np.int64) - 1, high)
    if reach.max(initial=0) > INT32[1]:
        channel = int(np.argmax(reach))
        raise GraphError(
            f"'{op.name}' can reach {int(high[channel])} (down to {int(low[channel])}) in channel {channel}, "
            "beyond int32. Give its weights or its input fewer bits, or split the layer."
        )
