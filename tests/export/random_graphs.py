"""Random integer graphs: every operation, width, rounding and geometry, drawn by a generator of numbers."""

import numpy as np

from mpnas.export import (
    ROUNDINGS,
    Add,
    Concat,
    Contraction,
    Dequantise,
    IntegerGraph,
    Multiply,
    Pool,
    Quantise,
    Requantise,
    Reshape,
    Table,
    Tensor,
)
from mpnas.export.integer import every_tensor
from mpnas.export.interval import intervals


class Drawn:
    """A graph that grows by random operations."""

    def __init__(self, seed):
        self.draw = np.random.default_rng(seed)
        self.ops, self.tensors = [], {}
        shape = (int(self.draw.integers(4, 7)), int(self.draw.integers(4, 7)), int(self.draw.integers(1, 4)))
        self.input = self.tensor("x", shape, "real")
        first = self.code(shape)
        self.ops.append(Quantise("quantise", "x", first.name))
        self.now = first

    def tensor(self, name, shape, kind, *rest, **options):
        made = Tensor(name, tuple(shape), kind, *rest, **options)
        self.tensors[name] = made
        return made

    def fresh(self):
        return f"t{len(self.tensors)}"

    def code(self, shape):
        bits, signed = int(self.draw.choice([1, 2, 3, 4, 8])), bool(self.draw.integers(2))
        midrise = signed and bits == 1
        low = -(2 ** (bits - 1)) if signed else 0
        zero = 0 if midrise or self.draw.integers(2) else int(self.draw.integers(low, low + 2**bits))
        scale = np.array([self.draw.uniform(0.05, 0.5)])
        return self.tensor(self.fresh(), shape, "code", bits, signed, scale, zero, midrise)

    def sum(self, shape):
        return self.tensor(self.fresh(), shape, "sum")

    def contraction(self, groups, stride=1, window=(3, 3), dilation=1, out=None):
        source, out = self.now, out or int(self.draw.integers(1, 4)) * groups
        inner = source.shape[-1] // groups
        bits = self.draw.choice([1, 2, 3, 4, 5, 6, 7, 8], out)
        midrise = self.draw.random(out) < 0.3
        codes = self.draw.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (*window, inner, out))
        codes = codes.astype(np.int32)
        spatial = len(window)
        padding = tuple(tuple(self.draw.integers(0, 2, 2).tolist()) for _ in range(spatial))
        reach = [(k - 1) * dilation + 1 for k in window]
        places = [
            (n + sum(p) - r) // stride + 1 for n, p, r in zip(source.shape[:-1], padding, reach)
        ] if spatial else source.shape[:-1]
        total = self.sum((*places, out))
        zero = np.where(midrise, 0, self.draw.integers(-2, 3, out))
        self.ops.append(Contraction(
            f"{total.name}/op", source.name, total.name, "site", codes, bits, zero, midrise,
            self.draw.integers(-500, 500, out), strides=(stride,) * spatial, padding=padding,
            dilation=(dilation,) * spatial, groups=groups,
        ))
        self.now = total

    def requantise(self, out=None, rounding=None):
        out = out or self.code(self.now.shape)
        kind = rounding or str(self.draw.choice(ROUNDINGS))
        channels = out.channels if self.draw.integers(2) else 1
        shift = self.draw.integers(2, 8, channels)
        multiplier = np.ones(channels, np.int64)
        offset = np.zeros(channels, np.int64)
        if kind != "shift":
            multiplier = self.draw.integers(2**30, 2**31, channels) * self.draw.choice([-1, 1], channels)
        if kind in ("single_round", "dyadic_half_up"):
            shift = shift + 31
            offset = self.draw.integers(-(2**36), 2**36, channels)
        low, high = (np.array([end]) for end in out.code_range)
        if out.kind == "code" and out.bits > 1 and self.draw.integers(2):
            low = np.array([out.zero_point]) if out.zero_point < high[0] else low
        self.ops.append(Requantise(
            f"{out.name}/requantise", self.now.name, out.name, multiplier, shift, offset, low, high,
            rounding=kind, zero_in=self.now.zero_point, zero_out=out.zero_point,
        ))
        self.now = out

    def branch_and_add(self):
        start, sides = self.now, []
        for _ in range(2):
            self.now = start
            side = self.sum(start.shape)
            self.requantise(side)
            sides.append(side.name)
        total = self.sum(start.shape)
        self.ops.append(Add(f"{total.name}/op", tuple(sides), total.name))
        self.now = total

    def gate(self, kind):
        """The product with itself rescaled (`equal`), with its mean (`squeezed`) or with one channel."""
        source = self.now
        if kind == "squeezed":
            other = self.sum((1,) * (len(source.shape) - 1) + source.shape[-1:])
            window = source.shape[:-1]
            self.ops.append(Pool(
                f"{other.name}/op", source.name, other.name, "sum", window, window, ((0, 0),) * len(window)
            ))
        elif kind == "equal":
            other = self.sum(source.shape)
            self.requantise(other)
        else:
            self.requantise()
            self.contraction(1, window=(), out=1)
            other = self.now
        factors = [source.name, other.name]
        found = intervals(self.so_far(source.name))
        ends = [int(np.abs(np.stack(found[name])).max()) for name in factors]
        shift = max(0, (ends[0] * ends[1]).bit_length() - 28)
        out = self.sum(source.shape)
        self.draw.shuffle(factors)
        self.ops.append(Multiply(f"{out.name}/op", tuple(factors), out.name, shift))
        self.now = out

    def so_far(self, output):
        return IntegerGraph("x", output, self.tensors, tuple(self.ops))

    def table(self):
        """Any function of a sum, of a range that its numbers reach, or nearly so."""
        if any(0 in tensor.shape for tensor in self.tensors.values()):
            return
        source, out = self.now, self.sum(self.now.shape)
        x = np.random.default_rng(0).normal(size=(4, *self.input.shape)) * 2
        numbers = every_tensor(self.so_far(source.name), x)[source.name]
        low, width = int(numbers.min()), int(np.ptp(numbers)) + 1
        shift = int(self.draw.integers(0, min(30, width.bit_length())))
        size = min(40, max(2, width >> shift))
        start = low + int(self.draw.integers(-width // 4, width // 4 + 1))
        entries = self.draw.integers(-(2**20), 2**20, size)
        if (shared := [op for op in self.ops if isinstance(op, Table)]) and self.draw.integers(2):
            entries = shared[0].entries
        self.ops.append(Table(f"{out.name}/op", source.name, out.name, entries, start, shift))
        self.now = out

    def concat(self):
        source = self.now
        out = self.tensor(
            self.fresh(), (*source.shape[:-1], 2 * source.shape[-1]), source.kind, source.bits, source.signed,
            source.scale, source.zero_point, source.midrise,
        )
        self.ops.append(Concat(f"{out.name}/op", (source.name, source.name), out.name))
        self.now = out

    def pool(self, kind):
        source = self.now
        window = (2, 2) if min(source.shape[:2]) > 1 else (1, 1)
        pad = ((int(self.draw.integers(2)) if window[0] > 1 else 0, 0), (0, 0))
        places = [(n + sum(p) - k) // 2 + 1 for n, p, k in zip(source.shape, pad, window)]
        shape = (*places, source.shape[-1])
        if kind == "sum":
            out = self.sum(shape)
        else:
            out = self.tensor(
                self.fresh(), shape, source.kind, source.bits, source.signed, source.scale, source.zero_point,
                source.midrise,
            )
        self.ops.append(Pool(f"{out.name}/op", source.name, out.name, kind, window, (2, 2), pad))
        self.now = out

    def flatten(self):
        source = self.now
        scale = source.scale if source.scale.shape == (1,) else np.ones(1)
        out = self.tensor(
            self.fresh(), (int(np.prod(source.shape)),), source.kind, source.bits, source.signed, scale,
            source.zero_point, source.midrise,
        )
        self.ops.append(Reshape(f"{out.name}/op", source.name, out.name))
        self.now = out

    def graph(self):
        end = self.tensor("y", self.now.shape, "real")
        self.ops.append(Dequantise("dequantise", self.now.name, "y"))
        return IntegerGraph("x", end.name, self.tensors, tuple(self.ops))


def random_graph(seed, *, smooth=True):
    """A convolution, a depthwise or grouped one, a residual, pools, a concatenation and a dense layer.

    Between them, if `smooth`, a table, a product of two sums, and another table of the same entries.
    """
    drawn = Drawn(seed)
    draw = drawn.draw
    drawn.contraction(1, stride=int(draw.integers(1, 3)))
    drawn.requantise()
    if draw.integers(2):
        drawn.concat()
    channels = drawn.now.shape[-1]
    divisors = [g for g in range(1, channels + 1) if channels % g == 0]
    drawn.contraction(int(draw.choice(divisors)), window=(2, 2), dilation=int(draw.integers(1, 2)))
    if draw.integers(2):
        drawn.requantise()
    drawn.branch_and_add()
    if smooth and draw.integers(2):
        drawn.table()
    if smooth and draw.integers(2):
        drawn.gate(str(draw.choice(["equal", "squeezed", "one_channel"])))
        if draw.integers(2):
            drawn.table()
    if draw.integers(2):
        drawn.pool(str(draw.choice(["max", "sum"])))
    drawn.requantise()
    if draw.integers(2):
        drawn.flatten()
    drawn.contraction(1, window=())
    if draw.integers(2):
        drawn.requantise()
    return drawn.graph()
