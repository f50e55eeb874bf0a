"""Packed file: an integer graph with its weights in as many bits as they have, and as the cost counts.

The container (`mpnas.export.container`) holds two sections. **The weights section has, to the bit, the
length that the cost of memory says** (`mpnas.cost.WeightBytes`): it is the bit stream of

1. for each layer, in order: its widths, 4 bits for each decision (an index into 0..8, 16, 32 bits); its
   scales, 32 bits each, and a zero point of 32 bits after each where the layer has any; its biases,
   int32, where it has any; its codes. Channels of equal width stand together, narrow ones first and
   otherwise in order, so that the order is read off the widths and takes no room; in each channel the
   codes are in row-major order of the kernel without its last axis.
2. for each quantised input: its width, 4 bits; its scale, float32; a zero point, int32, where it has one.
3. parameters that fold into no layer, float32: zeros, as an integer graph has them in its requantisations.

A scale is the float32 step of the kernel; where a normalisation is folded in it is, per channel, the int32
multiplier of the requantisation that reads the accumulator, which is what execution multiplies with.
Channels that share a scale and could have more widths than they do leave zeros in what is counted; so do
scales whose product with that of the input is not the accumulator's, which stands below instead.

**The graph section is not counted.** It holds structure and names, and the constants of execution that
the weights do not determine in every bit: shifts, offsets finer than a step, bounds, further
multipliers, scales of sums, entries of tables. Its fields are those of `mpnas.export.bitstream.FieldWriter`;
n, s, t, v and r stand for a whole number, one with a sign, a text, a vector of integers, of reals;
[n x] is n and n times x:

    layers  [n  t site  [n n dimension]  n flags: 1 signed, 2 zero points, 4 biases, 8 folded
             v odd levels?, v decision, v scale of each channel  n decisions, n scales]
    inputs  [n  n zero point?]                 loose   n
    tensors [n  t name  [n n dimension]  n kind: real, code, sum  n flags: 1 signed, 2 odd levels  n origin
             0: n bits, s zero point, r scale          1: n input: width, scale and zero point are counted
             2: n tensor, n layer, n one number?       the scales are products of counted ones
             3: n tensor, r factors                    the scales are its scale times float32 factors]
    ends    n input tensor, n output tensor
    ops     [n  n kind, as in KINDS  t name  [n n input]  n output  and what its kind has:
             Quantise     n which bounds: 1 low, 2 high  s each
             Contraction  n layer, n flags: 1 bias, 2 zero points here  [n n stride, before, after, dilation]
                          n groups  v each
             Requantise   n rounding, n left shift, s zero in, s zero out  n 0, or 1 + layer of the multiplier
                          v multiplier, or n one number?  v shift, offset, low, high
             Pool         n 1 for a sum  [n n window, stride, before, after]
             Multiply     n shift
             Table        s start, n shift  n 0, or 1 + number of the op with its entries; if 0, v entries]
    float   [n  t name]
"""

import dataclasses

import numpy as np

