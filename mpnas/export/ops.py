"""Operations of an integer graph: frozen records of integers, checked when they are made.

Each names the tensors that it reads (`inputs`) and the one that it writes (`output`). What the integers
of a tensor mean is said in `mpnas.export.graph`; what an operation computes, in `mpnas.export.integer`.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, sections 2.1 to 2.4; the kinds of
rounding are those of gemmlowp and TFLite (double), of I-ViT, https://arxiv.org/abs/2207.01405 (dyadic).
"""

import dataclasses
from typing import Literal, get_args

import numpy as np

from mpnas.errors import GraphError

Rounding = Literal["single_round", "double_round", "dyadic_half_up", "shift"]
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)
WIDEST = 2**31 - 1
FARTHEST_ZERO = 2**29  # that a zero point may be from 0: taken from int32 it stays there


@dataclasses.dataclass(frozen=True, eq=False)
class Quantise:
    """Real to code: `clip(round_half_even(x / scale) + zero_point)`, all in float32 as in simulation.

    A midrise output rounds `x / step - 1/2`, with the step twice its scale. What the range of codes
    cannot hold is clipped before the division, as `mpnas.quant.fake_quantize` does.

    Attributes:
      name, input, output: Its own name, unique in the graph, and its tensors.
      low, high: Bounds of the code, within the range of the output; None for that range.
    """

    name: str
    input: str
    output: str
    low: int | None = None
    high: int | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return (self.input,)


