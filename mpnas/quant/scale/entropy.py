"""Entropy-normalised range: the scale at which the codes of bell-shaped weights are used most evenly.

Weights are measured in their mean magnitude, and the grid of 2^B levels reaches `(2^B - 1) 2^(1-B)` of it
to both sides: that of the method's normalised weights `(2^(B-1) / (2^B - 1)) w / mean |w|`, which are put
on levels from -1 to 1. Nothing follows the largest weight, which is far outside and clipped. With the bin
regulariser of `mpnas.train.objective` this is the method's second phase.

Source: Huang et al., SDQ, ICML 2022, https://arxiv.org/abs/2206.04459, entropy-aware bin regularisation.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mpnas.errors import ConfigError
from mpnas.quant.format import IntFormat
from mpnas.quant.granularity import Granularity
from mpnas.quant.scale.base import (
    SCALE_FLOOR,
    Params,
    Range,
    Stats,
    coarse,
    grid_ends,
    refuse_zero_point,
)
from mpnas.quant.scale.ends import Ends


@dataclasses.dataclass(frozen=True)
class Entropy(Ends):
    """Scale `2^(2-B) mean |x|` of each group; for signed symmetric formats, a constant of the gradient.

    With 1 bit the values are +-mean |x|. A group of zeros gets the scale `SCALE_FLOOR`.
    """

    def check(self, fmt: IntFormat) -> None:
        """Raises ConfigError for an asymmetric or unsigned format: the magnitudes lie around zero."""
        refuse_zero_point(self, fmt, "finds a scale")
        if not fmt.signed:
            raise ConfigError(
                f"Entropy measures weights of both signs, got {fmt}. Use a signed format, or another range."
            )

    def ends(
        self, x: Float[Array, "..."], fmt: IntFormat, granularity: Granularity
    ) -> tuple[Float[Array, "groups"], Float[Array, "groups"]]:
        """The ends of the grid at this scale."""
        return grid_ends(self._scale(x, fmt, granularity), fmt)

    def range(
        self,
        x: Float[Array, "..."],
        params: Params,
        stats: Stats,
        fmt: IntFormat,
        granularity: Granularity,
    ) -> Range:
        """The scale itself: out of the ends it would come back changed in its last bit."""
        return Range(self._scale(jax.lax.stop_gradient(x), fmt, granularity), None)

    def _scale(self, x: Array, fmt: IntFormat, granularity: Granularity) -> Array:
        self.check(fmt)
        size = coarse(granularity.reduce(jnp.abs(x.astype(jnp.float32)), jnp.mean))
        return jnp.maximum(size * 2.0 ** (2 - fmt.bits), SCALE_FLOOR)
