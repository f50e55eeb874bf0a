"""Reading a packed file: the graph that was written, bit for bit. It trusts nothing that the file says.

The layout is told in `mpnas.export.pack`. Whatever is read has its bytes in the file, so that no array
can be larger than the file accounts for.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from mpnas.errors import GraphError, PackError
from mpnas.export.bitstream import BitReader, FieldReader, damaged
from mpnas.export.container import opened
from mpnas.export.graph import IntegerGraph, Tensor
from mpnas.export.ops import (
    ROUNDINGS,
    Add,
    Concat,
    Contraction,
    Multiply,
    Op,
    Pool,
    Quantise,
    Requantise,
    Table,
)
from mpnas.export.pack import KINDS, RANK, TENSOR_KINDS
from mpnas.export.storage import WIDTHS

MANY = 2**20  # inputs of an operation, tensors, operations
SIZE = 2**31
MOST_CODES = 2**28  # in a kernel
MOST = 2**26  # numbers in a tensor, its padding included: no small file may ask for all of the memory


def unpack(data: bytes) -> IntegerGraph:
    """The graph in a packed file.

    Raises:
      PackError: the file is foreign, newer, truncated or damaged, or holds no graph that can be.
    """
    sections = opened(data)
    try:
        return _Reader(FieldReader(sections.graph), BitReader(sections.weights, sections.weight_bits)).graph()
    except GraphError as error:
        raise PackError(f"the packed file holds no graph that can run: {error}") from error


@dataclasses.dataclass(frozen=True)
class _Layer:
    """One layer as it is stored: what a contraction takes over, its biases, and its scales as words."""

    kernel: dict[str, Any]
    bias: np.ndarray
    words: np.ndarray
    folded: bool


@dataclasses.dataclass(frozen=True)
class _Head:
    """What the graph section says of a layer, before its weights are read."""

    site: str
    shape: tuple[int, ...]
    flags: int
    midrise: np.ndarray
    decision: np.ndarray
    slot: np.ndarray
    decisions: int
    slots: int


class _Reader:
    """The two sections of one file, read from front to end."""

    def __init__(self, fields: FieldReader, weights: BitReader) -> None:
        self.fields, self.weights = fields, weights
        self.layers: list[_Layer] = []
        self.acts: list[tuple[int, np.ndarray, int]] = []
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []

    def graph(self) -> IntegerGraph:
        fields = self.fields
        heads = [self._head() for _ in range(fields.whole(MANY))]
        shifted = [fields.whole(2) for _ in range(fields.whole(MANY))]
        self.layers = [self._layer(head) for head in heads]
        self.acts = [self._act(bool(flag)) for flag in shifted]
        loose = fields.whole()
        self.weights.read(loose, 32)
        if self.weights.at != self.weights.bits:
            raise damaged(f"{self.weights.bits - self.weights.at} bits of its weights are nobody's")
        for _ in range(fields.whole(MANY)):
            self.tensors.append(self._tensor())
        first, last = self._one_of(self.tensors).name, self._one_of(self.tensors).name
        for _ in range(fields.whole(MANY)):
            self.ops.append(self._op())
        floats = tuple(fields.text() for _ in range(fields.whole(MANY)))
        fields.end()
        by_name = {tensor.name: tensor for tensor in self.tensors}
        if len(by_name) != len(self.tensors):
            raise damaged("two of its tensors have one name")
        return IntegerGraph(first, last, by_name, tuple(self.ops), floats)

    def _one_of(self, known: list[Any]) -> Any:
        if not known:
            raise damaged("it refers to a list that is empty")
        return known[self.fields.whole(len(known))]

    def _shape(self, most: int = MOST) -> tuple[int, ...]:
        shape = tuple(self.fields.whole(SIZE) for _ in range(self.fields.whole(RANK + 1)))
        if 0 in shape or math.prod(shape) > most:
            raise damaged(f"a tensor or kernel has shape {shape}")
        return shape

    # Weights -------------------------------------------------------------------------------------

    def _head(self) -> _Head:
        fields = self.fields
        site, shape, flags = fields.text(), self._shape(MOST_CODES), fields.whole(16)
        if len(shape) < 2:
            raise damaged(f"the kernel of layer '{site}' has shape {shape}")
        rows = [fields.integers(shape[-1]) for _ in range(3)]
        decisions, slots = fields.whole(), fields.whole()
        for row, below in zip(rows, (2, decisions, slots), strict=True):
            if np.any((row < 0) | (row >= below)):
                raise damaged(f"layer '{site}' refers to widths or scales that it does not have")
        return _Head(site, shape, flags, rows[0].astype(bool), rows[1], rows[2], decisions, slots)

    def _layer(self, head: _Head) -> _Layer:
        signed, shifted, biased, folded = (bool(head.flags >> k & 1) for k in range(4))
        out = head.shape[-1]
        widths = self._widths(head.decisions)
        words = self.weights.read(head.slots * (1 + shifted), 32).reshape(-1, 1 + shifted)
        bias = self.weights.read(out, 32) if biased else np.zeros(out, np.int64)
        bits = widths[head.decision]
        if np.any((bits == 0) | (bits == 32)):
            raise damaged(f"layer '{head.site}' has a channel of {int(bits.min())} bits")
        zeros = words[head.slot, 1] if shifted else np.zeros(out, np.int64)
        kernel = dict(
            site=head.site, codes=self._codes(head.shape, bits, signed), bits=bits, zero_point=zeros,
            midrise=head.midrise, signed=signed,
        )
        return _Layer(kernel, bias, words[head.slot, 0], folded)

    def _codes(self, shape: tuple[int, ...], bits: np.ndarray, signed: bool) -> np.ndarray:
        """The kernel, from channels of equal width standing together."""
        each = math.prod(shape[:-1])
        if each * int(bits.sum()) > self.weights.bits - self.weights.at:
            raise damaged(f"a kernel of shape {shape} is longer than its weights")
        codes = np.zeros((shape[-1], each), np.int32)
        for width in np.unique(bits).tolist():
            mine = np.flatnonzero(bits == width)
            codes[mine] = self.weights.read(len(mine) * each, width, signed=signed).reshape(len(mine), each)
        return np.moveaxis(codes.reshape(shape[-1], *shape[:-1]), 0, -1)

    def _act(self, shifted: bool) -> tuple[int, np.ndarray, int]:
        """Width, scale and zero point of a quantised input."""
        width = int(self._widths(1)[0])
        scale = self.weights.read_float32(1).astype(np.float64)
        return width, scale, int(self.weights.read(1, 32)[0]) if shifted else 0

    def _widths(self, count: int) -> np.ndarray:
        index = self.weights.read(count, 4, signed=False)
        if np.any(index >= len(WIDTHS)):
            raise damaged(f"a width is number {int(index.max())} of {len(WIDTHS)}")
        return np.array(WIDTHS, np.int64)[index]

    # Structure -----------------------------------------------------------------------------------

    def _tensor(self) -> Tensor:
        fields = self.fields
        name, shape, kind = fields.text(), self._shape(), TENSOR_KINDS[fields.whole(len(TENSOR_KINDS))]
        flags, origin = fields.whole(4), fields.whole(4)
        bits, zero = 32, 0
        if origin == 0:
            bits, zero, scale = fields.whole(), fields.integer(), fields.reals()
        elif origin == 1:
            bits, scale, zero = self._one_of(self.acts)
        else:
            scale = self._product(self._one_of(self.tensors).scale, counted=origin == 2)
        made: Any = kind
        return Tensor(name, shape, made, bits, bool(flags & 1), scale, zero, bool(flags & 2))

    def _product(self, source: np.ndarray, *, counted: bool) -> np.ndarray:
        """The scales of an accumulator: those of its input, times counted ones or ones that stand here."""
        if not counted:
            factors = self.fields.reals()
        else:
            factors = self._one_of(self.layers).words.astype(np.int32).view(np.float32).astype(np.float64)
            factors = factors[:1] if self.fields.whole(2) else factors
        with np.errstate(all="ignore"):  # what is not finite is refused as a scale
            return factors * source[0]

    def _op(self) -> Op:
        fields = self.fields
        kind, name = KINDS[fields.whole(len(KINDS))], fields.text()
        inputs = [self._one_of(self.tensors) for _ in range(fields.whole(MANY))]
        written = self._one_of(self.tensors)
        output = written.name
        names = tuple(tensor.name for tensor in inputs)
        if kind in (Add, Concat) and inputs:
            return kind(name, names, output)  # type: ignore[call-arg,arg-type]
        if kind is Multiply:
            return Multiply(name, names, output, fields.whole(63))
        if len(inputs) != 1 or not inputs[0].shape:
            raise damaged(f"operation '{name}' reads {len(inputs)} tensors, or a scalar")
        if kind is Quantise:
            has = fields.whole(4)
            ends = [fields.integer() if has >> k & 1 else None for k in range(2)]
            return Quantise(name, names[0], output, *ends)
        if kind is Contraction:
            return self._contraction(name, inputs[0], output)
        if kind is Requantise:
            return self._requantise(name, names[0], written)
        if kind is Pool:
            return self._pool(name, inputs[0], output)
        if kind is Table:
            return self._table(name, names[0], output)
        return kind(name, names[0], output)  # type: ignore[call-arg,arg-type]

    def _contraction(self, name: str, source: Tensor, output: str) -> Contraction:
        fields = self.fields
        layer, flags = self._one_of(self.layers), fields.whole(4)
        rows = [[fields.whole(SIZE) for _ in range(4)] for _ in range(fields.whole(RANK))]
        groups = fields.whole(SIZE)
        if len(rows) == len(source.shape) - 1:
            padded = [size + row[1] + row[2] for size, row in zip(source.shape, rows)]
            if math.prod(padded) * source.channels > MOST:
                raise damaged(f"operation '{name}' pads {source.shape} to {padded}")
        self._check_window(name, source, [(step, dilation) for step, _, _, dilation in rows], groups)
        out = layer.kernel["codes"].shape[-1]
        bias = _limited(fields.integers(out), "biases") if flags & 1 else layer.bias
        kernel = dict(layer.kernel)
        if flags & 2:
            kernel["zero_point"] = _limited(fields.integers(out), "zero points")
        return Contraction(
            name, source.name, output, bias=bias, groups=groups, strides=tuple(row[0] for row in rows),
            padding=tuple((row[1], row[2]) for row in rows), dilation=tuple(row[3] for row in rows), **kernel,
        )

    def _check_window(self, name: str, source: Tensor, steps: list[tuple[int, int]], groups: int = 1) -> None:
        """What a graph takes for granted of windows: as many axes as the tensor has, and no 0."""
        if steps and len(steps) != len(source.shape) - 1 or not all(map(all, steps)) or not groups:
            raise damaged(f"operation '{name}' slides by {steps} over {source.shape} in {groups} groups")

    def _requantise(self, name: str, source: str, output: Tensor) -> Requantise:
        fields, channels = self.fields, output.channels
        rounding, left = ROUNDINGS[fields.whole(len(ROUNDINGS))], fields.whole(64)
        zero_in, zero_out, origin = fields.integer(), fields.integer(), fields.whole(len(self.layers) + 1)
        if origin:
            words = self.layers[origin - 1].words
            multiplier = words[:1] if fields.whole(2) else words
        else:
            multiplier = _limited(fields.integers(), "multipliers")
        shift, offset, low, high = (fields.integers() for _ in range(4))
        if any(row.shape not in ((1,), (channels,)) for row in (multiplier, shift, offset, low, high)):
            raise damaged(f"requantisation '{name}' has other numbers than one, or one per channel")
        return Requantise(
            name, source, output.name, multiplier, shift, offset, low, high, rounding=rounding,
            left_shift=left, zero_in=zero_in, zero_out=zero_out,
        )

    def _pool(self, name: str, source: Tensor, output: str) -> Pool:
        fields = self.fields
        kind, count = ("max", "sum")[fields.whole(2)], fields.whole(RANK)
        rows = [[fields.whole(SIZE) for _ in range(4)] for _ in range(count)]
        self._check_window(name, source, [(size, step) for size, step, _, _ in rows])
        made: Any = kind
        return Pool(
            name, source.name, output, made, tuple(row[0] for row in rows), tuple(row[1] for row in rows),
            tuple((row[2], row[3]) for row in rows),
        )

    def _table(self, name: str, source: str, output: str) -> Table:
        fields = self.fields
        start, shift, origin = fields.integer(), fields.whole(31), fields.whole(len(self.ops) + 1)
        if not origin:
            return Table(name, source, output, _limited(fields.integers(), "entries"), start, shift)
        first = self.ops[origin - 1]
        if not isinstance(first, Table):
            raise damaged(f"table '{name}' has the entries of '{first.name}', which is none")
        return Table(name, source, output, first.entries, start, shift)


def _limited(values: np.ndarray, what: str) -> np.ndarray:
    """The numbers, all of which are int32."""
    if np.any((values < -(2**31)) | (values >= 2**31)):
        raise damaged(f"some of its {what} are beyond int32")
    return values