from mpnas.errors import PackError
from mpnas.export.bitstream import BitWriter, FieldWriter
from mpnas.export.container import LENGTH, Sections, sealed
from mpnas.export.graph import IntegerGraph, Tensor
from mpnas.export.ops import (
    ROUNDINGS,
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
from mpnas.export.storage import WIDTHS, Shelf, Storage, fitted, kernels_of, own_storage

KINDS: tuple[type[Op], ...] = (
    Quantise, Contraction, Requantise, Add, Concat, Pool, Reshape, Dequantise, Multiply, Table,
)
TENSOR_KINDS = ("real", "code", "sum")
RANK = 8  # of a kernel or a tensor, at most


@dataclasses.dataclass(frozen=True)
class Packed:
    """A packed file, and what of it is counted.

    Attributes:
      data: The file.
      weight_bits: Length of the weights section: what the cost of memory counts.
      graph_bits: Length of the graph section.
    """

    data: bytes
    weight_bits: int
    graph_bits: int

    @property
    def other_bits(self) -> int:
        """The header, and the bits that fill the last byte of the weights."""
        return 8 * LENGTH + -self.weight_bits % 8


def pack(graph: IntegerGraph, storage: Storage | None = None) -> Packed:
    """The packed file of a graph.

    Args:
      graph: What to write.
      storage: What is counted of it, from `storage_of`; by default a width and a scale per channel.

    Raises:
      PackError: the graph is of another network than the storage, or has no place in a file.
    """
    storage = own_storage(graph) if storage is None else storage
    for tensor in graph.tensors.values():
        if 0 in tensor.shape or len(tensor.shape) > RANK:
            raise PackError(
                f"tensor '{tensor.name}' has shape {tensor.shape}; a packed file holds tensors of at most "
                f"{RANK} axes, none of them empty."
            )
    writer = _Writer(graph, fitted(storage, kernels_of(graph)[0]))
    weights, structure = writer.weights(), writer.structure()
    return Packed(
        sealed(Sections(structure, weights.done(), weights.bits)), weights.bits, 8 * len(structure)
    )


class _Writer:
    """The two sections of one graph."""

    def __init__(self, graph: IntegerGraph, storage: Storage) -> None:
        self.graph, self.storage = graph, storage
        self.kernels, self.layer_of = kernels_of(graph)
        self.contraction = {op.output: op for op in graph.contractions}
        self.layer = {path: k for k, path in enumerate(storage.layers)}
        self.tensor = {name: k for k, name in enumerate(graph.tensors)}
        self.act = {path: k for k, act in enumerate(storage.acts) for path in act.sites}
        self.multiplied = self._multiplied()
        self.scales = {path: self._slots_of(path, shelf) for path, shelf in storage.layers.items()}
        self.zeros = {path: self._zeros_of(path, shelf) for path, shelf in storage.layers.items()}
        # One tensor stands for each quantised input: the first that any of its layers reads.
        self.sources: dict[int, Tensor] = {}
        for op in graph.contractions:
            self.sources.setdefault(self.act[self.layer_of[op.name]], graph.tensors[op.input])

    def _multiplied(self) -> dict[str, Requantise]:
        """Folded layer -> the first requantisation of its first accumulator."""
        writers = {op.output: path for path, op in self.kernels.items() if self.storage.layers[path].folded}
        found: dict[str, Requantise] = {}
        for op in self.graph.ops:
            if isinstance(op, Requantise) and op.input in writers:
                found.setdefault(writers[op.input], op)
        return found

    def _slots_of(self, path: str, shelf: Shelf) -> np.ndarray | None:
        """The scales of a layer as 32-bit words, int64; None if they do not determine those in the graph."""
        words = np.zeros(shelf.slots, np.int64)
        if shelf.folded:
            if path not in self.multiplied:
                return None
            words[shelf.slot] = self.multiplied[path].multiplier
            return words
        factors = self._factors(self.kernels[path].output)
        if factors is None:
            return None
        every = np.broadcast_to(factors, shelf.slot.shape)
        words[shelf.slot] = every.view(np.int32) if factors.size > 1 else factors.view(np.int32)
        return words if np.array_equal(words[shelf.slot].astype(np.int32).view(np.float32), every) else None

    def _zeros_of(self, path: str, shelf: Shelf) -> np.ndarray | None:
        """The zero points of a layer, one per scale; None if they do not determine those of its channels."""
        zeros = np.zeros(shelf.slots, np.int64)
        given = self.kernels[path].zero_point
        if shelf.shifted:
            zeros[shelf.slot] = given
        return zeros if np.array_equal(zeros[shelf.slot], given) else None

    def _factors(self, accumulator: str) -> np.ndarray | None:
        """The float32 that the scale of a contraction's input is multiplied by, if that gives its scale."""
        op = self.contraction.get(accumulator)
        if op is None or self.graph.tensors[op.input].scale.size != 1:
            return None
        source, scale = self.graph.tensors[op.input].scale, self.graph.tensors[accumulator].scale
        with np.errstate(all="ignore"):
            factors = (scale / source).astype(np.float32)
            exact = np.array_equal(factors.astype(np.float64) * source, scale)
        return factors if exact and np.all(np.isfinite(factors)) else None

    # What is counted ---------------------------------------------------------------------------

    def weights(self) -> BitWriter:
        out = BitWriter()
        for path, shelf in self.storage.layers.items():
            op = self.kernels[path]
            out.write(np.array([WIDTHS.index(width) for width in shelf.widths]), 4)
            scales, zeros = self.scales[path], self.zeros[path]
            rows = [np.zeros(shelf.slots, np.int64) if row is None else row for row in (scales, zeros)]
            out.write(np.stack(rows[: 1 + shelf.shifted], axis=1), 32)
            if shelf.bias:
                out.write(op.bias, 32)
            for width in sorted(set(op.bits.tolist())):
                out.write(np.moveaxis(op.codes[..., op.bits == width], -1, 0), width)
        for k, act in enumerate(self.storage.acts):
            tensor = self.sources[k]
            out.write(np.array([WIDTHS.index(tensor.bits)]), 4)
            out.write_float32(tensor.scale[:1])
            if act.shifted:
                out.write(np.array([tensor.zero_point]), 32)
        out.write(np.zeros(self.storage.loose, np.int64), 32)
        return out

    # What is not -------------------------------------------------------------------------------

    def structure(self) -> bytes:
        out = FieldWriter()
        out.whole(len(self.storage.layers))
        for path, shelf in self.storage.layers.items():
            kernel = self.kernels[path]
            out.text(kernel.site)
            out.whole(kernel.codes.ndim, *kernel.codes.shape)
            out.whole(kernel.signed + 2 * shelf.shifted + 4 * shelf.bias + 8 * shelf.folded)
            for row in (kernel.midrise, shelf.decision, shelf.slot):
                out.integers(row)
            out.whole(len(shelf.widths), shelf.slots)
        out.whole(len(self.storage.acts), *(int(act.shifted) for act in self.storage.acts))
        out.whole(self.storage.loose, len(self.graph.tensors))
        for tensor in self.graph.tensors.values():
            self._tensor(out, tensor)
        out.whole(self.tensor[self.graph.input], self.tensor[self.graph.output], len(self.graph.ops))
        for op in self.graph.ops:
            out.whole(KINDS.index(type(op)))
            out.text(op.name)
            out.whole(len(op.inputs), *(self.tensor[name] for name in op.inputs), self.tensor[op.output])
            self._op(out, op)
        out.whole(len(self.graph.float_ops))
        for name in self.graph.float_ops:
            out.text(name)
        return out.done()

    def _tensor(self, out: FieldWriter, tensor: Tensor) -> None:
        out.text(tensor.name)
        out.whole(len(tensor.shape), *tensor.shape, TENSOR_KINDS.index(tensor.kind))
        out.whole(tensor.signed + 2 * tensor.midrise)
        reader = next((k for k in self.sources if self._counted(k, tensor)), None)
        if reader is not None:
            out.whole(1, reader)
            return
        op = self.contraction.get(tensor.name)
        plain = (tensor.kind, tensor.signed, tensor.zero_point) == ("sum", True, 0)
        factors = self._factors(tensor.name) if op is not None and plain else None
        if op is None or factors is None or self.tensor[op.input] >= self.tensor[tensor.name]:
            out.whole(0, tensor.bits)
            out.integer(tensor.zero_point)
            out.reals(tensor.scale)
            return
        path = self.layer_of[op.name]
        shelf, words = self.storage.layers[path], self.scales[path]
        derived = not shelf.folded and words is not None and np.array_equal(
            words[shelf.slot].astype(np.int32).view(np.float32), np.broadcast_to(factors, shelf.slot.shape)
        )
        out.whole(2 if derived else 3, self.tensor[op.input])
        if derived:
            out.whole(self.layer[path], int(factors.size == 1))
        else:
            out.reals(factors)

    def _counted(self, k: int, tensor: Tensor) -> bool:
        """Whether a tensor is what the numbers of quantised input k say."""
        source = self.sources[k]
        zero = source.zero_point if self.storage.acts[k].shifted else 0
        scale = source.scale[:1].astype(np.float32).astype(np.float64)
        return tensor.kind == "code" and (tensor.bits, tensor.zero_point) == (source.bits, zero) \
            and np.array_equal(tensor.scale, scale)

    def _op(self, out: FieldWriter, op: Op) -> None:
        """What an operation has beside its tensors."""
        if isinstance(op, Quantise):
            out.whole((op.low is not None) + 2 * (op.high is not None))
            for end in (op.low, op.high):
                if end is not None:
                    out.integer(end)
        elif isinstance(op, Contraction):
            self._contraction(out, op)
        elif isinstance(op, Requantise):
            out.whole(ROUNDINGS.index(op.rounding), op.left_shift)
            out.integer(op.zero_in)
            out.integer(op.zero_out)
            path = next((path for path, first in self.multiplied.items() if first is op), None)
            out.whole(0 if path is None else 1 + self.layer[path])
            if path is None:
                out.integers(op.multiplier)
            else:
                out.whole(int(op.multiplier.size == 1))
            for row in (op.shift, op.offset, op.low, op.high):
                out.integers(row)
        elif isinstance(op, Pool):
            rows = list(zip(op.window, op.strides, op.padding, strict=True))
            out.whole(int(op.kind == "sum"), len(rows))
            for size, step, (before, after) in rows:
                out.whole(size, step, before, after)
        elif isinstance(op, Multiply):
            out.whole(op.shift)
        elif isinstance(op, Table):
            out.integer(op.start)
            out.whole(op.shift)
            first = self._same_entries(op)
            out.whole(0 if first is None else 1 + first)
            if first is None:
                out.integers(op.entries)

    def _same_entries(self, op: Table) -> int | None:
        """Number of the first operation with the entries of a table, if it is another one."""
        first = next(
            k for k, one in enumerate(self.graph.ops)
            if isinstance(one, Table) and np.array_equal(one.entries, op.entries)
        )
        return None if self.graph.ops[first] is op else first

    def _contraction(self, out: FieldWriter, op: Contraction) -> None:
        path = self.layer_of[op.name]
        shelf, zeros = self.storage.layers[path], self.zeros[path]
        counted = self.kernels[path].bias if shelf.bias else np.zeros(op.out_channels)
        biased = not np.array_equal(op.bias, counted)
        shifted = zeros is None or not np.array_equal(zeros[shelf.slot], op.zero_point)
        out.whole(self.layer[path], biased + 2 * shifted, len(op.strides))
        for step, (before, after), dilation in zip(op.strides, op.padding, op.dilation, strict=True):
            out.whole(step, before, after, dilation)
        out.whole(op.groups)
        if biased:
            out.integers(op.bias)
        if shifted:
            out.integers(op.zero_point)
