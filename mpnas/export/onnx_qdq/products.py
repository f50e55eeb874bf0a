"""Contractions in ONNX: fused by the runtime, as integers, or with kernels of few bits."""

from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto

from mpnas.errors import UnsupportedOperationError
from mpnas.export.folded import Held, Kernel, kernel_of, step_of, whole_numbers
from mpnas.export.graph import Tensor
from mpnas.export.interval import EXACT_IN_FLOAT32, magnitude
from mpnas.export.onnx_qdq.writer import WIDEST, Writer, finish
from mpnas.export.ops import Contraction

PACKED = ((ml_dtypes.int2, 2), (ml_dtypes.int4, 4), (np.int8, 8), (np.int16, 16))


def contraction(writer: Writer, op: Contraction) -> None:
    source, after = writer.tensors[op.input], writer.after.get(op.name)
    target = writer.tensors[op.output if after is None else after.output]
    if source.scale.size > 1:
        raise UnsupportedOperationError(
            f"contraction '{op.name}' reads '{source.name}', whose scale differs by channel; no kernel of "
            "ONNX has steps along its inputs."
        )
    kernel = kernel_of(op, source, target, after)
    held = whole_numbers(kernel, vnni=writer.vnni) if writer.storage == "int8" else None
    if held is None:
        inputs = [_packed(writer, op, kernel), writer.constant(kernel.bias, np.float32, f"{op.name}/bias")]
        reals = _product(writer, op, [writer.real(op.input), *inputs])
    elif held.dtype is not np.int16 and source.bits <= 8 and not source.midrise and not _fuses(
        writer, held, kernel, source, target
    ):
        whole = _whole(writer, op, held) if _fits_float32(op, source) else _integers(writer, op, held)
        beside = Tensor(op.name, (*source.shape[:-1], op.out_channels), "sum")
        reals = writer.affine(whole, held.step * source.scale, kernel.bias, beside, op.name)
    else:
        codes = _windowed(held.codes, op, source)
        weights = _dequantised(writer, op, codes, held.step, held.dtype, held.zero_point, op.name)
        bias = _bias(writer, op, kernel, held.step * source.scale)
        reals = _product(writer, op, [writer.real(op.input), weights, bias])
    if after is None:
        writer.sums(reals, target, np.array([-WIDEST]), np.array([WIDEST]))
    else:
        finish(writer, reals, target, after)


def _fuses(writer: Writer, held: Held, kernel: Kernel, source: Tensor, target: Tensor) -> bool:
    """Whether rounding the bias to the accumulator moves no code by more than the slack, as fusing wants."""
    steps = kernel.bias / (held.step * source.scale)
    moved = np.abs(steps - np.rint(steps)) * held.step * source.scale / step_of(target)
    fits = float(np.abs(steps).max()) < WIDEST
    return target.kind == "code" and fits and float(moved.max()) <= writer.slack


def _fits_float32(op: Contraction, source: Tensor) -> bool:
    """Whether float32 holds every sum of its products, whatever the codes and the order."""
    low, high = (np.full(source.channels, end, np.int64) for end in source.range)
    return magnitude(op, source, (low, high)) < EXACT_IN_FLOAT32


def _whole(writer: Writer, op: Contraction, held: Held) -> str:
    """A product of whole numbers in float32, which is exact and, in onnxruntime, faster than in integers."""
    source = writer.tensors[op.input]
    codes = _windowed(held.codes, op, source) + held.zero_point
    stored = writer.constant(codes, held.dtype, f"{op.name}/kernel")
    kernel = writer.node("Cast", [stored], writer.name(f"{op.name}/kernel_whole"), to=TensorProto.FLOAT)
    if held.zero_point:
        zero = writer.number(held.zero_point)
        kernel = writer.node("Sub", [kernel, zero], writer.name(f"{op.name}/kernel_levels"))
    sums = _product(writer, op, [writer.whole(op.input), kernel])
    # onnxruntime would multiply the step after it into the kernel, whose numbers would not be whole then.
    # No sum reaches this bound, which becomes a part of the convolution.
    least = writer.number(-EXACT_IN_FLOAT32)
    return writer.node("Clip", [sums, least], writer.name(f"{op.name}/accumulator"))


def _integers(writer: Writer, op: Contraction, held: Held) -> str:
    """A product of integers, exact in int32, as float32."""
    source = writer.tensors[op.input]
    codes = _windowed(held.codes, op, source) + held.zero_point
    inputs = [
        op.input, writer.constant(codes if codes.ndim > 2 else codes.T, held.dtype, f"{op.name}/kernel"),
        writer.grid(source)[1], writer.constant(held.zero_point, held.dtype, f"{op.name}/kernel_zero_point"),
    ]
    whole = _product(writer, op, inputs, integer=True)
    return writer.node("Cast", [whole], writer.name(f"{op.name}/accumulator"), to=TensorProto.FLOAT)


