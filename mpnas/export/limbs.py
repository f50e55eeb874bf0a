"""Limbs: 64-bit integer arithmetic on pairs of 32-bit lanes, as JAX has no int64 by default.

A number is `(high, low)`, both uint32, in two's complement. Offsets and shifts are constants; a shift may
differ by channel.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt

from mpnas.export.ops import Multiply, Requantise, Table

Pair = tuple[UInt[Array, "..."], UInt[Array, "..."]]
FAR = 2**30  # beyond any code


def requantised(op: Requantise, q: Int[Array, "..."]) -> Int[Array, "..."]:
    """What `mpnas.export.rounding.requantised` computes, on int32."""
    v = (q - op.zero_in) << op.left_shift
    shift = op.shift.astype(np.int32)
    if op.rounding == "double_round":
        rounded = divided_by_power(high_product(v, op.multiplier), shift)
    elif op.rounding == "shift":
        rounded = divided_by_power(v, shift)
    else:
        exact = _plus(_product(v, op.multiplier), op.offset)
        is_code = max(int(np.abs(op.low).max()), int(np.abs(op.high).max())) < 2**17
        rounded = _rounded(exact, shift, to_even=op.rounding == "single_round", saturates=is_code)
    return rounded + op.zero_out


def multiplied(op: Multiply, a: Int[Array, "..."], b: Int[Array, "..."]) -> Int[Array, "..."]:
    """What `mpnas.export.rounding.multiplied` computes, on int32."""
    return _rounded(_product(a, b), np.array(op.shift), to_even=True, saturates=False)


def looked_up(op: Table, q: Int[Array, "..."]) -> Int[Array, "..."]:
    """What `mpnas.export.rounding.looked_up` computes, on int32."""
    entries = jnp.asarray(op.entries, jnp.int32)
    along = jnp.clip(q, np.int32(op.start), np.int32(op.last)) - np.int32(op.start)
    segment, rest = along >> op.shift, along & np.int32((1 << op.shift) - 1)
    below, rise = entries[segment], jnp.asarray(np.diff(op.entries.astype(np.int64)), jnp.int32)[segment]
    return below + _rounded(_product(rise, rest), np.array(op.shift), to_even=True, saturates=False)


def high_product(a: Int[Array, "..."], b: np.ndarray) -> Int[Array, "..."]:
    """gemmlowp's rounding doubling high product of int32; see `mpnas.export.rounding`."""
    factor = jnp.asarray(b, jnp.int32)
    negative = (a < 0) ^ (factor < 0)
    high, low = _unsigned_product(_magnitude(a), _magnitude(factor))
    nudge = jnp.where(negative, jnp.uint32((1 << 30) - 1), jnp.uint32(1 << 30))
    total = low + nudge
    size = ((high + (total < low)) << 1) | (total >> 31)
    lowest = jnp.int32(-(2**31))
    size = jnp.where((a == lowest) & (factor == lowest), jnp.uint32(2**31 - 1), size)
    return jnp.where(negative, -size.astype(jnp.int32), size.astype(jnp.int32))


def divided_by_power(x: Int[Array, "..."], shift: np.ndarray) -> Int[Array, "..."]:
    """`x / 2^shift` to the nearest whole number, ties away from zero; shifts below 31."""
    mask = jnp.asarray((np.int64(1) << shift.astype(np.int64)) - 1, jnp.int32)
    return (x >> shift) + ((x & mask) > (mask >> 1) + (x < 0)).astype(jnp.int32)


def _magnitude(x: Int[Array, "..."]) -> UInt[Array, "..."]:
    return jnp.where(x < 0, (~x).astype(jnp.uint32) + 1, x.astype(jnp.uint32))


def _unsigned_product(a: UInt[Array, "..."], b: UInt[Array, "..."]) -> Pair:
    """All 64 bits of a product, from 16-bit halves."""
    a_low, a_high, b_low, b_high = a & 0xFFFF, a >> 16, b & 0xFFFF, b >> 16
    low, cross, other, high = a_low * b_low, a_low * b_high, a_high * b_low, a_high * b_high
    middle = (low >> 16) + (cross & 0xFFFF) + (other & 0xFFFF)
    return high + (cross >> 16) + (other >> 16) + (middle >> 16), (low & 0xFFFF) | (middle << 16)


def _product(a: Int[Array, "..."], b: Int[Array, "..."] | np.ndarray) -> Pair:
    """All 64 bits of the product of two int32."""
    factor = jnp.asarray(b, jnp.int32)
    high, low = _unsigned_product(a.astype(jnp.uint32), factor.astype(jnp.uint32))
    # The unsigned reading of a negative number is 2^32 too large: so is the product, times the other.
    extra = jnp.where(a < 0, factor.astype(jnp.uint32), 0) + jnp.where(factor < 0, a.astype(jnp.uint32), 0)
    return high - extra, low


def _plus(x: Pair, constant: np.ndarray) -> Pair:
    high, low = _halves(constant)
    total = x[1] + low
    return x[0] + high + (total < low).astype(jnp.uint32), total


def _halves(constant: np.ndarray) -> Pair:
    """An int64 constant as a pair."""
    value = constant.astype(np.int64)
    return jnp.asarray((value >> 32) & 0xFFFFFFFF, jnp.uint32), jnp.asarray(value & 0xFFFFFFFF, jnp.uint32)


def _rounded(x: Pair, shift: np.ndarray, *, to_even: bool, saturates: bool) -> Int[Array, "..."]:
    """`x / 2^shift` to the nearest whole number, ties to even, or up; what `saturates` ends at +-2^30."""
    floor = _shifted(x, shift)
    whole = np.int64(1) << shift.astype(np.int64)
    (mask_high, mask_low), (half_high, half_low) = _halves(whole - 1), _halves(whole >> 1)
    high, low = x[0] & mask_high, x[1] & mask_low
    tie = (high == half_high) & (low == half_low)
    above = (high > half_high) | ((high == half_high) & (low > half_low))
    up = above | (tie & (floor & 1 == 1) if to_even else tie)
    nearest = floor + (up & (shift > 0)).astype(jnp.int32)
    if not saturates:
        return nearest
    # What does not fit int32 is far beyond any code: where it is clipped it need not be right.
    near, top = shift.astype(np.int32) & 31, x[0].astype(jnp.int32)
    fits = jnp.where(shift < 32, top >> near, top >> 31) == (floor >> 31)
    fits &= (floor > -FAR) & (floor < FAR)
    return jnp.where(fits, nearest, jnp.where(top < 0, jnp.int32(-FAR), jnp.int32(FAR)))


def _shifted(x: Pair, shift: np.ndarray) -> Int[Array, "..."]:
    """The low half of `x >> shift`."""
    high, low = x
    # A shift by 32 is not defined: by 31 and once more.
    near = shift.astype(np.uint32) & 31
    spill = (high << (31 - near)) << 1
    below = ((low >> near) | spill).astype(jnp.int32)
    return jnp.where(shift < 32, below, high.astype(jnp.int32) >> near.astype(np.int32))
