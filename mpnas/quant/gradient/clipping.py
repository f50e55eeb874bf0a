"""Gradients that differ in the clip: nothing passes beyond its ends, everything, or the less the farther.

All of them round straight through: derivative 1.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.quant.gradient.base import Gradient, clip


@dataclasses.dataclass(frozen=True)
class Clipped(Gradient):
    """Straight-through inside the range: derivative 1 up to the ends of the clip, 0 beyond them.

    The usual choice (PWL in Sakr et al., the clipped straight-through of QNN, LSQ's eq. (5)).

    Source: Hubara et al., JMLR 2018, https://arxiv.org/abs/1609.07061.

    >>> Clipped().clip(jnp.array([-3.0, 0.5]), -1.0, 1.0)
    Array([-1. ,  0.5], dtype=float32)
    """


@dataclasses.dataclass(frozen=True)
class StraightThrough(Gradient):
    """The derivative of rounding and of clipping is 1 everywhere, so that no value gets stuck.

    A value far outside is pushed on although nothing changes: Sakr et al. see training diverge.

    Source: Bengio et al., 2013, https://arxiv.org/abs/1308.3432.
    """

    def clip(
        self, x: Float[Array, "*shape"], low: Float[Array, "..."], high: Float[Array, "..."]
    ) -> Float[Array, "*shape"]:
        """`x` between `low` and `high`; derivative by `x` 1 everywhere."""
        return clip(x, low, high, _passed)


@dataclasses.dataclass(frozen=True)
class MagnitudeAware(Gradient):
    """MAD: derivative 1 inside the range and `end / x` beyond it, so that clipped values still learn.

    Source: Sakr et al., ICML 2022, https://arxiv.org/abs/2206.06501, which pairs it for
    weights with `Clipped` for activations.
    """

    def clip(
        self, x: Float[Array, "*shape"], low: Float[Array, "..."], high: Float[Array, "..."]
    ) -> Float[Array, "*shape"]:
        """`x` between `low` and `high`; derivative by `x` 1 inside, `|end / x|` beyond that end."""
        return clip(x, low, high, _shrunk)


def _passed(x: Array, end: Array) -> Array:
    return jnp.ones_like(x)


def _shrunk(x: Array, end: Array) -> Array:
    # An end has the sign of what lies beyond it, or is 0; x = 0 is never beyond.
    return end / jnp.where(x == 0, 1, x)
