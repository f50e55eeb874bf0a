"""Gradient estimators: what rounding and clipping pretend their derivatives are.

Rounding is flat almost everywhere, so its true derivative trains nothing; clipping is flat beyond its
ends, so a value out there is stuck. A `Gradient` does both as they are on the way forward and hands
surrogate derivatives back. Only the values get a surrogate: the ends of a clip keep their true
derivative, which is what trains steps and clipping ranges.

Source: Bengio et al., 2013, https://arxiv.org/abs/1308.3432 (straight-through);
Esser et al., ICLR 2020, https://arxiv.org/abs/1902.08153, appendix A (`grad_scale`).
"""

import functools
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# A value this close to a bound, relative to the bound, counts as inside. MinMax puts each group's
# extreme on the bound up to rounding, about 2e-7: the last bit must not decide its gradient.
BOUND_SLACK = 1e-6


class Gradient(Protocol):
    """Rounding and clipping with surrogate derivatives; hashable, because it is static under `jit`.

    A member has the clip that it names; unless it says otherwise that is `Clipped`'s, and its rounding
    has derivative 1.
    """

    def round(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """`x` rounded half to even, same shape and dtype."""
        return straight_round(x)

    def clip(
        self, x: Float[Array, "*shape"], low: Float[Array, "..."], high: Float[Array, "..."]
    ) -> Float[Array, "*shape"]:
        """`x` between `low <= 0` and `high >= 0`, which broadcast to it.

        The derivative by an end is 1 where `x` lies beyond it; elsewhere, and on the end, 0.
        """
        return clip(x, low, high, stopped)


@jax.custom_jvp
def grad_scale(
    x: Float[Array, "*shape"], factor: float | Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`x` itself, bit for bit, whose gradient arrives multiplied by `factor`.

    Args:
      x: Values to pass on.
      factor: Multiplier of the gradient; broadcasts to `x`, and receives no gradient itself.

    Returns:
      `x`.
    """
    return x


grad_scale.defjvps(lambda tangent, result, x, factor: tangent * factor, None)


@jax.custom_jvp
def straight_round(x: Array) -> Array:
    """`x` rounded half to even; derivative 1."""
    return jnp.round(x)


# A custom rule instead of x + stop_gradient(round(x) - x): that sum need not be a whole number.
straight_round.defjvps(lambda tangent, result, x: tangent)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def clip(x: Array, low: Array, high: Array, beyond_slope: Callable[[Array, Array], Array]) -> Array:
    """`x` between its ends; `beyond_slope(x, end)` is the derivative by `x` where it is clipped."""
    return jnp.clip(x, low, high)


@clip.defjvp
def _clip_derivative(
    beyond_slope: Callable[[Array, Array], Array],
    primals: tuple[Array, Array, Array],
    tangents: tuple[Array, Array, Array],
) -> tuple[Array, Array]:
    x, low, high = primals
    by_x, by_low, by_high = tangents
    result = clip(x, low, high, beyond_slope)
    beyond = jnp.abs(x - result) > BOUND_SLACK * jnp.abs(result)
    by_end = jnp.where(x > result, by_high, by_low)
    return result, jnp.where(beyond, beyond_slope(x, result) * by_x + by_end, by_x)


def stopped(x: Array, end: Array) -> Array:
    """Slope of a clip that lets nothing through beyond its ends."""
    return jnp.zeros_like(x)
