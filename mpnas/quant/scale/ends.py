"""Ranges read off the tensor at hand: an estimator names two ends, the finest grid between them is used.

Nothing is trained or remembered. The gradient treats the range as a constant.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, section 3.
"""

import abc
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.base import Params, Range, ScaleEstimator, Stats, covering_range
from mpnas.quant.scale.learned import stored


class Ends(ScaleEstimator, Protocol):
    """A scale estimator that is known once the ends of the range are; `MovingAverage` averages them."""

    @abc.abstractmethod
    def ends(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Float[Array, "groups"], Float[Array, "groups"]]:
        """Smallest and largest value of each group of the float32 `x` that its codes shall reach."""

    def seen(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Float[Array, "groups"], Float[Array, "groups"]]:
        """The ends of `x` in any precision, as constants of the gradient."""
        return self.ends(jax.lax.stop_gradient(x).astype(jnp.float32), fmt, granularity)

    def range(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> Range:
        """The finest range of `fmt` that reaches both ends of each group of `x`."""
        return covering_range(*self.seen(x, fmt, granularity), fmt)

    def settled(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> tuple[ScaleEstimator, Params]:
        """A stored step, the one of `x`."""
        return stored(self.range(x, params, stats, fmt, granularity), fmt)