@dataclasses.dataclass(frozen=True, eq=False)
class Contraction:
    """Code to sum: a matrix product or a convolution of whole numbers, plus a bias.

    `output = sum (input - zero point of the input) * levels + bias`, and what is padded counts 0.

    Attributes:
      name, input, output: Its own name, unique in the graph, and its tensors.
      site: Path of the layer that it was, whose kernel it holds; several calls share a site.
      codes: Kernel as it is stored, int32 `(in, out)` or `(*window, in / groups, out)`.
      bits: Width of each output channel's codes, int `(out,)`, 1 to 8 or 16.
      zero_point: Of each output channel's codes, int32 `(out,)`.
      midrise: Whether the levels of an output channel are the odd `2 code + 1`, bool `(out,)`.
      signed: Whether codes are two's complement.
      bias: int32 `(out,)`, in steps of the accumulator.
      strides, dilation: Per spatial axis; () for a matrix product.
      padding: Zeros before and after each spatial axis.
      groups: 1, the number of input channels for depthwise, between for grouped kernels.

    Raises:
      GraphError: arrays whose shapes or values contradict each other.
    """

    name: str
    input: str
    output: str
    site: str
    codes: np.ndarray
    bits: np.ndarray
    zero_point: np.ndarray
    midrise: np.ndarray
    bias: np.ndarray
    signed: bool = True
    strides: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    def __post_init__(self) -> None:
        spatial = self.codes.ndim - 2
        if spatial < 0 or {len(self.strides), len(self.padding), len(self.dilation)} != {spatial}:
            raise GraphError(
                f"contraction '{self.name}' has a kernel {self.codes.shape}, which needs {spatial} strides, "
                f"paddings and dilations, got {self.strides}, {self.padding}, {self.dilation}."
            )
        for what in ("bits", "zero_point", "midrise", "bias"):
            if (shape := getattr(self, what).shape) != (self.out_channels,):
                raise GraphError(
                    f"contraction '{self.name}' has {self.out_channels} output channels, but its {what} "
                    f"have shape {shape}."
                )
        if np.any(np.abs(self.bias.astype(np.int64)) > WIDEST):
            raise GraphError(f"contraction '{self.name}' has a bias beyond int32.")
        low = np.where(self.signed, -(2 ** (self.bits.astype(np.int64) - 1)), 0)
        outside = (self.codes < low) | (self.codes >= low + 2 ** self.bits.astype(np.int64))
        if np.any(outside):
            channel = int(np.argwhere(outside)[0][-1])
            raise GraphError(
                f"contraction '{self.name}' has codes in channel {channel} that {self.bits[channel]} bits "
                "cannot hold."
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return (self.input,)

    @property
    def out_channels(self) -> int:
        """Length of the last axis of the kernel."""
        return self.codes.shape[-1]

    @property
    def levels(self) -> np.ndarray:
        """What is multiplied: `code - zero_point`, or `2 code + 1`; int64, shaped like the codes."""
        codes = self.codes.astype(np.int64)
        return np.where(self.midrise, 2 * codes + 1, codes - self.zero_point)

    @property
    def kind(self) -> Literal["dense", "convolution", "depthwise", "grouped"]:
        """What sort of contraction it is."""
        if self.groups == 1:
            return "convolution" if self.strides else "dense"
        return "depthwise" if self.codes.shape[-2] == 1 else "grouped"


@dataclasses.dataclass(frozen=True, eq=False)
class Requantise:
    """Integers in another scale: `clip(round((q - zero_in) * 2^left_shift * M) + zero_out, low, high)`.

    With v = (q - zero_in) * 2^left_shift and M = multiplier / 2^shift the kinds of rounding are

    - `single_round`: `(v * multiplier + offset) / 2^shift`, 64 bits wide, ties to even: what
      simulation does;
    - `dyadic_half_up`: the same with ties up, `(v * multiplier + offset + 2^(shift - 1)) >> shift`;
    - `double_round`: gemmlowp's and TFLite's, the multiplier read as a fraction of 2^31, hence
      M = multiplier / 2^(31 + shift); rounded to whole numbers and again by the shift, ties away from
      zero. The offset is 0;
    - `shift`: `v / 2^shift`, ties away from zero; the multiplier is 1, the offset 0.

    Attributes:
      name, input, output: Its own name, unique in the graph, and its tensors.
      multiplier: int32 `(1,)` or `(channels,)`, of any sign.
      shift: 0 to 62, of the kinds `double_round` and `shift` 0 to 30, int `(1,)` or `(channels,)`.
      offset: int64 `(1,)` or `(channels,)`: a bias finer than a step of the input, in `2^-shift` steps of
        the output.
      low, high: Bounds of the code, int64 `(1,)` or `(channels,)`, within the range of the output: the
        activation. They bound the code also where the output is midrise, and becomes `2 code + 1`.
      rounding: One of the four kinds.
      left_shift: 0 to 30, applied to the input first.
      zero_in, zero_out: Taken from the input, and added to the result; -2^29 to 2^29.

    Raises:
      GraphError: numbers outside these ranges, or an offset that the kind has no place for.
    """

    name: str
    input: str
    output: str
    multiplier: np.ndarray
    shift: np.ndarray
    offset: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rounding: Rounding = "single_round"
    left_shift: int = 0
    zero_in: int = 0
    zero_out: int = 0

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise GraphError(
                f"requantisation '{self.name}' rounds by '{self.rounding}'; use one of {ROUNDINGS}."
            )
        if np.any(np.abs(self.multiplier.astype(np.int64)) > WIDEST):
            raise GraphError(f"requantisation '{self.name}' has a multiplier beyond int32.")
        if np.any((self.shift < 0) | (self.shift > 62)) or not 0 <= self.left_shift <= 30:
            raise GraphError(
                f"requantisation '{self.name}' shifts by {self.left_shift} and {self.shift}; "
                "left shifts are 0 to 30, right shifts 0 to 62."
            )
        exact = self.rounding in ("single_round", "dyadic_half_up")
        if max(abs(self.zero_in), abs(self.zero_out)) > FARTHEST_ZERO:
            raise GraphError(f"requantisation '{self.name}' has a zero point beyond 2^29.")
        if not exact and np.any(self.offset):
            raise GraphError(f"requantisation '{self.name}': {self.rounding} has no place for an offset.")
        if self.rounding == "shift" and np.any(self.multiplier != 1):
            raise GraphError(f"requantisation '{self.name}' is a shift, so its multiplier is 1.")
        if np.any(np.abs(self.offset.astype(np.float64)) > 2.0**62):
            raise GraphError(f"requantisation '{self.name}' has an offset beyond 62 bits.")
        if np.any(self.low > self.high):
            raise GraphError(f"requantisation '{self.name}' has bounds that leave no code.")
        if not exact and np.any(self.shift > 30):
            raise GraphError(
                f"requantisation '{self.name}' shifts by {self.shift}; right shifts of {self.rounding} are 0 "
                "to 30."
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return (self.input,)


@dataclasses.dataclass(frozen=True, eq=False)
class Add:
    """Sum of tensors that share a scale; their zero points are 0."""

    name: str
    inputs: tuple[str, ...]
    output: str


@dataclasses.dataclass(frozen=True, eq=False)
class Concat:
    """Channels side by side; all tensors share scale and zero point, and bits."""

    name: str
    inputs: tuple[str, ...]
    output: str


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Largest integer, or sum of the integers, under a window that slides over the spatial axes.

    What is padded never is the largest, and counts as the input's zero point in a sum.

    Attributes:
      name, input, output: Its own name, unique in the graph, and its tensors.
      kind: `max` or `sum`.
      window, strides: Per spatial axis.
      padding: Places before and after each spatial axis, fewer than the window has.

    Raises:
      GraphError: a window could lie on padding alone.
    """

    name: str
    input: str
    output: str
    kind: Literal["max", "sum"]
    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if any(max(pad) >= size for pad, size in zip(self.padding, self.window, strict=True)):
            raise GraphError(
                f"pool '{self.name}' pads by {self.padding}, so that its window {self.window} could lie on "
                "padding alone. Pad by less than the window."
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return (self.input,)


@dataclasses.dataclass(frozen=True, eq=False)
class Reshape:
    """The same numbers in row-major order in the shape of the output."""

    name: str
    input: str
    output: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return (self.input,)


@dataclasses.dataclass(frozen=True, eq=False)
class Dequantise:
    """Integer to real: `float32(q - zero_point) * float32(scale)`."""

    name: str
    input: str
    output: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return (self.input,)


@dataclasses.dataclass(frozen=True, eq=False)
class Multiply:
    """Product of two sums, place by place: `round(a * b / 2^shift)`, 64 bits wide, ties to even.

    Along an axis where one of them has length 1 that number counts for all places of the other, as the
    gate of a squeeze and excitation, `(1, 1, channels)`, does. Their zero points are 0; a step of the
    result is the product of theirs, times 2^shift.

    Attributes:
      name, output: Its own name, unique in the graph, and the tensor that it writes.
      inputs: The two factors.
      shift: 0 to 62.

    Raises:
      GraphError: another number of factors, or another shift.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    shift: int = 0

    def __post_init__(self) -> None:
        if len(self.inputs) != 2 or not 0 <= self.shift <= 62:
            raise GraphError(
                f"product '{self.name}' has {len(self.inputs)} factors and shifts by {self.shift}; it takes "
                "two factors, and a shift of 0 to 62."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A function of a sum as a lookup table, with straight lines between its entries.

    With the input clipped to `start .. start + segments * 2^shift - 1`, k the segment in which it lies and
    r how far, `q - start = k * 2^shift + r`, it is
    `entries[k] + round((entries[k + 1] - entries[k]) * r / 2^shift)`, ties to even. Which function it is,
    and how near, is said in `mpnas.export.curves`.

    Attributes:
      name, input, output: Its own name, unique in the graph, and its tensors.
      entries: int32 `(segments + 1,)`; neighbours differ by less than 2^31.
      start: The input that gives `entries[0]`.
      shift: 0 to 30: a segment has 2^shift steps of the input.

    Raises:
      GraphError: entries or inputs beyond int32, or another shift.
    """

    name: str
    input: str
    output: str
    entries: np.ndarray
    start: int
    shift: int

    def __post_init__(self) -> None:
        entries = self.entries.astype(np.int64)
        if entries.ndim != 1 or entries.size < 2 or not 0 <= self.shift <= 30:
            raise GraphError(
                f"table '{self.name}' has entries of shape {entries.shape} and segments of 2^{self.shift} "
                "steps; it takes a row of at least two entries, and segments of 2^0 to 2^30 steps."
            )
        if max(np.abs(entries).max(), np.abs(np.diff(entries)).max()) > WIDEST:
            raise GraphError(f"table '{self.name}' has entries, or two neighbours apart, beyond int32.")
        if not -WIDEST - 1 <= self.start or self.last > WIDEST or self.last - self.start > WIDEST:
            raise GraphError(
                f"table '{self.name}' is of inputs from {self.start} to {self.last}; it takes at most 2^31 "
                "of them, within int32."
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that it reads."""
        return (self.input,)

    @property
    def last(self) -> int:
        """The largest input that is told apart from larger ones."""
        return self.start + ((self.entries.size - 1) << self.shift) - 1


Op = Quantise | Contraction | Requantise | Add | Concat | Pool | Reshape | Dequantise | Multiply | Table
