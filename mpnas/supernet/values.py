"""What the reader of a program knows of each value, and what it collects: plain records.

Indices stand for order in the program: `buffer` into the reader's buffers, `call` into its contractions.
"""

import dataclasses

from mpnas.supernet.axes import Axis


@dataclasses.dataclass(frozen=True)
class Value:
    """What is known of one intermediate result.

    Attributes:
      axes: One per dimension.
      view: The model leaf that it is a view of (reshaped, transposed, cast), if any.
      leaves: The leaves that it is computed from, when it does not depend on the input.
      buffer: Index of the memory that it occupies; None when it does not depend on the input.
      nonnegative: Whether it is provably never below 0.
      call: Index of the contraction whose output it is, up to a scale and a shift per channel.
    """

    axes: tuple[Axis, ...]
    view: str | None = None
    leaves: frozenset[str] = frozenset()
    buffer: int | None = None
    nonnegative: bool = False
    call: int | None = None


@dataclasses.dataclass(frozen=True)
class Contraction:
    """One product of a kernel with an activation, as it stands in the program.

    Attributes:
      kernel: Leaf of the kernel.
      kind: `dense`, `depthwise`, `grouped` or `lookup`.
      in_axis, out_axis: Axes of that leaf; None where it has none for the input's channels.
      macs: Multiply-accumulates for the whole traced batch, over all turns of a loop.
      buffer: What it reads.
      signed: Whether that can be negative.
      looped: Whether it stands in a loop.
      stacked: Whether every turn of that loop has a kernel of its own.
    """

    kernel: str
    kind: str
    in_axis: Axis | None
    out_axis: Axis
    macs: int
    buffer: int
    signed: bool
    looped: bool
    stacked: bool


@dataclasses.dataclass(frozen=True)
class FloatProduct:
    """A product of which neither side is a kernel; of an attention with names for both, and signs."""

    path: str
    macs: int
    operands: tuple[str, ...] = ()
    signed: tuple[bool, ...] = ()


@dataclasses.dataclass(frozen=True)
class Fold:
    """One shift or scale per channel of a contraction's output; `leaves` are the parameters in it."""

    call: int
    source: int
    target: int
    leaves: frozenset[str]
    kind: str


@dataclasses.dataclass(frozen=True)
class Event:
    """One operation on activations: which buffers it reads and writes; `inplace` if elementwise."""

    reads: tuple[int, ...]
    write: int
    inplace: bool
    layer: str | None = None


@dataclasses.dataclass(frozen=True)
class Buffer:
    """Memory of one activation: numbers including the batch, its channel axis, and its name."""

    elements: int
    axes: tuple[Axis, ...]
    name: str
