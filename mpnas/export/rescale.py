"""Rescaling: the requantisation that computes a clipped affine function of integers, in each rounding.

The exact kinds have 64 bits for `q * multiplier + offset`: as many as fit go into the multiplier, and a
bias keeps its fraction of a step. The others are those of integer hardware: a bias is whole steps of the
accumulator, and a factor that the kind cannot express is refused.
"""

import math
from typing import Any

import numpy as np

from mpnas.errors import UnsupportedOperationError
from mpnas.export.interval import Bounds
from mpnas.export.ops import Requantise, Rounding
from mpnas.export.rounding import fixed_point

WORD = 62  # bits for the product and the offset together, without the sign


def rescaled(
    name: str, source: str, output: str, factor: np.ndarray, term: np.ndarray, *, low: np.ndarray,
    high: np.ndarray, zero_out: int, rounding: Rounding, bounds: Bounds,
) -> Requantise:
    """The operation `clip(round(q * factor + term) + zero_out, low, high)`.

    Args:
      name, source, output: Of the operation and its tensors.
      factor, term: Per channel, in steps of the output; of any sign.
      low, high: Bounds of the code, int64 per channel.
      zero_out: Zero point of the output.
      rounding: The kind.
      bounds: Smallest and largest q per channel.

    Raises:
      UnsupportedOperationError: the kind cannot express the factor or the term.
    """
    make = {"double_round": _twice, "shift": _power}.get(rounding, _exact)
    multiplier, shift, offset, left = make(name, factor, term, bounds)
    return Requantise(
        name, source, output, multiplier=_merged(multiplier), shift=_merged(shift), offset=_merged(offset),
        low=_merged(low), high=_merged(high), rounding=rounding, left_shift=left, zero_out=zero_out,
    )


def _merged(row: np.ndarray) -> np.ndarray:
    """One number where all channels have the same."""
    row = np.asarray(row, np.int64)
    return row[:1] if np.all(row == row[0]) else row


Numbers = tuple[Any, Any, Any, int]


def _exact(name: str, factor: np.ndarray, term: np.ndarray, bounds: Bounds) -> Numbers:
    largest = np.maximum(np.abs(bounds[0]), np.abs(bounds[1])).astype(np.float64)
    factor = np.where(largest == 0, 0.0, factor)
    reach = np.abs(factor) * largest + np.abs(term) + 2
    room = WORD - np.ceil(np.log2(reach)).astype(int)
    # The largest shift with |multiplier| < 2^31.
    exponent = np.where(factor == 0, 0, np.frexp(factor)[1])
    shift = np.clip(np.minimum(31 - exponent, room), 0, 60)
    if np.any(31 - exponent < 0):
        raise _refused(name, "single_round", float(np.abs(factor).max()))
    multiplier = np.rint(np.ldexp(factor, shift))
    # At a power of two frexp leaves a fraction of 1/2, else rounding may reach 2^31.
    over = np.abs(multiplier) >= 2**31
    shift = np.where(over, shift - 1, shift)
    multiplier = np.rint(np.ldexp(factor, shift)).astype(np.int64)
    offset = np.array([_whole(b, int(n)) for b, n in zip(term, shift, strict=True)], np.int64)
    return multiplier, shift, offset, 0


def _whole(term: float, shift: int) -> int:
    """`term * 2^shift` to the nearest whole number, with all of its bits."""
    numerator, denominator = float(term).as_integer_ratio()
    return ((numerator << (shift + 1)) + denominator) // (2 * denominator)


def _twice(name: str, factor: np.ndarray, term: np.ndarray, bounds: Bounds) -> Numbers:
    _refuse_terms(name, "double_round", factor, term)
    largest = float(np.abs(factor).max())
    left = max(0, math.frexp(largest)[1]) if largest else 0
    pairs = [fixed_point(abs(f) / 2**left) if f else (0, 0) for f in factor.tolist()]
    shift = np.array([min(n, 31) for _, n in pairs])
    multiplier = np.array([m if n <= 31 else 0 for m, n in pairs]) * np.sign(factor)
    if left > 30:
        raise _refused(name, "double_round", largest)
    return multiplier.astype(np.int64), shift, np.zeros(1), left


def _power(name: str, factor: np.ndarray, term: np.ndarray, bounds: Bounds) -> Numbers:
    _refuse_terms(name, "shift", factor, term)
    fraction, exponent = np.frexp(factor)
    left = max(0, int(exponent.max()) - 1)
    shift = left - (exponent - 1)
    if np.any(fraction != 0.5) or left > 30 or np.any(shift > 30):
        bad = factor[np.argmax(fraction != 0.5)]
        raise _refused(name, "shift", float(bad))
    return np.ones(1), shift, np.zeros(1), left


def _refuse_terms(name: str, rounding: str, factor: np.ndarray, term: np.ndarray) -> None:
    """A bias that the accumulator could not take up in whole steps."""
    if np.any(np.abs(term) > np.abs(factor) * 0.5000001):
        raise UnsupportedOperationError(
            f"'{name}' adds {float(np.abs(term).max()):g} steps that are no part of an accumulator's bias; "
            f"{rounding} has no place for them. Use rounding='single_round'."
        )


def _refused(name: str, rounding: str, factor: float) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"'{name}' multiplies by {factor!r}, which {rounding} cannot express. Use rounding='single_round', "
        "or, for shifts, scales that are powers of two (range 'pow2')."
    )
