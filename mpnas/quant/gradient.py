"""Gradient estimators: what rounding pretends its derivative is.

Rounding is flat almost everywhere, so its true derivative trains nothing. A `RoundFn` rounds on
the way forward and hands a surrogate derivative back.

Source: Bengio et al., 2013, https://arxiv.org/abs/1308.3432 (straight-through);
Esser et al., ICLR 2020, https://arxiv.org/abs/1902.08153, appendix A (`grad_scale`).
"""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class RoundFn(Protocol):
    """Rounding with a surrogate derivative; hashable, because it is static under `jit`."""

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Integer-valued floats near `x`, same shape; whole numbers must map to themselves."""


@dataclasses.dataclass(frozen=True)
class StraightThrough:
    """Round half to even; the derivative is 1 everywhere.

    >>> jax.grad(StraightThrough())(2.3)
    Array(1., dtype=float32, weak_type=True)
    """

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """`x` rounded to whole numbers, same shape and dtype."""
        return _round(x)


@jax.custom_jvp
def _round(x: Array) -> Array:
    return jnp.round(x)


# A custom rule instead of x + stop_gradient(round(x) - x): that sum need not be a whole number.
_round.defjvps(lambda tangent, result, x: tangent)


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