def _product(writer: Writer, op: Contraction, inputs: list[str], *, integer: bool = False) -> str:
    """A convolution, or a product with a matrix; of reals with a bias, or of integers with zero points."""
    spatial, output = len(writer.tensors[op.input].shape) - 1, writer.name(f"{op.name}/product")
    if not spatial:
        return writer.node("MatMulInteger", inputs, output) if integer else writer.node(
            "Gemm", inputs, output, transB=1
        )
    # A matrix is a window of one place.
    pads = op.padding or ((0, 0),) * spatial
    return writer.node(
        "ConvInteger" if integer else "Conv", inputs, output, strides=list(op.strides or (1,) * spatial),
        dilations=list(op.dilation or (1,) * spatial), group=op.groups if op.strides else 1,
        kernel_shape=list(op.codes.shape[:-2] or (1,) * spatial),
        pads=[pad[0] for pad in pads] + [pad[1] for pad in pads],
    )


def _windowed(codes: np.ndarray, op: Contraction, source: Tensor) -> np.ndarray:
    """A matrix that is read as a convolution of one place gets a window."""
    return codes if op.strides else codes.reshape(*codes.shape, *[1] * (len(source.shape) - 1))


def _dequantised(
    writer: Writer, op: Contraction, codes: np.ndarray, step: np.ndarray, dtype: Any, zero: int, wish: str
) -> str:
    """Reals of a kernel stored in a type."""
    inputs = [
        writer.constant(codes + zero, dtype, f"{wish}/kernel"),
        writer.constant(step, np.float32, f"{wish}/step"),
        writer.constant(np.full(step.shape, zero), dtype, f"{wish}/kernel_zero_point"),
    ]
    return writer.node("DequantizeLinear", inputs, writer.name(f"{wish}/kernel_real"), axis=0)


def _packed(writer: Writer, op: Contraction, kernel: Kernel) -> str:
    """The kernel with each output channel in the narrowest type that holds it, put together again.

    It is stored in another shape than it is used in: onnxruntime 1.31 would fuse two bits into integer
    convolutions and blocked products that have no place for them, and fail or compute something else.
    """
    shaped = _windowed(kernel.codes, op, writer.tensors[op.input])
    flat = shaped.reshape(len(shaped), -1, *[1] * (shaped.ndim == 2))
    ends = [end(shaped.reshape(len(shaped), -1), axis=1) for end in (np.min, np.max)]
    fits = [(ends[0] >= -(2 ** (bits - 1))) & (ends[1] < 2 ** (bits - 1)) for _, bits in PACKED]
    narrowest = np.argmax(np.stack(fits), axis=0)
    parts, order = [], []
    for number in np.unique(narrowest):
        dtype, bits = PACKED[number]
        mine = np.flatnonzero(narrowest == number)
        parts.append(
            _dequantised(writer, op, flat[mine], kernel.step[mine], dtype, 0, f"{op.name}/{bits}_bits")
        )
        order.append(mine)
    together = parts[0]
    if len(parts) > 1:
        together = writer.node("Concat", parts, writer.name(f"{op.name}/kernel_sorted"), axis=0)
    places = np.argsort(np.concatenate(order))
    if np.any(np.diff(places) < 0):
        index = writer.constant(places, np.int64, f"{op.name}/order")
        together = writer.node("Gather", [together, index], writer.name(f"{op.name}/kernel_ordered"), axis=0)
    shape = writer.constant(shaped.shape, np.int64, f"{op.name}/kernel_shape")
    together = writer.node("Reshape", [together, shape], writer.name(f"{op.name}/kernel_shaped"))
    if np.any(kernel.half):
        column = (-1, *[1] * (shaped.ndim - 1))
        half = writer.constant((kernel.half * kernel.step).reshape(column), np.float32, f"{op.name}/half")
        together = writer.node("Add", [together, half], writer.name(f"{op.name}/kernel_levels"))
    return together


def _bias(writer: Writer, op: Contraction, kernel: Kernel, step: np.ndarray) -> str:
    """The bias in whole steps of the accumulator, or in float32 where int32 is too short for them."""
    whole = np.rint(kernel.bias / step)
    if np.any(np.abs(whole) > WIDEST):
        return writer.constant(kernel.bias, np.float32, f"{op.name}/bias")
    inputs = [
        writer.constant(whole, np.int32, f"{op.name}/bias"),
        writer.constant(step, np.float32, f"{op.name}/bias_step"),
        writer.constant(np.zeros(step.shape), np.int32, f"{op.name}/bias_zero_point"),
    ]
    return writer.node("DequantizeLinear", inputs, writer.name(f"{op.name}/bias_real"), axis=0)
