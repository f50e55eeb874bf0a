"""Number formats: which values a tensor may hold, and how many bits one of them takes.

An integer format stores the code q in `bits` bits and means the real number
`scale * (q - zero_point + offset)`. Zero bits are a format too (the element is left out), and so
are 32 (the element stays a float): searches mix all three as candidates of one site.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, eq. (1).
"""

import dataclasses
from typing import ClassVar

import numpy as np

from mpnas.errors import ConfigError

INTEGER_BITS = (1, 2, 3, 4, 5, 6, 7, 8, 16)
PRUNED_BITS = 0
FLOAT_BITS = 32


@dataclasses.dataclass(frozen=True)
class IntFormat:
    """Evenly spaced values: the codes qmin..qmax times a scale.

    Attributes:
      bits: Width of a code: 1 to 8, or 16.
      signed: Two's complement codes if true, codes from 0 upwards if false.
      symmetric: The zero point is 0. If false an integer zero point shifts the grid, so that it
        covers any range that contains 0, and 0.0 stays exact.
      midrise: The levels lie half a step off zero, as many above as below, and none is zero; for
        signed symmetric formats. One bit has such levels in any case.

    Raises:
      ConfigError: no such width, or midrise levels in an unsigned or asymmetric format.

    >>> IntFormat(4).qmin, IntFormat(4).qmax
    (-8, 7)
    """

    bits: int
    signed: bool = True
    symmetric: bool = True
    midrise: bool = False

    def __post_init__(self) -> None:
        if self.bits not in INTEGER_BITS:
            raise ConfigError(
                f"an integer format has one of {INTEGER_BITS} bits, got {self.bits}. "
                "Use Pruned() for 0 bits and FloatFormat() for 32, or format_of(bits) for any."
            )
        if self.midrise and not (self.signed and self.symmetric):
            raise ConfigError(
                f"midrise levels lie symmetrically around zero, got {self}. "
                "Use signed=True and symmetric=True, or midrise=False."
            )

    @property
    def qmin(self) -> int:
        """Smallest code."""
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def qmax(self) -> int:
        """Largest code."""
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1

    @property
    def offset(self) -> float:
        """What is added to a code to get its level, in steps: 0.5 if midrise and for signed symmetric 1 bit.

        Two's complement has no positive 1-bit value; there the codes -1 and 0 mean -scale/2 and
        +scale/2. An asymmetric format reaches both signs through its zero point instead.
        """
        one_bit = self.bits == 1 and self.signed and self.symmetric
        return 0.5 if self.midrise or one_bit else 0.0

    @property
    def has_zero_point(self) -> bool:
        """Whether an integer zero point is stored beside each scale."""
        return not self.symmetric

    @property
    def code_dtype(self) -> np.dtype:
        """Smallest whole-byte integer type that holds the codes."""
        width = 8 if self.bits <= 8 else 16
        return np.dtype(f"{'int' if self.signed else 'uint'}{width}")


@dataclasses.dataclass(frozen=True)
class FloatFormat:
    """float32: every value passes through unchanged, and is its own code."""

    bits: ClassVar[int] = FLOAT_BITS
    has_zero_point: ClassVar[bool] = False
    code_dtype: ClassVar[np.dtype] = np.dtype("float32")


@dataclasses.dataclass(frozen=True)
class Pruned:
    """Zero bits: every value is 0; its int8 codes only keep the shape."""

    bits: ClassVar[int] = PRUNED_BITS
    has_zero_point: ClassVar[bool] = False
    code_dtype: ClassVar[np.dtype] = np.dtype("int8")


Format = IntFormat | FloatFormat | Pruned


def format_of(
    bits: int, signed: bool = True, symmetric: bool = True, midrise: bool = False
) -> Format:
    """The format with this many bits: 0 is `Pruned`, 32 is `FloatFormat`, others are integers.

    Raises:
      ConfigError: no format has this width.

    >>> format_of(0), format_of(32), format_of(8, signed=False)
    (Pruned(), FloatFormat(), IntFormat(bits=8, signed=False, symmetric=True, midrise=False))
    """
    if bits == PRUNED_BITS:
        return Pruned()
    if bits == FLOAT_BITS:
        return FloatFormat()
    return IntFormat(bits, signed, symmetric, midrise)
