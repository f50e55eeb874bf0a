"""Rounding: the four kinds of requantisation, on int64, as obvious as they can be.

They differ by at most one in the last place and must not be mixed unsaid. `single_round` is what
simulation does, ties to even; `double_round` is what gemmlowp and TFLite's reference kernels do.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, section 2.2, and gemmlowp's
`SaturatingRoundingDoublingHighMul` and `RoundingDivideByPOT`; Li and Gu, I-ViT, 2022,
https://arxiv.org/abs/2207.01405, eq. (6), for the dyadic kind.
"""

import math

import numpy as np

from mpnas.errors import GraphError
from mpnas.export.ops import Multiply, Requantise, Table

HIGHEST, LOWEST = 2**31 - 1, -(2**31)


def requantised(op: Requantise, q: np.ndarray) -> np.ndarray:
    """The integers of `op` before they are clipped, int64, shaped like the int64 `q`."""
    v = (q - op.zero_in) << op.left_shift
    shift = op.shift.astype(np.int64)
    if op.rounding == "double_round":
        rounded = divided_by_power(high_product(v, op.multiplier.astype(np.int64)), shift)
    elif op.rounding == "shift":
        rounded = divided_by_power(v, shift)
    else:
        exact = v * op.multiplier.astype(np.int64) + op.offset.astype(np.int64)
        to_nearest = shifted_to_even if op.rounding == "single_round" else shifted_half_up
        rounded = to_nearest(exact, shift)
    return rounded + op.zero_out


def multiplied(op: Multiply, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The integers of `op`, int64, from the int64 of its factors."""
    return shifted_to_even(a * b, np.array(op.shift))


def looked_up(op: Table, q: np.ndarray) -> np.ndarray:
    """The integers of `op`, int64, shaped like the int64 `q`."""
    entries = op.entries.astype(np.int64)
    along = np.clip(q, op.start, op.last) - op.start
    segment, rest = along >> op.shift, along & ((1 << op.shift) - 1)
    rise = entries[segment + 1] - entries[segment]
    return entries[segment] + shifted_to_even(rise * rest, np.array(op.shift))


def high_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`a * b / 2^31` to the nearest whole number, ties away from zero except towards it below; saturated.

    gemmlowp's rounding doubling high product: -2^31 times itself gives 2^31 - 1.
    """
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    towards_zero = np.sign(nudged) * (np.abs(nudged) >> 31)
    return np.where((a == LOWEST) & (b == LOWEST), HIGHEST, towards_zero)


def divided_by_power(x: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """`x / 2^shift` to the nearest whole number, ties away from zero."""
    mask = (np.int64(1) << shift) - 1
    return (x >> shift) + ((x & mask) > (mask >> 1) + (x < 0))


def shifted_to_even(x: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """`x / 2^shift` to the nearest whole number, ties to even."""
    floor, rest, half = _parts(x, shift)
    return floor + ((shift > 0) & ((rest > half) | ((rest == half) & (floor & 1 == 1))))


def shifted_half_up(x: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """`x / 2^shift` to the nearest whole number, ties upwards."""
    floor, rest, half = _parts(x, shift)
    return floor + ((shift > 0) & (rest >= half))


def _parts(x: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The quotient rounded down, the remainder, and half of the divisor."""
    return x >> shift, x & ((np.int64(1) << shift) - 1), (np.int64(1) << shift) >> 1


def fixed_point(factor: float) -> tuple[int, int]:
    """Multiplier and shift of `double_round`: `factor = multiplier / 2^(31 + shift)`, as gemmlowp has them.

    Args:
      factor: In (0, 1).

    Raises:
      GraphError: the factor is outside; a right shift cannot make it.

    >>> fixed_point(0.007247427341846)
    (1992157658, 7)
    """
    if not 0 < factor < 1:
        raise GraphError(f"a fixed-point multiplier holds factors between 0 and 1, got {factor}.")
    fraction, exponent = math.frexp(factor)
    multiplier = round(fraction * 2**31)
    if multiplier == 2**31:
        multiplier, exponent = multiplier // 2, exponent + 1
    if exponent > 0:
        return HIGHEST, 0
    return multiplier, -exponent
