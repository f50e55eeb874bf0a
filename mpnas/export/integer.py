"""Integer executor: what a graph computes, as obvious NumPy int64. This is the definition.

`mpnas.export.compiled` computes the same integers with JAX, faster. Before anything runs, interval
analysis has shown that no accumulator can leave int32.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from mpnas.export.graph import IntegerGraph, Tensor
from mpnas.export.interval import intervals
from mpnas.export.ops import (
    Add,
    Concat,
    Contraction,
    Dequantise,
    Multiply,
    Op,
    Pool,
    Quantise,
    Requantise,
    Reshape,
    Table,
)
from mpnas.export.rounding import looked_up, multiplied, requantised

Tensors = Mapping[str, Tensor]


def execute(graph: IntegerGraph, x: Float[np.ndarray, "batch ..."]) -> Float[np.ndarray, "batch ..."]:
    """The output of a graph.

    Args:
      graph: What to run.
      x: Input batch, float32.

    Raises:
      GraphError: an integer could overflow; see `mpnas.export.interval`.
    """
    return every_tensor(graph, x)[graph.output]


def every_tensor(graph: IntegerGraph, x: Float[np.ndarray, "batch ..."]) -> dict[str, np.ndarray]:
    """Tensor -> its values `(batch, *shape)`: int64, and float32 for real tensors; as `execute`."""
    intervals(graph)
    values = {graph.input: np.asarray(x, np.float32)}
    for op in graph.ops:
        values[op.output] = RUN[type(op)](op, graph.tensors, [values[name] for name in op.inputs])
    return values


def _quantise(op: Quantise, tensors: Tensors, values: list[np.ndarray]) -> np.ndarray:
    out = tensors[op.output]
    low, high = out.code_range
    offset = np.float32(0.5 if out.midrise else 0)
    step = (out.scale * (2 if out.midrise else 1)).astype(np.float32)
    shift = np.float32(out.zero_point)
    bounded = np.clip(values[0], step * (low + offset - shift), step * (high + offset - shift))
    code = np.rint(bounded / step - offset).astype(np.int64) + out.zero_point
    code = np.clip(code, low if op.low is None else op.low, high if op.high is None else op.high)
    return 2 * code + 1 if out.midrise else code


def _contraction(op: Contraction, tensors: Tensors, values: list[np.ndarray]) -> np.ndarray:
    x = values[0] - tensors[op.input].zero_point
    *window, inner, out = op.codes.shape
    if window:
        x = _windows(x, tuple(window), op.strides, op.padding, op.dilation, 0)
    else:
        x = x[..., None]
    # (batch, *places, channels, taps) against (groups, taps * inner, out / groups)
    places = x.shape[: 1 + len(tensors[op.output].shape) - 1]
    taps = int(np.prod(window, dtype=int))
    x = x.reshape(-1, op.groups, inner, taps).transpose(1, 0, 3, 2).reshape(op.groups, -1, taps * inner)
    kernel = op.levels.reshape(taps * inner, op.groups, out // op.groups).transpose(1, 0, 2)
    result = np.matmul(x, kernel).transpose(1, 0, 2)
    return result.reshape(*places, out) + op.bias.astype(np.int64)


def _windows(
    x: np.ndarray, window: tuple[int, ...], strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...], dilation: tuple[int, ...], filling: int,
) -> np.ndarray:
    """What lies under a window at each place, `(batch, *places, channels, taps)`."""
    x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=filling)
    spatial = len(window)
    reach = tuple((size - 1) * step + 1 for size, step in zip(window, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(1, spatial + 1)))
    places = tuple(slice(None, None, step) for step in strides)
    view = view[(slice(None), *places, slice(None), *(slice(None, None, step) for step in dilation))]
    return view.reshape(*view.shape[: spatial + 2], -1)


def _requantise(op: Requantise, tensors: Tensors, values: list[np.ndarray]) -> np.ndarray:
    code = np.clip(requantised(op, values[0]), op.low, op.high)
    return 2 * code + 1 if tensors[op.output].midrise else code


def _add(op: Add, tensors: Tensors, values: list[np.ndarray]) -> np.ndarray:
    return sum(values[1:], start=values[0])


def _concat(op: Concat, tensors: Tensors, values: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(values, axis=-1)


def _pool(op: Pool, tensors: Tensors, values: list[np.ndarray]) -> np.ndarray:
    source = tensors[op.input]
    filling = source.range[0] if op.kind == "max" else source.zero_point
    under = _windows(values[0], op.window, op.strides, op.padding, (1,) * len(op.window), filling)
    return under.max(axis=-1) if op.kind == "max" else under.sum(axis=-1)


def _reshape(op: Reshape, tensors: Tensors, values: list[np.ndarray]) -> np.ndarray:
    return values[0].reshape(len(values[0]), *tensors[op.output].shape)


def _dequantise(op: Dequantise, tensors: Tensors, values: list[np.ndarray]) -> np.ndarray:
    source = tensors[op.input]
    return (values[0] - source.zero_point).astype(np.float32) * source.scale.astype(np.float32)


def _multiply(op: Multiply, tensors: Tensors, values: list[np.ndarray]) -> np.ndarray:
    return multiplied(op, *values)


def _table(op: Table, tensors: Tensors, values: list[np.ndarray]) -> np.ndarray:
    return looked_up(op, values[0])


RUN: Mapping[type[Op], Callable[..., np.ndarray]] = {
    Quantise: _quantise,
    Contraction: _contraction,
    Requantise: _requantise,
    Add: _add,
    Concat: _concat,
    Pool: _pool,
    Reshape: _reshape,
    Dequantise: _dequantise,
    Multiply: _multiply,
    Table: _table,
}
"""What each operation computes: `(op, tensors by name, values of its inputs) -> value`."""
