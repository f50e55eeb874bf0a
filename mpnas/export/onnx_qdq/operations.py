"""What each operation of an integer graph becomes in ONNX."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from mpnas.errors import UnsupportedOperationError
from mpnas.export.folded import affine_of, step_of
from mpnas.export.graph import Tensor
from mpnas.export.onnx_qdq.products import contraction
from mpnas.export.onnx_qdq.writer import Writer, finish
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


def _quantise(writer: Writer, op: Quantise) -> None:
    out, source = writer.tensors[op.output], op.input
    if (rank := len(out.shape)) > 1:
        order = [0, rank, *range(1, rank)]
        source = writer.node("Transpose", [source], writer.name(f"{op.name}/first"), perm=order)
    half = -out.scale if out.midrise else np.zeros(1)
    reals = writer.affine(source, np.ones(1), half, out, op.name)
    low, high = out.code_range
    bounds = (low if op.low is None else op.low, high if op.high is None else op.high)
    writer.codes(reals, out, *(np.array([end]) for end in bounds))


def _requantise(writer: Writer, op: Requantise) -> None:
    if op.name in writer.folded:
        return
    source, target, affine = writer.tensors[op.input], writer.tensors[op.output], affine_of(op)
    step = step_of(target)
    term = affine.factor * source.zero_point + affine.term
    if target.kind == "sum":
        term = term + op.zero_out - target.zero_point
    reals = writer.affine(
        writer.real(op.input), affine.factor * step / source.scale, term * step, target, op.name
    )
    finish(writer, reals, target, op)


def _add(writer: Writer, op: Add) -> None:
    source, out = writer.tensors[op.inputs[0]], writer.tensors[op.output]
    reals = op.inputs[0]
    for k, name in enumerate(op.inputs[1:], start=2):
        reals = writer.node("Add", [reals, name], writer.name(f"{op.output}/of{k}"))
    _rescaled(writer, reals, source.scale, out, np.full(1, -out.zero_point))


def _multiply(writer: Writer, op: Multiply) -> None:
    out, product = writer.tensors[op.output], writer.name(f"{op.output}/product")
    scale = writer.tensors[op.inputs[0]].scale * writer.tensors[op.inputs[1]].scale * 2.0**op.shift
    reals = writer.node("Mul", list(op.inputs), product)
    _rescaled(writer, reals, scale, out, np.full(1, -out.zero_point))


def _table(writer: Writer, op: Table) -> None:
    """Which segment, how far in it, and the line between its ends, in float32."""
    source, out, name = writer.tensors[op.input], writer.tensors[op.output], op.name
    width = 2.0**op.shift
    last = (op.last - op.start) / width  # in float32 it may become the whole number above: the last entry
    along = writer.affine(
        op.input, 1 / (source.scale * width), np.full(1, (source.zero_point - op.start) / width), source, name
    )
    ends = [writer.constant(n, np.float32, f"{name}/{word}") for word, n in (("first", 0), ("last", last))]
    along = writer.node("Clip", [along, *ends], writer.name(f"{name}/along"))
    floor = writer.node("Floor", [along], writer.name(f"{name}/floor"))
    rest = writer.node("Sub", [along, floor], writer.name(f"{name}/rest"))
    index = writer.node("Cast", [floor], writer.name(f"{name}/segment"), to=TensorProto.INT64)
    reals = out.scale * (op.entries - out.zero_point)
    parts = []
    for word, values in (("entry", reals), ("rise", np.diff(reals, append=reals[-1:]))):
        row = writer.constant(values, np.float32, f"{name}/{word}")
        parts.append(writer.node("Gather", [row, index], writer.name(f"{name}/{word}_of"), axis=0))
    rise = writer.node("Mul", [parts[1], rest], writer.name(f"{name}/rise_of_rest"))
    writer.node("Add", [parts[0], rise], op.output)


def _rescaled(writer: Writer, reals: str, scale: np.ndarray, out: Tensor, steps: np.ndarray) -> None:
    """Reals of integers with another scale as the sum `out`, and some of its steps more."""
    made = writer.affine(reals, out.scale / scale, steps * out.scale, out, out.name)
    writer.node("Identity", [made], out.name)


def _concat(writer: Writer, op: Concat) -> None:
    writer.node("Concat", list(op.inputs), op.output, axis=1)


def _pool(writer: Writer, op: Pool) -> None:
    source, out = writer.tensors[op.input], writer.tensors[op.output]
    if any(max(pad) >= size for pad, size in zip(op.padding, op.window, strict=True)):
        raise UnsupportedOperationError(
            f"pool '{op.name}' pads by {op.padding} around windows of {op.window}; ONNX needs less padding "
            "than window, or some windows would hold nothing."
        )
    options: dict[str, Any] = dict(
        kernel_shape=list(op.window), strides=list(op.strides),
        pads=[pad[0] for pad in op.padding] + [pad[1] for pad in op.padding],
    )
    if op.kind == "max" and (source.kind == "sum" or source.bits <= 8):
        writer.node("MaxPool", [op.input], op.output, **options)
    elif op.kind == "max":
        reals = writer.node("MaxPool", [writer.real(op.input)], writer.name(f"{op.name}/largest"), **options)
        reals = writer.affine(reals, np.ones(1), -out.scale if out.midrise else np.zeros(1), out, op.name)
        writer.codes(reals, out, *(np.array([end]) for end in out.code_range))
    else:
        size = int(np.prod(op.window))
        mean = writer.node(
            "AveragePool", [writer.real(op.input)], writer.name(f"{op.name}/mean"), count_include_pad=1,
            **options,
        )
        steps = np.full(1, size * source.zero_point - out.zero_point)
        _rescaled(writer, mean, source.scale / size, out, steps)


def _reshape(writer: Writer, op: Reshape) -> None:
    source, out, reals = writer.tensors[op.input], writer.tensors[op.output], op.input
    moved = source.kind != "real"
    if moved and len(source.shape) > 1 and max(source.shape[:-1]) > 1:
        reals = writer.node(
            "Transpose", [reals], writer.name(f"{op.name}/last"),
            perm=[0, *range(2, len(source.shape) + 1), 1],
        )
    turns = moved and len(out.shape) > 1
    shape = writer.constant([-1, *out.shape], np.int64, f"{op.name}/shape")
    reals = writer.node("Reshape", [reals, shape], writer.name(f"{op.name}/rows") if turns else op.output)
    if turns:
        rank = len(out.shape)
        writer.node("Transpose", [reals], op.output, perm=[0, rank, *range(1, rank)])


def _dequantise(writer: Writer, op: Dequantise) -> None:
    reals, rank = writer.real(op.input), len(writer.tensors[op.input].shape)
    if rank > 1:
        writer.node("Transpose", [reals], op.output, perm=[0, *range(2, rank + 1), 1])
    else:
        writer.node("Identity", [reals], op.output)


WRITE: Mapping[type[Op], Callable[[Writer, Any], None]] = {
    Quantise: _quantise,
    Contraction: contraction,
    Requantise: _requantise,
    Add: _add,
    Concat: _concat,
    Pool: _pool,
    Reshape: _reshape,
    Dequantise: _dequantise,
    Multiply: _multiply,
    Table: _table,
}
"""What each operation becomes: `(writer, op)` adds its nodes."""
