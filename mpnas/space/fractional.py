"""Widths between the candidates: how many bits open planes, or a step in a range, amount to.

Some searches do not mix alternatives: bit planes open and close, or a step and a range imply a width.
Costs, logs and repair speak of candidates; here any width becomes shares of the two candidates beside
it, with the same expected bits. Both sides of such a search, the controller and the network, read it.

Sources: Xiao et al., CSQ, 2023, https://arxiv.org/abs/2212.02770 (planes); Schaefer et al., 2022,
https://arxiv.org/abs/2206.07741 (implied bits).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.quant import IntFormat, Quantizer, StraightThrough
from mpnas.space.choice import Choice

# Far below 1.4 / 2^16, by which log2(2^16 + 1) exceeds 16, and far above the last place of a logarithm.
LOG_SLACK = 1e-5


def grid_widths(choice: Choice) -> tuple[int, ...]:
    """Widths of the candidates that are whole multiples of a step, both signs alike, lowest first."""
    formats = (c.format for c in choice.candidates if isinstance(c, Quantizer))
    return tuple(f.bits for f in formats if isinstance(f, IntFormat) and f.symmetric and not f.offset)


def is_signed(choice: Choice) -> bool:
    """Whether the grids of a choice reach below 0."""
    return any(
        isinstance(c, Quantizer) and isinstance(c.format, IntFormat) and c.format.signed
        for c in choice.candidates
    )


def plane_count(choice: Choice) -> int:
    """Bit planes that a site is searched by; 0 where it is not.

    A signed code of b bits is a sign and b - 1 planes of its magnitude. Only weights with two grids to
    choose from are searched by planes.
    """
    widths = grid_widths(choice)
    return widths[-1] - 1 if choice.kind == "weight" and len(widths) > 1 and is_signed(choice) else 0


def plane_bits(
    choice: Choice, planes: Float[Array, "decisions planes"]
) -> Float[Array, "decisions"]:
    """Bits of weights whose planes are open to these shares, the sign among them.

    Returns:
      `1 + sum planes`, from the narrowest to the widest grid; where 0 bits are offered the sign counts
      as far as the most open plane, `max planes`, and the lower end is 0.
    """
    sign = jnp.max(planes, axis=1) if choice.removes else 1.0
    widths = grid_widths(choice)
    return _within(jnp.sum(planes, axis=1) + sign, 0 if choice.removes else widths[0], widths[-1])


def is_implied(choice: Choice) -> bool:
    """Whether a site can be searched by a step and a range: weights or activations with two grids."""
    return choice.kind in ("weight", "act") and len(grid_widths(choice)) > 1


def implied_bits(
    choice: Choice, step: Float[Array, "decisions"], top: Float[Array, "decisions"]
) -> Float[Array, "decisions"]:
    """Bits that it takes to count from 0 to `top` in steps, and for the sign of signed grids.

    Returns:
      `max(b_min, ceil(log2(round(top / step) + 1)) + signed)`, whole numbers, at most the widest grid;
      rounding and ceiling are straight-through, so bits fall with the step and rise with the range.
    """
    levels = StraightThrough().round(top / step)
    bits = _ceil(jnp.log2(levels + 1) - LOG_SLACK) + is_signed(choice)
    return _within(bits, grid_widths(choice)[0], grid_widths(choice)[-1])


def finest(choice: Choice) -> tuple[float, float]:
    """Step, a power of two, and range of the widest grid, when it ends just below 1."""
    magnitude = grid_widths(choice)[-1] - is_signed(choice)
    return 2.0**-magnitude, 1 - 2.0**-magnitude


def shares_of(choice: Choice, bits: Float[Array, "decisions"]) -> Float[Array, "decisions candidates"]:
    """Shares of the two candidates beside each width, whose expected bits are that width.

    Widths beyond the candidates count as the nearest one. The slope of the expected bits is 1 on every
    candidate too, where whole widths always are.
    """
    widths = np.asarray(choice.bits, np.float32)
    if len(widths) == 1:
        return jnp.ones((choice.decisions, 1), jnp.float32)
    bits = _within(bits, widths[0], widths[-1])
    below = jnp.searchsorted(widths, jax.lax.stop_gradient(bits), side="right") - 1
    below = jnp.clip(below, 0, len(widths) - 2)
    gap = jnp.asarray(np.diff(widths))[below]
    share = ((bits - jnp.asarray(widths)[below]) / gap)[:, None]
    lower, upper = (jax.nn.one_hot(below + k, len(widths)) for k in (0, 1))
    return lower * (1 - share) + upper * share


@jax.custom_jvp
def power_of_two(exponent: Float[Array, "..."]) -> Float[Array, "..."]:
    """`2^exponent` of whole numbers from -126 to 127, exactly; `jnp.exp2` misses it by some last places.

    >>> power_of_two(jnp.array([-13.0, 3.0]))
    Array([1.2207031e-04, 8.0000000e+00], dtype=float32)
    """
    return jnp.ldexp(jnp.ones_like(exponent), exponent.astype(jnp.int32))


power_of_two.defjvps(lambda tangent, result, exponent: tangent * result * np.float32(np.log(2)))


def _within(bits: Array, low: float, high: float) -> Array:
    """`bits` between two ends; slope 1 on the ends, where `jnp.clip` has 1/2, and 0 beyond them."""
    return jnp.where(bits < low, low, jnp.where(bits > high, high, bits))


@jax.custom_jvp
def _ceil(x: Array) -> Array:
    return jnp.ceil(x)


_ceil.defjvps(lambda tangent, result, x: tangent)
