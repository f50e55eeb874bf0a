"""Folding: a contraction and the requantisation after it as one real kernel and one real bias.

Runtimes of floats with quantised edges (QDQ) write `round(factor * (accumulator + bias) + term)` as
a convolution whose kernel has the step `factor * step out / step in`. This finds that step, keeping the
integers of the kernel as they are.
"""

import dataclasses
from collections import Counter

import numpy as np

from mpnas.export.graph import IntegerGraph, Tensor
from mpnas.export.ops import Contraction, Requantise

WITHOUT_VNNI = 64  # 2 * 255 * 64 is the largest sum of two products that 16 bits hold


@dataclasses.dataclass(frozen=True, eq=False)
class Affine:
    """`factor * q + term`, float64 `(1,)` or `(channels,)`."""

    factor: np.ndarray
    term: np.ndarray


def step_of(tensor: Tensor) -> np.ndarray:
    """Real size of one code, or of one integer of a sum: `(1,)` or `(channels,)`."""
    return tensor.scale * (2 if tensor.midrise else 1)


def affine_of(op: Requantise) -> Affine:
    """What a requantisation computes before it rounds, adds its zero point and clips."""
    shift = op.shift + (31 if op.rounding == "double_round" else 0)
    factor = np.ldexp(op.multiplier.astype(np.float64), op.left_shift - shift)
    return Affine(factor, np.ldexp(op.offset.astype(np.float64), -shift) - factor * op.zero_in)


def folds(graph: IntegerGraph) -> dict[str, Requantise]:
    """Name of a contraction -> the requantisation that alone reads it."""
    readers = Counter(name for op in graph.ops for name in op.inputs)
    readers[graph.output] += 1
    after = {op.input: op for op in graph.ops if isinstance(op, Requantise) and readers[op.input] == 1}
    return {op.name: after[op.output] for op in graph.contractions if op.output in after}


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """A contraction in real numbers: its integers, what one of them means, and a bias.

    Attributes:
      codes: Stored integers, int64 `(out, in / groups, *window)`; where `half` is 0, levels.
      step: Real size of one, float64 `(out,)`; negative where the factor of a normalisation is.
      half: What is added to a code of a midrise channel before it is multiplied by the step, 0.5 or 0.
      bias: float64 `(out,)`, real.
    """

    codes: np.ndarray
    step: np.ndarray
    half: np.ndarray
    bias: np.ndarray


def kernel_of(op: Contraction, source: Tensor, target: Tensor, after: Requantise | None) -> Kernel:
    """The kernel whose products with reals are the reals of `target`, before rounding.

    Args:
      op: The contraction; a grouped product with a matrix becomes one with zeros between groups.
      source: What it reads.
      target: What `after` writes, or the contraction itself if `after` is None.
      after: The requantisation to fold in.
    """
    out = op.out_channels
    affine = Affine(np.ones(1), np.zeros(1)) if after is None else affine_of(after)
    factor, term = (np.broadcast_to(row, (out,)) for row in (affine.factor, affine.term))
    if target.kind == "sum":
        term = term + (0 if after is None else after.zero_out) - target.zero_point
    codes = np.where(op.midrise, op.codes, op.codes.astype(np.int64) - op.zero_point)
    # A channel that counts for nothing keeps a step that divides: its codes become zeros.
    codes, half = np.where(factor == 0, 0, codes), np.where(op.midrise & (factor != 0), 0.5, 0.0)
    step = np.where(factor == 0, 1.0, factor) * step_of(target) / source.scale
    bias = step_of(target) * (factor * op.bias + term)
    step = np.where(op.midrise, 2, 1) * step
    return Kernel(_channels_first(op, codes), step, half, np.broadcast_to(bias, (out,)))


@dataclasses.dataclass(frozen=True, eq=False)
class Held:
    """A kernel in one type of array.

    Attributes:
      codes: Levels, int64 `(out, in / groups, *window)`; with the zero point added the type holds them.
      step: Real size of one, > 0, float64 `(out,)`.
      dtype: int8, uint8 or int16.
      zero_point: Of all channels.
    """

    codes: np.ndarray
    step: np.ndarray
    dtype: type
    zero_point: int


def whole_numbers(kernel: Kernel, *, vnni: bool = False) -> Held:
    """The kernel in the type that integer products take: bytes if they hold it, else 16 bits.

    Beyond 7 bits the bytes are unsigned. Processors without VNNI instructions add two products of an
    unsigned and a signed byte in 16 bits and saturate, so that 2 * 255 * 127 is too much. With `vnni`
    all bytes are signed.

    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html.
    """
    column = (-1, *[1] * (kernel.codes.ndim - 1))
    whole = kernel.half != 0
    levels = np.where(whole.reshape(column), 2 * kernel.codes + 1, kernel.codes)
    step = np.where(whole, kernel.step / 2, kernel.step)
    levels = levels * np.where(step < 0, -1, 1).reshape(column)  # most runtimes want steps above 0
    low, high = int(levels.min(initial=0)), int(levels.max(initial=0))
    if max(-low, high) <= (127 if vnni else WITHOUT_VNNI):
        return Held(levels, np.abs(step), np.int8, 0)
    for zero in (128, 127):
        if low + zero >= 0 and high + zero <= 255:
            return Held(levels, np.abs(step), np.uint8, zero)
    return Held(levels, np.abs(step), np.int16, 0)


def _channels_first(op: Contraction, codes: np.ndarray) -> np.ndarray:
    """`(out, in / groups, *window)`."""
    if not op.strides and op.groups > 1:
        inner, out = codes.shape
        spread = np.zeros((op.groups, inner, op.groups, out // op.groups), np.int64)
        for group in range(op.groups):
            spread[group, :, group] = codes.reshape(inner, op.groups, -1)[:, group]
        codes = spread.reshape(inner * op.groups, out)
    return np.moveaxis(codes, (-1, -2), (0, 1))
