"""PACT: the clip of activations is a parameter, and learns from the values that it clips.

Source: Choi et al., 2018, https://arxiv.org/abs/1805.06085, eq. (1) to (3).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpnas.quant.format import IntFormat
from mpnas.quant.gradient import Gradient
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

# The paper starts at 10, its successors (Risso et al., IGSC 2022) at 6, the end of a ReLU6.
START = 6.0
BULK = Percentile(99.9)


@dataclasses.dataclass(frozen=True)
class PACT(ScaleEstimator):
    """Clip at the parameter `alpha`, one per group, which is the largest value; symmetric only.

    Unsigned (after a ReLU) the range is [0, alpha], the paper's; signed it is [-alpha, alpha]. Unlike
    `LearnedStep`, `alpha` hears nothing of the rounding: its gradient is the sum of the gradients of
    the values above it, less that of the values below -alpha.
    """

    def check(self, fmt: IntFormat) -> None:
        """Raises ConfigError for an asymmetric format: the range begins at 0 or at -alpha."""
        refuse_zero_point(self, fmt, "learns a clip")

    def init(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Params, Stats]:
        """`alpha` = 6 per group, but not beyond its values nor below their bulk; no statistics.

        Where the largest magnitude is smaller than 6 it is taken: a clip beyond all values has no
        gradient, and would leave codes unused for good. Where the 99.9th percentile is larger it is
        taken: a layer that reads pixels up to 255 would see nothing, and alpha not get there.
        """
        self.check(fmt)
        size = jnp.abs(x.astype(jnp.float32)) if fmt.signed else x.astype(jnp.float32)
        _, bulk = BULK.ends(size, fmt, granularity)
        start = jnp.minimum(granularity.reduce(size, jnp.max), jnp.maximum(bulk, START))
        return {"alpha": jnp.maximum(start, SCALE_FLOOR)}, {}

    def range(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> Range:
        """Scale |alpha| / (qmax + offset), a constant of the gradient.

        Raises:
          ConfigError: `fmt` is asymmetric.
          ValueError: `params` was not made by `init`.
        """
        self.check(fmt)
        alpha = jax.lax.stop_gradient(_clip_of(self, params))
        return Range(jnp.maximum(alpha * np.float32(1 / (fmt.qmax + fmt.offset)), SCALE_FLOOR), None)

    def shape(
        self,
        x: Float[Array, "*shape"],
        params: Params,
        fmt: IntFormat,
        granularity: Granularity,
        gradient: Gradient,
    ) -> Float[Array, "*shape"]:
        """`x` between 0 or -alpha, and alpha."""
        alpha = granularity.expand(_clip_of(self, params), x.shape)
        return gradient.clip(x.astype(jnp.float32), -alpha if fmt.signed else 0.0 * alpha, alpha)


def _clip_of(estimator: PACT, params: Params) -> Array:
    return positive(needed(estimator, params, "alpha"), SCALE_FLOOR)
