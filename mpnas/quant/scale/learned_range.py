"""Learned range on a power-of-two grid: dividing by the step is a shift, the range is trained.

The bit-width stays what the format says; step and range that imply one are a controller's business.

Source: Schaefer et al., WACV 2024, https://arxiv.org/abs/2206.07741 (`parametric_d_xmax`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.quant.format import IntFormat
from mpnas.quant.gradient import BOUND_SLACK, Gradient, grad_scale
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.base import (
    SCALE_FLOOR,
    Params,
    Range,
    ScaleEstimator,
    Stats,
    needed,
    refuse_zero_point,
)
from mpnas.quant.scale.learned import positive
from mpnas.quant.scale.percentile import Percentile

# Start of weights: this many standard deviations from the mean, on the farther side.
SIGMAS = 3.0
# Start of activations.
START = Percentile(99.9)
SMALLEST_EXPONENT = int(np.ceil(np.log2(SCALE_FLOOR)))


@dataclasses.dataclass(frozen=True)
class LearnedRange(ScaleEstimator):
    """Range [-xmax, xmax], or [0, xmax] unsigned, from the parameter `xmax`, one per group.

    The step is the smallest power of two whose codes reach xmax; a range just above one leaves almost
    half of the codes unused. The gradient of xmax is the sum of the gradients of the values above it,
    less that of the values below -xmax, and what comes through the step: its power of two is rounded
    straight through, so that `d step / d xmax` is `step / xmax`.

    Attributes:
      batched: `x` are activations, and xmax starts at the 99.9th percentile of |x|; if not, at
        `max |mean +- 3 sigma|`, or the largest magnitude where that is smaller.
    """

    batched: bool = False

    def check(self, fmt: IntFormat) -> None:
        """Raises ConfigError for an asymmetric format: the range begins at 0 or at -xmax."""
        refuse_zero_point(self, fmt, "learns a range")

    def init(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Params, Stats]:
        """`xmax` as `batched` says, per group; no statistics."""
        self.check(fmt)
        sample = x.astype(jnp.float32)
        if self.batched:
            low, high = START.ends(sample, fmt, granularity)
            start = jnp.maximum(jnp.abs(low), jnp.abs(high)) if fmt.signed else high
        else:
            mean, sigma = granularity.reduce(sample, jnp.mean), granularity.reduce(sample, jnp.std)
            # Three sigmas of a few values lie beyond all of them, where codes would be left unused.
            most = granularity.reduce(jnp.abs(sample), jnp.max)
            start = jnp.minimum(jnp.abs(mean) + SIGMAS * sigma, most)
        return {"xmax": jnp.maximum(start, SCALE_FLOOR)}, {}

    def range(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> Range:
        """The smallest power of two, at least `SCALE_FLOOR`, with `xmax <= (qmax + offset) * scale`.

        Raises:
          ConfigError: `fmt` is asymmetric.
          ValueError: `params` was not made by `init`.
        """
        self.check(fmt)
        xmax = _xmax_of(self, params)
        step = _power_of_two(jax.lax.stop_gradient(xmax), fmt)
        # A zero whose derivative is step / xmax.
        through = grad_scale(xmax, step / jax.lax.stop_gradient(xmax))
        return Range(step + (through - jax.lax.stop_gradient(through)), None)

    def shape(
        self,
        x: Float[Array, "*shape"],
        params: Params,
        fmt: IntFormat,
        granularity: Granularity,
        gradient: Gradient,
    ) -> Float[Array, "*shape"]:
        """`x` between 0 or -xmax, and xmax."""
        xmax = granularity.expand(_xmax_of(self, params), x.shape)
        return gradient.clip(x.astype(jnp.float32), -xmax if fmt.signed else 0.0 * xmax, xmax)


def _power_of_two(xmax: Array, fmt: IntFormat) -> Array:
    """Smallest power of two, at least `SCALE_FLOOR`, whose largest level under `fmt` is `xmax` or more."""
    # Less by a few last places: 3.5 / 7 must not count as just above 1/2.
    mantissa, exponent = jnp.frexp(xmax * np.float32((1 - BOUND_SLACK) / (fmt.qmax + fmt.offset)))
    exponent = jnp.where(mantissa > 0.5, exponent, exponent - 1)
    # ldexp is exact, exp2 is not.
    return jnp.ldexp(jnp.ones_like(xmax), jnp.maximum(exponent, SMALLEST_EXPONENT))


def _xmax_of(estimator: LearnedRange, params: Params) -> Array:
    return positive(needed(estimator, params, "xmax"), SCALE_FLOOR)
