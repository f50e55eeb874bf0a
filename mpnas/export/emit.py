"""Emitting: the operations of an integer graph, one after the other, from the values of a program.

What has no quantizer in the network (a residual sum, the sum under a mean, a gate and what it multiplies,
the logits) becomes an int32 sum. Its step is the smallest power of two at which interval analysis shows
that nothing overflows: about 2^-16 of a code's step, as fine as the float32 that simulation holds there.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mpnas.export.affine import Value, plain
from mpnas.export.curves import Curve
from mpnas.export.graph import IntegerGraph, Tensor
from mpnas.export.interval import Bounds, bounds_after
from mpnas.export.ops import (
    Add,
    Concat,
    Contraction,
    Dequantise,
    Multiply,
    Op,
    Pool,
    Quantise,
    Reshape,
    Rounding,
)
from mpnas.export.rescale import rescaled

SUM_REACH = 2**30  # integers of a sum stay below, so that rounding cannot leave int32
BIAS_REACH = 2.0**30


@dataclasses.dataclass(frozen=True)
class Grid:
    """What an activation quantizer makes of its input.

    Attributes:
      bits, signed, zero_point, midrise: As of a tensor.
      step: Real size of one step.
      low, high: Smallest and largest code that it gives.
    """

    bits: int
    signed: bool
    zero_point: int
    midrise: bool
    step: float
    low: int
    high: int


class Emitter:
    """Collects tensors and operations; a value that is read twice in the same way is emitted once."""

    def __init__(self, shape: tuple[int, ...], rounding: Rounding) -> None:
        """An emitter for a network that takes inputs of this shape, without the batch."""
        self.rounding = rounding
        self.tensors = {"input": Tensor("input", shape, "real")}
        self.ops: list[Op] = []
        self.bounds: dict[str, Bounds] = {}
        self.writer: dict[str, int] = {}
        self._biased: set[str] = set()
        self._made: dict[tuple[object, ...], Value] = {}
        self._kept: list[Value] = []

    @property
    def input(self) -> Value:
        """The network's input, not quantised."""
        return plain("input", np.ones(1), self.tensors["input"].shape)

    def name(self, wish: str) -> str:
        """The wish, with `@2`, `@3`, ... where it is taken."""
        taken = self.tensors.keys() | {op.name for op in self.ops}
        number, name = 1, wish
        while name in taken:
            number += 1
            name = f"{wish}@{number}"
        return name

    def contract(self, op: Contraction, source: Value, scale: np.ndarray) -> Value:
        """The accumulator of a contraction of quantised values, `scale` the step of each channel's kernel."""
        x = self.tensors[source.tensor]
        shape = _contracted_shape(op, x.shape)
        out = Tensor(op.output, shape, "sum", scale=x.scale * scale)
        self._append(op, out)
        return plain(op.output, out.scale, shape)

    def codes(self, value: Value, grid: Grid, wish: str) -> Value:
        """The value on the grid of a quantizer, as codes."""
        key = (id(value), grid)
        if key not in self._made:
            self._kept.append(value)
            self._made[key] = self._coded(value, grid, wish)
        return self._made[key]

    def concatenated(self, parts: Sequence[Value], wish: str) -> Value:
        """Channels of quantised values side by side."""
        op = Concat(self.name(wish), tuple(part.tensor for part in parts), self.name(wish))
        first = self.tensors[parts[0].tensor]
        shape = (*first.shape[:-1], sum(part.channels for part in parts))
        self._append(op, dataclasses.replace(first, name=op.output, shape=shape))
        return plain(op.output, first.scale, shape)

    def added(self, left: Value, right: Value, wish: str) -> Value:
        """The sum of two values, each rescaled to the step of the sum with its sign."""
        reach = sum(self._reach(self._ready(value)) for value in (left, right))
        scale = _power_of_two(reach / SUM_REACH)
        both = [self.sum_of(value, scale, f"{wish}/{k}") for k, value in enumerate((left, right))]
        shape = self.tensors[both[0].tensor].shape
        op = Add(self.name(wish), tuple(v.tensor for v in both), self.name(wish))
        self._append(op, Tensor(op.output, shape, "sum", scale=np.array([scale])))
        return plain(op.output, np.array([scale]), shape)

    def multiplied(self, left: Value, right: Value, wish: str) -> Value:
        """The product of two values; along an axis where one has length 1 it counts for all of the other."""
        both = [self._factor(value, f"{wish}/{k}") for k, value in enumerate((left, right))]
        one, other = (self.tensors[value.tensor] for value in both)
        ends = (int(np.abs(np.stack(self.bounds[value.tensor])).max()) for value in both)
        shift = max(0, (math.prod(ends) - 1).bit_length() - (SUM_REACH - 1).bit_length())
        op = Multiply(self.name(wish), (one.name, other.name), self.name(wish), shift)
        shape = tuple(max(pair) for pair in zip(one.shape, other.shape, strict=True))
        scale = one.scale * other.scale * 2.0**shift
        self._append(op, Tensor(op.output, shape, "sum", scale=scale))
        return plain(op.output, scale, shape)

    def curved(self, value: Value, curve: Curve, wish: str) -> Value:
        """A smooth function of a value."""
        scale = max(_power_of_two(self._reach(self._ready(value)) / SUM_REACH), curve.finest)
        source = self.sum_of(value, scale, f"{wish}/in")
        name = self.name(wish)
        op = curve.table(name, source.tensor, name, scale)
        self._append(op, Tensor(name, source.shape, "sum", scale=np.array([curve.scale])))
        return plain(name, np.array([curve.scale]), source.shape)

    def pooled(
        self, value: Value, kind: str, window: tuple[int, ...], strides: tuple[int, ...],
        padding: tuple[tuple[int, int], ...], wish: str,
    ) -> Value:
        """The sum or the largest of the values under a window."""
        terms = math.prod(window) if kind == "sum" else 1
        scale = _power_of_two(terms * self._reach(self._ready(value)) / SUM_REACH)
        source = self.sum_of(value, scale, f"{wish}/in")
        rows = zip(source.shape[:-1], window, strides, padding, strict=True)
        places = tuple((size + sum(pad) - reach) // step + 1 for size, reach, step, pad in rows)
        shape = (*places, source.channels)
        name = self.name(wish)
        op = Pool(name, source.tensor, name, kind, window, strides, padding)  # type: ignore[arg-type]
        self._append(op, Tensor(op.output, shape, "sum", scale=np.array([scale])))
        return plain(op.output, np.array([scale]), shape)

    def sum_of(self, value: Value, scale: float | None, wish: str) -> Value:
        """The value as an int32 sum with one step, in its own shape; by default the finest step."""
        key = (id(value), scale)
        if key not in self._made:
            self._kept.append(value)
            self._made[key] = self._summed(value, scale, wish)
        return self._made[key]

    def _factor(self, value: Value, wish: str) -> Value:
        """The value as an int32 sum with one step, whichever it has if it is such a sum."""
        source = self.tensors[value.tensor]
        fits = source.kind == "sum" and source.scale.size == 1 and value.is_plain
        same = fits and np.all(value.scale == source.scale)
        return self.sum_of(value, float(source.scale[0]) if same else None, wish)

    def _summed(self, value: Value, scale: float | None, wish: str) -> Value:
        value = self._ready(value)
        if scale is None:
            scale = _power_of_two(self._reach(value) / SUM_REACH)
        source = self.tensors[value.tensor]
        # Both scales: a mean is a sum whose value has a finer step than its tensor.
        same = np.all(value.scale == scale) and np.all(source.scale == scale)
        if source.kind == "sum" and value.is_plain and same:
            return self._shaped(value)
        name = self.name(wish)
        out = Tensor(name, source.shape, "sum", scale=np.array([scale]))
        whole = Grid(32, True, 0, False, scale, -(2**31), 2**31 - 1)
        self._requantise(value, whole, out)
        return self._shaped(plain(name, out.scale, source.shape).viewed(value.shape))

    def finished(self, value: Value) -> IntegerGraph:
        """The graph whose output is this value, as float32."""
        last = self.sum_of(value, None, "output/sum")
        self._append(Dequantise("output/real", last.tensor, "output"), Tensor("output", last.shape, "real"))
        return IntegerGraph("input", "output", self.tensors, tuple(self.ops))

    def _coded(self, value: Value, grid: Grid, wish: str) -> Value:
        value = self._ready(value)
        source = self.tensors[value.tensor]
        scale = np.array([grid.step / (2 if grid.midrise else 1)])
        name = self.name(wish)
        out = Tensor(
            name, source.shape, "code", grid.bits, grid.signed, scale, grid.zero_point, grid.midrise
        )
        if source.kind == "real":
            self._append(Quantise(f"{name}/quantise", value.tensor, name, grid.low, grid.high), out)
        else:
            self._requantise(value, grid, out)
        return self._shaped(plain(name, scale, source.shape).viewed(value.shape))

    def _requantise(self, value: Value, grid: Grid, out: Tensor) -> None:
        """Bounds of the value round to bounds of the code, since rounding keeps order."""
        half = 0.5 if grid.midrise else 0.0
        ends = [np.rint(end / grid.step - half) + grid.zero_point for end in (value.low, value.high)]
        low, high = (np.clip(end, grid.low, grid.high).astype(np.int64) for end in ends)
        factor, term = value.scale / grid.step, value.bias / grid.step - half
        op = rescaled(
            f"{out.name}/requantise", value.tensor, out.name, factor, term, low=low, high=high,
            zero_out=grid.zero_point, rounding=self.rounding, bounds=self.bounds[value.tensor],
        )
        self._append(op, out)

    def _ready(self, value: Value) -> Value:
        """The value with the whole steps of its bias in the accumulator that it is a function of."""
        writer = self.writer.get(value.tensor)
        op = self.ops[writer] if writer is not None else None
        if isinstance(op, Contraction):
            if value.tensor not in self._biased:
                self._biased.add(value.tensor)
                none = value.scale == 0
                steps = np.where(none, 0.0, value.bias / np.where(none, 1.0, value.scale))
                # A channel of hardly any weight may have a bias of more steps than int32 has.
                bias = np.where(np.abs(steps) < BIAS_REACH, np.rint(steps), 0).astype(np.int64)
                op = dataclasses.replace(op, bias=bias)
                assert writer is not None
                self.ops[writer] = op
                self.bounds[op.output] = bounds_after(op, self.tensors, self.bounds)
            return dataclasses.replace(value, bias=value.bias - value.scale * op.bias)
        return value

    def _reach(self, value: Value) -> float:
        """Largest magnitude of a value; at least half of what it would be unclipped.

        A requantisation clips after it has rounded, and what it rounds must fit int32 too: twice the reach
        of a sum.
        """
        endless = np.full(value.channels, np.inf)
        free = dataclasses.replace(value, low=-endless, high=endless)
        reaches = (
            max(float(np.abs(end).max(initial=0)) for end in v.interval(self.bounds[value.tensor]))
            for v in (value, free)
        )
        reach = max(share * reach for share, reach in zip((1.0, 0.501), reaches))
        if self.rounding in ("double_round", "shift"):
            # These shift all channels to the left alike, before they rescale each.
            largest = max(float(np.abs(end).max(initial=0)) for end in self.bounds[value.tensor])
            reach = max(reach, 2 * largest * float(np.abs(value.scale).max(initial=0)))
        return reach

    def _shaped(self, value: Value) -> Value:
        """The value with its view carried out."""
        source = self.tensors[value.tensor]
        if source.shape == value.shape:
            return value
        name = self.name(f"{value.tensor}/reshape")
        out = dataclasses.replace(source, name=name, shape=value.shape)
        self._append(Reshape(name, value.tensor, name), out)
        return plain(name, out.scale, value.shape)

    def _append(self, op: Op, out: Tensor) -> None:
        self.tensors[out.name] = out
        self.writer[out.name] = len(self.ops)
        self.ops.append(op)
        if out.kind != "real":
            self.bounds[out.name] = bounds_after(op, self.tensors, self.bounds)


def _power_of_two(x: float) -> float:
    """The smallest power of two that is not below x; 1 for 0."""
    return 2.0 ** math.ceil(math.log2(x)) if x > 0 else 1.0


def _contracted_shape(op: Contraction, shape: tuple[int, ...]) -> tuple[int, ...]:
    *window, _, out = op.codes.shape
    if not window:
        return (*shape[:-1], out)
    rows = zip(shape[:-1], window, op.strides, op.padding, op.dilation, strict=True)
    places = ((n + sum(pad) - (k - 1) * d - 1) // step + 1 for n, k, step, pad, d in rows)
    return (*places, out)
