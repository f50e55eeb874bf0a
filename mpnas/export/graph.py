"""Integer graph: a network as integers and the operations between them, as plain data.

Every number that execution needs is here as an integer; two operations alone know reals: `Quantise`
at the way in and `Dequantise` at the way out. An integer q of a tensor means `scale * (q - zero_point)`.
Tensors are of three kinds:

- `code`: what is stored and moved, 1 to 8 or 16 bits. A midrise tensor holds the odd levels `2 code + 1`
  of its codes, at half the step: its scale is that of the levels, and none of them is zero.
- `sum`: int32, an accumulator of a contraction, a sum or product of rescaled activations, or a smooth
  function of one. The scale of an accumulator differs by channel.
- `real`: float32, the input and the output.

Shapes leave the batch out; channels are the last axis. Activations (ReLU, ReLU6, clip) are the bounds
`low` and `high` of the requantisation after them, as rounding keeps order. An average is a `Pool` of
sums whose scale is smaller, a gate the product of two sums, and a sigmoid a `Table`. What the graph may
hold is checked when it is made.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, sections 2.1 to 2.4.
"""

import dataclasses
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from mpnas.errors import GraphError
from mpnas.export.ops import (
    FARTHEST_ZERO,
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

Kind = Literal["real", "code", "sum"]


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """What the integers of one intermediate result mean.

    Attributes:
      name: Unique in its graph.
      shape: Of one sample, channels last.
      kind: `real`, `code` or `sum`; see the module.
      bits: Of one code as it is stored; 32 for the other kinds.
      signed: Whether codes are two's complement; sums always are.
      scale: Real size of one step, > 0, float64 `(1,)` or `(channels,)`.
      zero_point: Integer that means 0.0.
      midrise: Whether the integers are the odd levels `2 code + 1`.

    Raises:
      GraphError: a kind, width, scale or zero point that no integer tensor has.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    bits: int = 32
    signed: bool = True
    scale: np.ndarray = dataclasses.field(default_factory=lambda: np.ones(1))
    zero_point: int = 0
    midrise: bool = False

    def __post_init__(self) -> None:
        widths = (*range(1, 9), 16) if self.kind == "code" else (32,)
        if self.kind not in get_args(Kind) or self.bits not in widths:
            raise GraphError(
                f"tensor '{self.name}' is a {self.kind} of {self.bits} bits; a code has 1 to 8 or 16 bits, "
                "a sum and a real have 32."
            )
        _check_vector(f"the scale of tensor '{self.name}'", self.scale, self.channels)
        if not (np.all(np.isfinite(self.scale)) and np.all(self.scale > 0)):
            raise GraphError(f"the scale of tensor '{self.name}' must be finite and > 0, got {self.scale}.")
        if abs(self.zero_point) > FARTHEST_ZERO:
            raise GraphError(f"tensor '{self.name}' has zero point {self.zero_point}, beyond 2^29.")
        if self.midrise and (self.zero_point or not self.signed):
            raise GraphError(f"tensor '{self.name}' is midrise, so it is signed and has zero point 0.")

    @property
    def channels(self) -> int:
        """Length of the last axis; 1 for a scalar."""
        return self.shape[-1] if self.shape else 1

    @property
    def code_range(self) -> tuple[int, int]:
        """Smallest and largest code as it is stored."""
        if self.signed:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest integer that execution holds for it: the code, or its odd level."""
        low, high = self.code_range
        return (2 * low + 1, 2 * high + 1) if self.midrise else (low, high)


@dataclasses.dataclass(frozen=True, eq=False)
class IntegerGraph:
    """A network of integers.

    Attributes:
      input, output: Names of the tensors at its ends.
      tensors: By name.
      ops: In an order in which they can run.
      float_ops: Names of the operations that stay in float; () says that none does.

    Raises:
      GraphError: an operation reads what nobody wrote, or tensors and operations contradict each other.
    """

    input: str
    output: str
    tensors: Mapping[str, Tensor]
    ops: tuple[Op, ...]
    float_ops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known, names = {self.input}, set[str]()
        for op in self.ops:
            for name in op.inputs:
                if name not in known:
                    raise GraphError(f"operation '{op.name}' reads '{name}' before any operation wrote it.")
            if op.output in known or op.output not in self.tensors:
                raise GraphError(
                    f"operation '{op.name}' writes '{op.output}', which is "
                    f"{'written already' if op.output in known else 'no tensor of the graph'}."
                )
            if op.name in names:
                raise GraphError(f"two operations are called '{op.name}'.")
            known.add(op.output)
            names.add(op.name)
            _check(op, self.tensors)
        if self.input in self.tensors and self.tensors[self.input].kind != "real":
            kind = self.tensors[self.input].kind
            raise GraphError(f"the input '{self.input}' is a {kind}; it must be real.")
        if self.output not in known or self.input not in self.tensors:
            raise GraphError(f"no operation writes the output '{self.output}', or the input is no tensor.")

    @cached_property
    def contractions(self) -> tuple[Contraction, ...]:
        """Its contractions, in order."""
        return tuple(op for op in self.ops if isinstance(op, Contraction))


KINDS: Mapping[type, tuple[tuple[Kind, ...], tuple[Kind, ...]]] = {
    Quantise: (("real",), ("code",)),
    Contraction: (("code",), ("sum",)),
    Requantise: (("code", "sum"), ("code", "sum")),
    Add: (("sum",), ("sum",)),
    Concat: (("code", "sum"), ("code", "sum")),
    Pool: (("code", "sum"), ("code", "sum")),
    Reshape: (("real", "code", "sum"), ("real", "code", "sum")),
    Dequantise: (("code", "sum"), ("real",)),
    Multiply: (("sum",), ("sum",)),
    Table: (("sum",), ("sum",)),
}
"""Which kinds of tensor an operation reads and writes."""


def _check(op: Op, tensors: Mapping[str, Tensor]) -> None:
    """Whether kinds and shapes of an operation's tensors fit it."""
    out, ins = tensors[op.output], [tensors[name] for name in op.inputs]
    reads, writes = KINDS[type(op)]
    for tensor, allowed in [*((t, reads) for t in ins), (out, writes)]:
        if tensor.kind not in allowed:
            raise GraphError(
                f"{type(op).__name__} '{op.name}' cannot have '{tensor.name}', a {tensor.kind}; "
                f"it takes {' or '.join(reads)} and gives {' or '.join(writes)}."
            )
    expected = _out_shape(op, [t.shape for t in ins], out.shape)
    if expected != out.shape:
        raise GraphError(
            f"{type(op).__name__} '{op.name}' gives shape {expected}, but '{out.name}' has {out.shape}."
        )
    if isinstance(op, Quantise):
        ends = [end for end in (op.low, op.high) if end is not None]
        if any(not out.code_range[0] <= end <= out.code_range[1] for end in ends):
            raise GraphError(f"quantisation '{op.name}' has bounds beyond the range of '{out.name}'.")
    if isinstance(op, Requantise):
        for name in ("multiplier", "shift", "offset", "low", "high"):
            _check_vector(f"the {name} of requantisation '{op.name}'", getattr(op, name), out.channels)
        low, high = out.code_range
        if np.any(op.low < low) or np.any(op.high > high):
            raise GraphError(f"requantisation '{op.name}' has bounds beyond the range of '{out.name}'.")
    if isinstance(op, (Add, Concat)):
        same = {(t.zero_point, t.midrise, t.bits, t.signed, t.scale.tobytes()) for t in ins}
        if len(same) > 1 or (isinstance(op, Add) and ins[0].zero_point):
            raise GraphError(
                f"{type(op).__name__} '{op.name}' joins tensors that differ in scale or zero point."
            )
    if isinstance(op, Multiply) and any(tensor.zero_point for tensor in ins):
        raise GraphError(f"product '{op.name}' has a factor whose zero point is not 0.")


def _out_shape(op: Op, shapes: list[tuple[int, ...]], given: tuple[int, ...]) -> tuple[int, ...]:
    """Shape that an operation gives; `given` where it cannot be told apart from a right one."""
    first = shapes[0]
    if isinstance(op, Contraction):
        *window, inner, out = op.codes.shape
        if first[-1] != inner * op.groups or out % op.groups:
            raise GraphError(
                f"contraction '{op.name}' has {inner} input channels in {op.groups} groups, "
                f"but reads {first[-1]}."
            )
        reach = [(size - 1) * step + 1 for size, step in zip(window, op.dilation, strict=True)]
        places = first[:-1] if not window else _places(first, reach, op.strides, op.padding)
        return (*places, out)
    if isinstance(op, Pool):
        return (*_places(first, op.window, op.strides, op.padding), first[-1])
    if isinstance(op, (Add, Concat)) and any(
        len(shape) != len(first) or shape[:-1] != first[:-1] for shape in shapes
    ) or isinstance(op, Add) and len(set(shapes)) > 1 or isinstance(op, Concat) and not first:
        raise GraphError(f"{type(op).__name__} '{op.name}' joins tensors of shapes {shapes}.")
    if isinstance(op, Concat):
        return (*first[:-1], sum(shape[-1] for shape in shapes))
    if isinstance(op, Multiply):
        return _broadcast(op, shapes)
    if isinstance(op, Reshape):
        return given if math.prod(first) == math.prod(given) else first
    return first


def _broadcast(op: Multiply, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of a product: along each axis the length of that factor which has not length 1."""
    one, other = shapes
    if len(one) != len(other) or any(m != n and 1 not in (m, n) for m, n in zip(one, other)):
        raise GraphError(
            f"product '{op.name}' has factors of shapes {one} and {other}; along each axis they are equally "
            "long, or one has length 1."
        )
    return tuple(n if m == 1 else m for m, n in zip(one, other))


def _places(
    shape: tuple[int, ...], window: list[int] | tuple[int, ...], strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
) -> tuple[int, ...]:
    """How many places a window has along each spatial axis."""
    rows = zip(shape[:-1], window, strides, padding, strict=True)
    return tuple((size + sum(pad) - reach) // step + 1 for size, reach, step, pad in rows)


def _check_vector(what: str, values: np.ndarray, channels: int) -> None:
    if values.shape not in ((1,), (channels,)):
        raise GraphError(f"{what} has shape {values.shape}; it is (1,) or ({channels},).")
